"""Optimal interpolation on the climatology."""

from typing import ClassVar

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior
from vardax_core.observations.base import AbstractObservationOperator


def interpolation(
    operator: AbstractObservationOperator, prior: AbstractPrior
) -> OptimalInterpolation:
    """The optimal interpolation with the covariance of a prior."""
    shape = prior.climatology.state_shape
    return OptimalInterpolation(operator, DenseCovariance.from_table(prior.covariance, shape))


class OptimalInterpolationMethod(AbstractMethod):
    """The background is the climatology, and its covariance that of the climate."""

    name: ClassVar[str] = "oi"
    title: ClassVar[str] = "optimal interpolation between the climatology and the observations"
    source: ClassVar[str] = "Gandin (1963)"
    place: ClassVar[int] = 20
    channels: ClassVar[bool] = True
    needs_covariance: ClassVar[bool] = True

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        return prior.dense and (points is None or not prior.is_local(points))

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        return Assembly.of(prior, interpolation(problem.operator, prior), prior.climatology)
