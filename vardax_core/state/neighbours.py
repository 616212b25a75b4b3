"""Which records are near in space and time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree


class NeighbourError(ValueError):
    """A search for records in space and time that cannot be made."""


class SpaceTimeNeighbours(NamedTuple):
    """The records around each target, the nearest first.

    Attributes:
        indices: of the records; 0 where there are no more.
        near: True where there is one.
    """

    indices: Int[np.ndarray, "target near"]
    near: Bool[np.ndarray, "target near"]


def space_time_neighbours(
    targets: Float[np.ndarray, "target straight"],
    target_minutes: Float[np.ndarray, " target"],
    records: Float[np.ndarray, "obs straight"],
    record_minutes: Float[np.ndarray, " obs"],
    *,
    speed: float,
    most: int,
    radius: float = np.inf,
    usable: Bool[np.ndarray, " obs"] | None = None,
    apart: tuple[Int[np.ndarray, " target"], Int[np.ndarray, " obs"]] | None = None,
    thinned: tuple[float, ...] = (),
) -> SpaceTimeNeighbours:
    """Find the records nearest to each target by sqrt(distance^2 + (speed minutes)^2).

    Where records are dense, the nearest all lie on one side. With `thinned`, a share of the
    neighbours comes from ever sparser choices of records: one of each box of the given sides.

    Arguments:
        targets, records: straight coordinates, see `AbstractGrid.embedded`.
        target_minutes, record_minutes: in minutes since any common instant.
        speed: distance that counts as much as a minute: length over timescale of the covariance.
        most: number of neighbours of a target.
        radius: no record further away counts.
        usable: records that may be used; all by default.
        apart: groups of the targets and of the records; records of a target's own group are
            left out, as where a platform is withheld.
        thinned: sides of boxes, rising, in the unit of distances; `most` is shared evenly among
            all records and these choices of them. None is there twice.

    Raises:
        NeighbourError: if the speed, the number or the radius cannot be.
    """
    if not (speed >= 0 and most >= 1 and radius > 0):
        raise NeighbourError(
            "space_time_neighbours: expected speed >= 0, most >= 1 and radius > 0, got "
            f"{speed}, {most} and {radius}."
        )
    count = len(records)
    ids = np.arange(count) if usable is None else np.flatnonzero(usable)
    points = np.column_stack([records, speed * record_minutes])
    at = np.column_stack([targets, speed * target_minutes])
    levels = len(thinned) + 1
    parts = np.diff(-(-np.arange(levels + 1) * most // levels))
    found = []
    for level, (side, part) in enumerate(zip((0.0, *thinned), parts, strict=True)):
        if part == 0:
            continue
        chosen = ids if side == 0 else ids[_one_of_each_box(points[ids], side)]
        # Twice as many, for those that a denser choice has already.
        wanted = int(part) * (1 if level == 0 else 2)
        found.append(_nearest(at, points, chosen, wanted, radius, apart))
    indices = np.concatenate([index for index, _ in found], axis=1)
    chords = np.concatenate([chord for _, chord in found], axis=1)
    if thinned:
        indices, chords = _without_repeats(indices, chords, most)
    near = np.isfinite(chords)
    return SpaceTimeNeighbours(np.where(near, indices, 0).astype(np.int32), near)


def _nearest(
    at: Float[np.ndarray, "target axis"],
    points: Float[np.ndarray, "obs axis"],
    chosen: Int[np.ndarray, " chosen"],
    most: int,
    radius: float,
    apart: tuple[Int[np.ndarray, " target"], Int[np.ndarray, " obs"]] | None,
) -> tuple[Int[np.ndarray, "target near"], Float[np.ndarray, "target near"]]:
    """The nearest of the chosen records; infinitely far where there are no more."""
    indices = np.zeros((len(at), most), np.int64)
    chords = np.full((len(at), most), np.inf)
    if not len(chosen) or not len(at):
        return indices, chords
    tree = cKDTree(points[chosen])
    todo, query = np.arange(len(at)), most if apart is None else 2 * most
    while todo.size:
        query = min(query, len(chosen))
        chord, index = tree.query(
            at[todo], k=np.arange(1, query + 1), distance_upper_bound=radius, workers=-1
        )
        there = np.isfinite(chord)
        index = chosen[np.where(there, index, 0)]
        enough = np.ones(len(todo), bool)
        if apart is not None:
            mine = apart[0][todo][:, None] == apart[1][index]
            chord = np.where(mine, np.inf, chord)
            order = np.argsort(chord, axis=1, kind="stable")
            index, chord = (np.take_along_axis(x, order, axis=1) for x in (index, chord))
            enough = (np.isfinite(chord).sum(axis=1) >= most) | ~there[:, -1]
        width = min(query, most)
        indices[todo, :width], chords[todo, :width] = index[:, :width], chord[:, :width]
        if query == len(chosen):
            break
        todo, query = todo[~enough], 2 * query
    return indices, chords


def _one_of_each_box(points: Float[np.ndarray, "obs axis"], side: float) -> Int[np.ndarray, " box"]:
    """The record nearest to the centre of each box that has one."""
    numbers = np.floor(points / side)
    off = ((points / side - numbers - 0.5) ** 2).sum(axis=1)
    order = np.lexsort((off, *numbers.T))
    ordered = numbers[order]
    first = np.r_[True, np.any(ordered[1:] != ordered[:-1], axis=1)]
    return np.sort(order[first])


def _without_repeats(
    indices: Int[np.ndarray, "target near"], chords: Float[np.ndarray, "target near"], most: int
) -> tuple[Int[np.ndarray, "target most"], Float[np.ndarray, "target most"]]:
    """Each record once, those of the denser choices first, as many as asked for."""
    named = np.where(np.isfinite(chords), indices, -1)
    order = np.argsort(named, axis=1, kind="stable")
    ordered = np.take_along_axis(named, order, axis=1)
    repeated = np.zeros(ordered.shape, bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    again = np.zeros_like(repeated)
    np.put_along_axis(again, order, repeated, axis=1)
    chords = np.where(again, np.inf, chords)
    kept = np.argsort(~np.isfinite(chords), axis=1, kind="stable")[:, :most]
    indices, chords = (np.take_along_axis(x, kept, axis=1) for x in (indices, chords))
    order = np.argsort(chords, axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(chords, order, axis=1)
