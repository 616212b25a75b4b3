"""The ensemble Kalman filters that see all observations at once."""

from typing import ClassVar

from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.enkf import EnKF
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid

INFLATIONS = (1.0, 1.01, 1.02, 1.04, 1.07, 1.1, 1.15, 1.2, 1.3)
"""Among which trial cycles choose."""
CERTAINTY = 2.0
"""Weight of the hyperprior with which a cold start is survived."""


def finite_size_filter(operator: AbstractObservationOperator) -> FiniteSizeETKF:
    """The ETKF that finds its own inflation and survives a cold start."""
    return FiniteSizeETKF(operator, certainty=CERTAINTY)


class ETKFMethod(AbstractMethod):
    """By default each analysis finds its own inflation from the innovation and the members."""

    name: ClassVar[str] = "etkf"
    title: ClassVar[str] = "ensemble transform Kalman filter, which can find its own inflation"
    source: ClassVar[str] = (
        "Bishop et al. (2001), doi:10.1175/1520-0493(2001)129<0420:ASWTET>2.0.CO;2"
    )
    place: ClassVar[int] = 50
    channels: ClassVar[bool] = True

    inflation: float | None = Field(
        None,
        gt=0,
        le=2,
        description="factor on the analysis anomalies; by default each analysis finds its own from "
        "the innovation and the ensemble's size",
    )

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        return prior.simulates

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        return ({}, *({"inflation": v} for v in INFLATIONS))

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        step: AbstractAnalysisStep = finite_size_filter(problem.operator)
        if self.inflation is not None:
            step = ETKF(problem.operator, self.inflation)
        return Assembly.of(problem.prior, step)


class EnKFMethod(AbstractMethod):
    """Every member sees its own perturbed observations."""

    name: ClassVar[str] = "enkf"
    title: ClassVar[str] = "ensemble Kalman filter with perturbed observations"
    source: ClassVar[str] = (
        "Burgers et al. (1998), doi:10.1175/1520-0493(1998)126<1719:ASITEK>2.0.CO;2"
    )
    place: ClassVar[int] = 40
    channels: ClassVar[bool] = True

    inflation: float = Field(1.05, gt=0, le=2, description="factor on the analysis anomalies")

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        return tuple({"inflation": v} for v in INFLATIONS)

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        return Assembly.of(problem.prior, EnKF(problem.operator, self.inflation))


class IterativeETKFMethod(AbstractMethod):
    """Each iteration costs another forecast of the ensemble."""

    name: ClassVar[str] = "ietkf"
    title: ClassVar[str] = (
        "iterative ensemble transform Kalman filter, for strongly nonlinear forecasts"
    )
    source: ClassVar[str] = "Bocquet and Sakov (2012), doi:10.5194/npg-19-383-2012"
    place: ClassVar[int] = 55
    forecasts_again: ClassVar[bool] = True
    channels: ClassVar[bool] = True

    iterations: int = Field(3, ge=1, le=20, description="Gauss-Newton steps of an analysis")
    certainty: float = Field(
        1.0, gt=0, le=100, description="weight of the hyperprior on the ensemble's spread"
    )

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        return tuple({"certainty": v} for v in (0.5, 1.0, 2.0, 4.0))

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        step = IterativeETKF(problem.operator, iterations=self.iterations, certainty=self.certainty)
        return Assembly.of(problem.prior, step)
