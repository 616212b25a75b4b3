"""Three-dimensional variational analysis."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance
from vardax_core.analysis.variational.minimisers import (
    AbstractVariationalMinimiser,
    QuasiNewton,
)
from vardax_core.analysis.variational.window_cost import (
    check_covariance,
    check_modes,
    variational_analysis,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean


class ThreeDVar(AbstractAnalysisStep):
    """Minimises |v|^2 / 2 + |R^-1/2 (y - H(xb + L v))|^2 / 2 with B = L L' and a nonlinear H.

    The background is the mean of the ensemble; its covariance is the static B whatever the
    members' spread. The members are draws from the Gauss-Newton posterior at the minimum. Only
    the observations at the analysis time are used.

    Attributes:
        operator: observation operator H.
        covariance: background error covariance B.
        minimiser: how the cost is minimised.
        n_modes: directions in which the posterior is narrowed, found by Lanczos; None for all.
        errors: observation error model R; one that depends on the state is taken at xb.

    Source: Lorenc (1986), doi:10.1002/qj.49711247414; Parrish and Derber (1992),
    doi:10.1175/1520-0493(1992)120<1747:TNMCSS>2.0.CO;2
    """

    operator: AbstractObservationOperator
    covariance: AbstractBackgroundCovariance
    minimiser: AbstractVariationalMinimiser = QuasiNewton()
    n_modes: int | None = eqx.field(static=True, default=None)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        check_covariance("ThreeDVar", "B", self.covariance.state_shape, self.operator.state_shape)
        check_modes("ThreeDVar", self.n_modes)

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        mean = ensemble_mean(background)
        return variational_analysis(
            lambda v: (mean + self.covariance.square_root(v))[None],
            self.covariance.rank,
            self.operator,
            self.errors,
            self.minimiser,
            self.n_modes,
            background,
            observations.at_analysis_time(),
            key=key,
        )
