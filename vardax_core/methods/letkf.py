"""The local ensemble transform Kalman filter on any grid."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import local_network, unplaced_network
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior
from vardax_core.state.grids import AbstractGrid

STEPS = 3
"""Half-width of the taper, in steps of the grid, where none is set."""


def usual_radius(grid: AbstractGrid) -> float:
    """Half-width of the taper where none is set: `STEPS` times the side of a typical cell."""
    return STEPS * float(np.mean(grid.areas())) ** (1 / len(grid.shape))


class LETKFMethod(AbstractMethod):
    """Both settings want to be tuned: `vardax tune NAME -m letkf`."""

    name: ClassVar[str] = "letkf"
    title: ClassVar[str] = "local ensemble transform Kalman filter"
    source: ClassVar[str] = "Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008"
    place: ClassVar[int] = 60
    channels: ClassVar[bool] = True

    radius: float | None = Field(
        None,
        gt=0,
        description="half-width of the taper, in the grid's unit of distance (points of a ring, "
        f"km on the sphere); by default {STEPS} steps of the grid",
    )
    inflation: float = Field(1.05, gt=0, le=2, description="factor on the analysis anomalies")
    most: int = Field(
        60, ge=1, le=1000, description="real observations that a point is analysed from"
    )

    def lacks(self, prior: AbstractPrior) -> str | None:
        if prior.local:
            return None
        return "it localizes by distance, and the numbers of the model's state have none"

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        usual = 1.0 if grid is None else usual_radius(grid)
        return tuple(
            {"radius": float(f"{factor * usual:.3g}"), "inflation": inflation}
            for factor in (2 / 3, 1.0, 1.5, 2.0, 3.0)
            for inflation in (1.0, 1.02, 1.05, 1.1, 1.2)
        )

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        grid, stations = problem.grid, problem.stations
        radius = usual_radius(grid) if self.radius is None else self.radius
        if stations is None:
            network = unplaced_network(grid, radius, self.most)
        else:
            network = local_network(grid, grid.points()[stations % grid.size], radius)
        step = LETKF(problem.operator, network, self.inflation)
        return Assembly.of(problem.prior, step)
