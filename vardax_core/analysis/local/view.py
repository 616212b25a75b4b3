"""What local analyses see: points in batches, and the records within reach of each."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.state.grids import AbstractGrid, PlaceTree
from vardax_core.state.grids.base import Places

CHUNK = 1024
"""Points whose records are found, and that a compiled program is given, at once."""
FIRST = 128
"""Records that are asked for around a point at first, where all are wanted."""
STEP = 16
"""Numbers of records are rounded up to multiples, so that few programs are compiled."""


class LocalView(NamedTuple):
    """Records on a grid, and how far each point of it sees.

    Memory grows with the points that are looked at together, whatever the size of the grid.

    Attributes:
        tree: of the places of the records.
        reach: distance from which on no record counts, in the grid's unit.
        most: so many of the nearest records at a point; None for all.
    """

    tree: PlaceTree
    reach: float
    most: int | None = None

    @classmethod
    def of(
        cls, grid: AbstractGrid, places: Places, reach: float, most: int | None = None
    ) -> "LocalView":
        """Look at finite places from the points of a grid."""
        return cls(grid.tree(places), reach, most)

    def around(
        self, at: Places
    ) -> tuple[Int[np.ndarray, "point local"], Float[np.ndarray, "point local"]]:
        """Find the records around points, the nearest first.

        Returns:
            Their numbers, and their distances: infinite where there are no more.
        """
        asked = FIRST if self.most is None else self.most
        indices, distances = self.tree.nearest(at, self.reach, asked)
        while self.most is None and np.isfinite(distances[:, -1]).any():
            asked *= 2
            indices, distances = self.tree.nearest(at, self.reach, asked)
        width = rounded_up(int(np.isfinite(distances).sum(axis=1).max(initial=1)), STEP)
        spare = ((0, 0), (0, max(0, width - asked)))
        return (
            np.pad(indices[:, :width], spare).astype(np.int32),
            np.pad(distances[:, :width], spare, constant_values=np.inf),
        )


def rounded_up(count: int, step: int) -> int:
    """The least multiple of `step` that is no less than `count`."""
    return -(-count // step) * step


def room(count: int) -> int:
    """The least of 64, 96, 128, 192, 256, ... that is no less than `count`."""
    size = 64
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """Fill up with zeros to so many rows."""
    return np.pad(rows, ((0, count - len(rows)), *((0, 0),) * (rows.ndim - 1)))


def chunks(
    coordinates: Places, side: float, size: int = CHUNK
) -> Iterator[Int[np.ndarray, " chunk"]]:
    """Give the numbers of points, a chunk of near ones at a time; the last repeats its last point.

    Arguments:
        coordinates: of the points, in a space where straight lines order them.
        side: of the boxes that points are ordered by.
        size: points of a chunk.
    """
    order = np.lexsort(np.floor(coordinates / side).T)
    for begin in range(0, len(order), size):
        chunk = order[begin : begin + size]
        yield np.pad(chunk, (0, size - len(chunk)), mode="edge")


def in_batches(
    function: Callable[[tuple[Array, ...]], tuple[Array, ...]], rows: tuple[Array, ...], size: int
) -> tuple[Array, ...]:
    """Apply a function to batches of rows of one size; the last batch repeats its last row, so
    that one program serves all."""
    count = rows[0].shape[0]
    size = min(size, count)
    filled = jnp.minimum(jnp.arange(rounded_up(count, size)), count - 1).reshape(-1, size)
    found = jax.lax.map(lambda take: function(tuple(x[take] for x in rows)), filled)
    return tuple(x.reshape(-1, *x.shape[2:])[:count] for x in found)
