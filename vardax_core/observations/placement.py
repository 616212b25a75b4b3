"""Observations whose places come with them: an operator that is told each cycle where they are."""

import math
from abc import abstractmethod
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from vardax_core.observations.base import AbstractLocalOperator, LocalRows
from vardax_core.observations.kinds.point import PointSettings
from vardax_core.observations.stencils import StreamStencils
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.grids.base import Stencil
from vardax_core.state.lattice import lattice_of
from vardax_core.state.neighbours import space_time_neighbours
from vardax_core.state.sphere import Numbers

Tree = TypeVar("Tree", bound=PyTree)

SOUGHT = 65_536
"""Points whose records are looked for at once."""


class Search(NamedTuple):
    """Which records an analysis wants around every point of its grid.

    Attributes:
        radius: how far they may be, in the grid's unit of distance.
        most: so many of the nearest.
        pace: distance that a minute counts as; None for records of the analysis time alone.
        thinned: with a pace, see `space_time_neighbours`.
        channels: a search among its own records for each channel of a state, in its place; each
            wants as many.
        spacing: 1 for every point of the grid; else, without a pace, for the nodes of
            `lattice_of` that spacing.
    """

    radius: float
    most: int
    pace: float | None = None
    thinned: tuple[float, ...] = ()
    channels: tuple["Search", ...] = ()
    spacing: int = 1


class ReportedErrors(NamedTuple):
    """Standard deviations of the errors of real observations.

    Attributes:
        factor: on those that are given.
        nugget_sd: of each record beside it.
        shared_sd: of what all records of a platform have in common.
        streams: factor on the first two together by the number of the stream; none for one.
        channels: those of the records of each channel of a state, in place of these.
    """

    factor: float = 1.0
    nugget_sd: float = 0.0
    shared_sd: float = 0.0
    streams: tuple[float, ...] = ()
    channels: tuple["ReportedErrors", ...] = ()

    @property
    def found(self) -> Float[np.ndarray, " channel"]:
        """Variance beyond the stated errors, of each channel, or of the one there is."""
        parts = self.channels or (self,)
        return np.array([one.nugget_sd**2 + one.shared_sd**2 for one in parts])

    def of(
        self, channels: Int[np.ndarray, " obs"]
    ) -> tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]:
        """Give factor, nugget and shared part, of every record where they differ by channel.

        Arguments:
            channels: number of each record's channel.
        """
        if not self.channels:
            return self.factor, self.nugget_sd, self.shared_sd
        table = np.array([own[:3] for own in self.channels])
        factor, nugget, shared = table[np.clip(channels, 0, len(table) - 1)].T
        return factor, nugget, shared


class Placement(eqx.Module):
    """Where and when the records of a window are, in the order of its columns.

    Attributes:
        points: flat (row-major) indices of the grid points around each record.
        weights: of these points in its equivalent; all zero for padding.
        straight: coordinates of each record in the embedding of the grid, see
            `AbstractGrid.embedded`.
        minutes: from the analysis time, negative before it.
        platforms: number of the platform of each record; -1 for padding.
        nearest: of every grid point, or node that a `Search` has, and where each channel is
            searched by itself of those of every channel, the columns of the records that are
            found, the nearest first; -1 for none.
        distances: of these, infinite for none; straight ones where minutes count.
    """

    points: Int[Numbers, "*batch obs corner"]
    weights: Float[Numbers, "*batch obs corner"]
    straight: Float[Numbers, "*batch obs straight"]
    minutes: Float[Numbers, "*batch obs"]
    platforms: Int[Numbers, "*batch obs"]
    nearest: Int[Numbers, "*batch point near"]
    distances: Float[Numbers, "*batch point near"]


class AbstractPlaced(eqx.Module):
    """A part of an analysis that depends on where the records of a window are."""

    @abstractmethod
    def placed(self, placement: Placement) -> "AbstractPlaced":
        """The same part for the records of another window."""

    @property
    def search(self) -> Search | None:
        """Which records it wants around every point of its grid, or None."""
        return None


class PlacedPoints(AbstractLocalOperator, AbstractPlaced):
    """Linear interpolation of a field to records that come with their places.

    Attributes:
        points, weights: see `Placement`.
        state_shape: shape of one state.
    """

    points: Int[Array, "obs corner"]
    weights: Float[Array, "obs corner"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def nowhere(cls, state_shape: tuple[int, ...], corners: int = 4) -> "PlacedPoints":
        """The operator before any window: it has no record."""
        nothing = np.zeros((0, corners))
        return cls(
            points=jnp.asarray(nothing, jnp.int32),
            weights=jnp.asarray(nothing, jnp.float32),
            state_shape=state_shape,
        )

    @property
    def obs_size(self) -> int:
        return self.points.shape[0]

    @property
    def state_size(self) -> int:
        """Numbers of one state."""
        return math.prod(self.state_shape)

    @property
    def linear(self) -> bool:
        return True

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        values = jnp.take(state.reshape(-1), self.points)
        return jnp.sum(self.weights.astype(values.dtype) * values, axis=1)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        return LocalRows(self.points, self.weights.astype(state.dtype))

    def placed(self, placement: Placement) -> "PlacedPoints":
        return PlacedPoints(
            points=jnp.asarray(placement.points),
            weights=jnp.asarray(placement.weights),
            state_shape=self.state_shape,
        )


def with_placement(tree: Tree, placement: Placement) -> Tree:
    """The same parts, of which those know the places of the records that depend on them."""

    def told(part: PyTree) -> PyTree:
        return part.placed(placement) if _is_placed(part) else part

    return jax.tree.map(told, tree, is_leaf=_is_placed)


def search_of(tree: PyTree) -> Search | None:
    """The search that the parts have in common; None if none of them wants one.

    Raises:
        ValueError: if two parts want different ones.
    """
    parts = [part for part in jax.tree.leaves(tree, is_leaf=_is_placed) if _is_placed(part)]
    wanted = {part.search for part in parts if part.search is not None}
    if len(wanted) > 1:
        raise ValueError(
            f"An analysis searches its observations once, but its parts want {sorted(wanted)}; "
            "give them the same radius and number."
        )
    return wanted.pop() if wanted else None


def place(
    grid: AbstractGrid,
    coordinates: Float[np.ndarray, "obs coordinate"],
    minutes: Float[np.ndarray, " obs"],
    platforms: Int[np.ndarray, " obs"],
    searchable: Bool[np.ndarray, " obs"],
    current: Bool[np.ndarray, " obs"],
    search: Search | None,
    dtype: str = "float32",
    stencil: Stencil | None = None,
    channels: Int[np.ndarray, " obs"] | None = None,
) -> Placement:
    """Place the records of a window on a grid, on the host.

    Arguments:
        grid: of the state.
        coordinates: of each record, NaN for padding; inside of the grid.
        minutes: from the analysis time.
        platforms: number of each record's platform.
        searchable: which records a search may find.
        current: which records are of the analysis time.
        search: which ones are wanted around every point, or None.
        stencil: points and weights of each record; by default those of the value at its place.
        channels: number of each record's channel; None where states have no such axis.
    """
    there = np.isfinite(coordinates).all(axis=1)
    if stencil is None:
        streams = np.zeros(len(there), int)
        stencil = StreamStencils(grid, [PointSettings(kind=PointSettings.name)]).of(
            coordinates, streams
        )
    of = np.zeros(len(there), np.int64)
    if channels is not None:
        of[there] = channels[there]
    some = np.where(there[:, None], coordinates, 0.0)
    straight = np.where(there[:, None], grid.embedded(some), 0.0)
    wanted = (search,) if search is None or not search.channels else search.channels
    usable = there & searchable
    found = [
        _search(
            grid,
            some,
            straight,
            minutes,
            usable & (of == number) if len(wanted) > 1 else usable,
            current,
            one,
            dtype,
        )
        for number, one in enumerate(wanted)
    ]
    nearest, distances = found[0]
    if len(found) > 1:
        nearest, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Placement(
        points=stencil.indices + (of * grid.size)[:, None].astype(np.int32),
        weights=stencil.weights.astype(dtype),
        straight=straight.astype(dtype),
        minutes=np.where(there, minutes, 0.0).astype(dtype),
        platforms=np.where(there, platforms, -1).astype(np.int32),
        nearest=nearest,
        distances=distances,
    )


def _search(
    grid: AbstractGrid,
    coordinates: Float[np.ndarray, "obs coordinate"],
    straight: Float[np.ndarray, "obs straight"],
    minutes: Float[np.ndarray, " obs"],
    usable: Bool[np.ndarray, " obs"],
    current: Bool[np.ndarray, " obs"],
    search: Search | None,
    dtype: str,
) -> tuple[Int[np.ndarray, "point near"], Float[np.ndarray, "point near"]]:
    size = grid.size
    if search is None or search.spacing == 1:
        inside = np.flatnonzero(np.ones(size, bool) if grid.mask is None else grid.mask)
        points = grid.points()[inside]
    else:
        points = grid.points()[lattice_of(grid, search.spacing).nodes]
        size, inside = len(points), np.arange(len(points))
    most = 0 if search is None else search.most
    nearest, distances = np.full((size, most), -1, np.int32), np.full((size, most), np.inf, dtype)
    if search is None or not usable.any():
        return nearest, distances
    columns = np.flatnonzero(usable & current)
    # What is found has many times the size of what is kept of it.
    for begin in range(0, len(points), SOUGHT):
        at, rows = points[begin : begin + SOUGHT], inside[begin : begin + SOUGHT]
        if search.pace is not None:
            targets = grid.embedded(at)
            found = space_time_neighbours(
                targets,
                np.zeros(len(at)),
                straight,
                minutes,
                speed=search.pace,
                most=search.most,
                radius=search.radius,
                usable=usable,
                thinned=search.thinned,
            )
            apart = np.linalg.norm(straight[found.indices] - targets[:, None], axis=-1)
            nearest[rows] = np.where(found.near, found.indices, -1)
            distances[rows] = np.where(found.near, apart, np.inf)
        elif columns.size:
            near = grid.neighbours(coordinates[columns], search.radius, most=search.most, at=at)
            count, there = near.distances.shape[1], np.isfinite(near.distances)
            nearest[rows, :count] = np.where(there, columns[near.indices], -1)
            distances[rows, :count] = near.distances
    return nearest, distances


def _is_placed(part: object) -> bool:
    return isinstance(part, AbstractPlaced)
