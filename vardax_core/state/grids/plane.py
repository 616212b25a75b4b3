"""A Cartesian grid of one or two axes, each of which may close on itself."""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from vardax_core.state.axis import Axis, GridError, box_numbers, turned, wrapped
from vardax_core.state.grids.base import AbstractGrid, Mask, Places, Stencil
from vardax_core.state.sphere import Numbers, numpy_of


class Plane(AbstractGrid):
    """Points of a Cartesian grid.

    Attributes:
        axes: one for each dimension of a field, in order.
        unit: of the coordinates and so of distances.
        mask: True at the points that are part of the state, or None for all.

    Raises:
        GridError: if there are not one or two axes, or the mask does not fit.
    """

    axes: tuple[Axis, ...]
    unit: str = eqx.field(static=True, default="1")
    mask: Mask | None = None

    @classmethod
    def from_axes(
        cls,
        y: Float[np.ndarray, " y"],
        x: Float[np.ndarray, " x"],
        *,
        unit: str = "1",
        periods: tuple[float | None, float | None] = (None, None),
        mask: Mask | None = None,
    ) -> "Plane":
        """Make the plane of two axes.

        Arguments:
            y, x: coordinates, rising or falling.
            unit: of both.
            periods: length after which the plane repeats along y and x, None for never.
            mask: True at the points that are part of the state, or None for all.

        Raises:
            GridError: if an axis is not in order or longer than its period.
        """
        axes = tuple(
            Axis.line(points, name)
            if period is None
            else Axis.on_circle(points, period, name, closed=True)
            for name, points, period in zip("yx", (y, x), periods, strict=True)
        )
        return cls(axes=axes, unit=unit, mask=mask)

    def __check_init__(self):
        if len(self.axes) not in (1, 2):
            raise GridError(f"Plane: expected one or two axes, got {len(self.axes)}.")
        self._check_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def axis_unit(self) -> str:
        return self.unit

    @property
    def axis_step(self) -> float:
        return 1.0

    @property
    def wraps(self) -> tuple[bool, ...]:
        return tuple(axis.closed for axis in self.axes)

    def positions(self) -> Float[Numbers, "*state coordinate"]:
        points = [axis.points for axis in self.axes]
        xp = numpy_of(*points)
        return xp.stack(xp.meshgrid(*points, indexing="ij"), axis=-1)

    def distance(
        self, first: Float[Numbers, "*#any coordinate"], second: Float[Numbers, "*#any coordinate"]
    ) -> Float[Numbers, "*any"]:
        apart: list[Numbers] = [
            wrapped(first[..., k] - second[..., k], axis.circle) for k, axis in enumerate(self.axes)
        ]
        xp = numpy_of(first, second)
        distance: Numbers = xp.abs(apart[0]) if len(apart) == 1 else xp.hypot(*apart)
        return distance

    def areas(self) -> Float[np.ndarray, "*state"]:
        widths = [np.abs(np.diff(axis.edges())) for axis in self.axes]
        return widths[0] if len(widths) == 1 else np.outer(*widths)

    def cells(self, places: Places) -> Int[np.ndarray, " place"]:
        return product_cells(self.axes, places)

    def boxes(self, places: Places, side: float) -> Int[np.ndarray, "place coordinate"]:
        return box_numbers(self._straight(places), side)

    def taken(self, *indices: Int[np.ndarray, " _"]) -> AbstractGrid:
        axes = tuple(axis.taken(i) for axis, i in zip(self.axes, indices, strict=True))
        return Plane(axes=axes, unit=self.unit)

    def aspect(self) -> float:
        return 1.0

    def _corners(self, places: Places) -> Stencil:
        return product_corners(self.axes, places)

    def _straight(self, places: Places) -> Float[np.ndarray, "place straight"]:
        columns = [turned(places[:, k], axis.circle) for k, axis in enumerate(self.axes)]
        return np.stack(columns, axis=1)

    def _periods(self) -> Float[np.ndarray, " straight"] | None:
        return np.array([axis.circle or 0.0 for axis in self.axes])

    def _chord(self, distance: float) -> float:
        return distance

    def _arc(self, chord: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        return chord


def product_cells(axes: tuple[Axis, ...], places: Places) -> Int[np.ndarray, " place"]:
    """Give the flat index of the cell of a product of axes, -1 outside of it."""
    numbers = [axis.cells(places[:, k]) for k, axis in enumerate(axes)]
    inside = np.all(np.stack(numbers) >= 0, axis=0)
    shape = tuple(axis.size for axis in axes)
    flat = np.ravel_multi_index([np.maximum(number, 0) for number in numbers], shape)
    return np.where(inside, flat, -1)


def product_corners(axes: tuple[Axis, ...], places: Places) -> Stencil:
    """Give the corners around places in a product of axes, all weights zero outside of it."""
    indices = np.zeros((len(places), 1), np.int64)
    weights = np.ones((len(places), 1))
    for k, axis in enumerate(axes):
        before, after, share, inside = axis.between(places[:, k])
        ends = np.stack([before, after], axis=1)[:, None, :]
        parts = np.stack([1 - share, share], axis=1)[:, None, :] * inside[:, None, None]
        corners = 2 ** (k + 1)
        indices = (indices[:, :, None] * axis.size + ends).reshape(len(places), corners)
        weights = (weights[:, :, None] * parts).reshape(len(places), corners)
    return Stencil(indices, weights)
