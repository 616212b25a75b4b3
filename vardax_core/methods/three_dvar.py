"""Three-dimensional variational analyses in the cycle of a forecast model."""

from typing import ClassVar

from pydantic import Field

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior
from vardax_core.state.grids import AbstractGrid


class ThreeDVarMethod(AbstractMethod):
    """The covariance of the background is a share of that of the climate, and never changes."""

    name: ClassVar[str] = "3dvar"
    title: ClassVar[str] = "three-dimensional variational analysis with a static covariance"
    source: ClassVar[str] = "Lorenc (1986), doi:10.1002/qj.49711247414"
    place: ClassVar[int] = 30
    needs_covariance: ClassVar[bool] = True

    variance: float = Field(
        0.05, gt=0, le=1, description="variance of the background error over that of the climate"
    )

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        return tuple({"variance": v} for v in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5))

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        shape = prior.climatology.state_shape
        covariance = DenseCovariance.from_table(self.variance * prior.covariance, shape)
        return Assembly.of(prior, ThreeDVar(problem.operator, covariance))
