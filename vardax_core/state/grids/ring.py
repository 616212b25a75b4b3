"""A periodic line of points."""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from vardax_core.state.axis import Axis, GridError, box_numbers, turned, wrapped
from vardax_core.state.grids.base import AbstractGrid, Mask, Places, Stencil
from vardax_core.state.grids.plane import Plane
from vardax_core.state.sphere import Numbers, numpy_of


class Ring(AbstractGrid):
    """Points at 0, 1, ..., n - 1 on a circle of length n.

    Attributes:
        n: number of points.
        mask: True at the points that are part of the state, or None for all.

    Raises:
        GridError: if there is no point, or the mask does not fit.
    """

    n: int = eqx.field(static=True)
    mask: Mask | None = None

    def __check_init__(self):
        if self.n < 1:
            raise GridError(f"Ring: n must be at least 1, got {self.n}.")
        self._check_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n,)

    @property
    def unit(self) -> str:
        return "1"

    @property
    def axis_unit(self) -> str:
        return self.unit

    @property
    def axis_step(self) -> float:
        return 1.0

    @property
    def wraps(self) -> tuple[bool, ...]:
        return (True,)

    @property
    def _axis(self) -> Axis:
        return Axis(np.arange(float(self.n)), float(self.n), True, "ring")

    def positions(self) -> Float[Numbers, "*state coordinate"]:
        return np.arange(float(self.n))[:, None]

    def distance(
        self, first: Float[Numbers, "*#any coordinate"], second: Float[Numbers, "*#any coordinate"]
    ) -> Float[Numbers, "*any"]:
        apart = wrapped(first[..., 0] - second[..., 0], float(self.n))
        distance: Numbers = numpy_of(first, second).abs(apart)
        return distance

    def areas(self) -> Float[np.ndarray, "*state"]:
        return np.ones(self.n)

    def cells(self, places: Places) -> Int[np.ndarray, " place"]:
        return self._axis.cells(places[:, 0])

    def boxes(self, places: Places, side: float) -> Int[np.ndarray, "place coordinate"]:
        return box_numbers(turned(places, float(self.n)), side)

    def taken(self, *indices: Int[np.ndarray, " _"]) -> AbstractGrid:
        (index,) = indices
        return Plane(axes=(self._axis.taken(index),), unit=self.unit)

    def aspect(self) -> float:
        return 1.0

    def _corners(self, places: Places) -> Stencil:
        before, after, share, inside = self._axis.between(places[:, 0])
        weights = np.stack([1 - share, share], axis=1)
        return Stencil(np.stack([before, after], axis=1), weights * inside[:, None])

    def _straight(self, places: Places) -> Float[np.ndarray, "place straight"]:
        return turned(places, float(self.n))

    def _periods(self) -> Float[np.ndarray, " straight"] | None:
        return np.array([float(self.n)])

    def _chord(self, distance: float) -> float:
        return distance

    def _arc(self, chord: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        return chord
