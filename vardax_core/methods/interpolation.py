"""Local space-time interpolation of real observations, wherever and whenever they are."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.local.channels import ChannelInterpolation
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.channels_prior import ChannelsPrior
from vardax_core.methods.priors import AbstractPrior
from vardax_core.methods.reported_prior import ReportedPrior, ReportedReference
from vardax_core.observations.placement import PlacedPoints, Search
from vardax_core.training.withheld import speed_of


class InterpolationMethod(AbstractMethod):
    """Every point is analysed from the observations nearest to it, with a covariance and errors
    that were fitted to predictions of withheld observations; each of several variables from its
    own."""

    name: ClassVar[str] = "interpolation"
    title: ClassVar[str] = "local optimal interpolation in space and time of real observations"
    source: ClassVar[str] = "Bretherton et al. (1976), doi:10.1016/0011-7471(76)90001-2"
    place: ClassVar[int] = 25
    channels: ClassVar[bool] = True

    most: int = Field(60, ge=1, le=500, description="observations that a point is analysed from")
    reach: float = Field(
        6.0, gt=0, description="how far an observation may be, in lengths of the covariance"
    )

    def lacks(self, prior: AbstractPrior) -> str | None:
        if prior.reported:
            return None
        return "it interpolates real observations, and those of this recipe are simulated"

    def needs_points(self, prior: AbstractPrior) -> bool:
        return True

    def usual(self, prior: AbstractPrior) -> bool:
        return prior.reported

    def uses_background(self, prior: AbstractPrior) -> bool:
        return prior.recipe.forecast_files is not None

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        step: AbstractAnalysisStep
        if isinstance(prior, ChannelsPrior):
            step = ChannelInterpolation(
                PlacedPoints.nowhere(problem.operator.state_shape),
                tuple(
                    local_interpolation(problem, known, self.most, self.reach)
                    if number in problem.recipe.observed_channels
                    else None
                    for number, known in enumerate(prior.channels)
                ),
            )
        else:
            assert isinstance(prior, ReportedPrior), "the only other prior that it does not lack"
            step = local_interpolation(problem, prior.reference, self.most, self.reach)
        return Assembly.of(prior, step, prior.climatology)


def local_interpolation(
    problem: Problem, known: ReportedReference, most: int, reach: float
) -> LocalInterpolation:
    """The interpolation by what was learned from real observations.

    Arguments:
        most, reach: settings of the method.
    """
    grid = problem.grid
    lengths = np.asarray(known.covariance.lengths, np.float64)
    longest = float(lengths[np.isfinite(lengths)].max(initial=1.0))
    inside = np.flatnonzero(np.ones(grid.size, bool) if grid.mask is None else grid.mask)
    straight = grid.embedded(grid.points()[inside])
    sides = tuple(float(side) for side in known.sides)
    nothing = jnp.zeros((0, straight.shape[1]), jnp.float32)
    return LocalInterpolation(
        operator=PlacedPoints.nowhere(grid.shape),
        climatology=known.climatology,
        covariance=known.covariance,
        scale=known.scale,
        shared_sd=known.errors[2],
        points=jnp.asarray(inside, jnp.int32),
        targets=jnp.asarray(straight, jnp.float32),
        records=nothing,
        minutes=nothing[:, 0],
        platforms=jnp.zeros(0, jnp.int32),
        nearest=jnp.full((grid.size, most), -1, jnp.int32),
        about_background=problem.recipe.forecast_files is not None,
        wanted=Search(reach * longest, most, speed_of(known.covariance), sides),
    )
