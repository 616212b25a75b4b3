"""The local ensemble transform Kalman filter on any grid."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.inflation import (
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
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
    """Radius and inflation want to be tuned: `vardax tune NAME -m letkf`."""

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
    spacing: int = Field(
        1,
        ge=1,
        le=20,
        description="points from one transform to the next in each direction, the others "
        "interpolated; 1 for one at every point, 3 costs about a fifth on large grids and errs "
        "by less than 1 % where the radius is 7 points",
    )
    adaptive: float = Field(
        0.0,
        ge=0,
        le=2,
        description="standard deviation of the factor on the background's variance that each "
        "point finds from the innovations around it, in every cycle anew; 0 for none, 0.05 is "
        "usual",
    )
    rtps: float = Field(
        0.0, ge=0, le=1, description="relaxation to the spread of the background; 0 for none"
    )
    rtpp: float = Field(
        0.0, ge=0, le=1, description="relaxation to the anomalies of the background; 0 for none"
    )
    across: float = Field(
        1.0,
        ge=0,
        le=1,
        description="what an observation counts for channels, variables or levels, that are not "
        "its own; 1 for all alike, 0 for nothing",
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
        channels = None
        if stations is None:
            network = unplaced_network(grid, radius, self.most, spacing=self.spacing)
        else:
            places = grid.points()[stations % grid.size]
            network = local_network(grid, places, radius, spacing=self.spacing)
            channels = jnp.asarray(stations // grid.size, jnp.int32)
        step: AbstractAnalysisStep = LETKF(
            problem.operator,
            network,
            self.inflation,
            uncertainty=self.adaptive,
            channels=channels if self.across < 1 else None,
            across=self.across,
        )
        if self.rtpp > 0:
            step = RelaxationToPriorPerturbations(step, self.rtpp)  # type: ignore[call-arg]
        if self.rtps > 0:
            step = RelaxationToPriorSpread(step, self.rtps)  # type: ignore[call-arg]
        return Assembly.of(problem.prior, step)
