"""Values at points."""

from typing import ClassVar

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import sampling
from vardax_core.observations.settings import AbstractMeanSettings, Sites
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.grids.base import Places, Stencil


class PointSettings(AbstractMeanSettings):
    """Settings of `sampling`, and of linear interpolation between the points of the grid."""

    name: ClassVar[str] = "point"
    title: ClassVar[str] = "the value at a point, between the points of the grid by interpolation"
    source: ClassVar[str] = "linear interpolation"

    def build(self, sites: Sites) -> AbstractObservationOperator:
        return sampling(sites.points, sites.state_shape)

    def stencil(self, grid: AbstractGrid, places: Places) -> Stencil:
        return grid.stencil(places)

    def corners(self, grid: AbstractGrid) -> int:
        return 2 ** len(grid.shape)
