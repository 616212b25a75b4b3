"""A variational mean and filtered members, with a covariance of both kinds."""

from typing import ClassVar

from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.hybrid_step import HybridStep
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.priors import AbstractPrior


class HybridMethod(AbstractMethod):
    """What few members do not know of the background error, the climate adds."""

    name: ClassVar[str] = "hybrid"
    title: ClassVar[str] = "variational analysis with a covariance half static, half of the members"
    source: ClassVar[str] = (
        "Hamill and Snyder (2000), doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2"
    )
    place: ClassVar[int] = 58
    needs_covariance: ClassVar[bool] = True

    weight: float = Field(
        0.5, ge=0, lt=1, description="share of the members in the covariance of the background"
    )
    variance: float = Field(
        0.02,
        gt=0,
        le=1,
        description="variance of the static covariance over that of the climate",
    )
    inflation: float | None = Field(
        None,
        gt=0,
        le=2,
        description="factor on the members' analysis anomalies; by default each analysis finds "
        "its own from the innovation and the ensemble's size",
    )

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior, operator = problem.prior, problem.operator
        members: AbstractAnalysisStep = finite_size_filter(operator)
        if self.inflation is not None:
            members = ETKF(operator, self.inflation)
        shape = prior.climatology.state_shape
        static = DenseCovariance.from_table(self.variance * prior.covariance, shape)
        step = HybridStep(members=members, static=static, weight=self.weight)  # type: ignore[call-arg]
        return Assembly.of(prior, step)
