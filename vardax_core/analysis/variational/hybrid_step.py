"""A variational analysis whose background covariance is partly that of the members."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.transform import check_members
from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance
from vardax_core.analysis.variational.hybrid import HybridCovariance, SampleCovariance
from vardax_core.analysis.variational.minimisers import AbstractVariationalMinimiser, QuasiNewton
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.analysis.variational.window_cost import check_covariance
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import Analysis, Observations, ResultCode, ensemble_mean, ensemble_spread


class HybridStep(AbstractAnalysisStep):
    """The mean of a 3D-Var with the hybrid covariance, the anomalies of an ensemble filter.

    Each analysis mixes the static covariance with the sample covariance of its own background,
    B = (1 - weight) B_static + weight B_members, and finds the mean with it. The members keep the
    anomalies that the filter gives them, about that mean, so that they carry the uncertainty from
    cycle to cycle.

    Attributes:
        members: the ensemble filter.
        static: covariance that does not change.
        weight: share of the members' covariance, from 0 up to but not including 1.
        minimiser: how the cost is minimised.

    Source: Hamill and Snyder (2000), doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2;
    Wang et al. (2007), doi:10.1175/MWR3282.1
    """

    members: AbstractAnalysisStep
    static: AbstractBackgroundCovariance
    weight: float = eqx.field(static=True, default=0.5)
    minimiser: AbstractVariationalMinimiser = QuasiNewton()

    def __check_init__(self):
        check_covariance("HybridStep", "B", self.static.state_shape, self.operator.state_shape)
        if not 0 <= self.weight < 1:
            raise ValueError(f"HybridStep: weight must lie in [0, 1), got {self.weight}.")

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.members.operator

    def covariance(self, background: Float[Array, "member *state"]) -> HybridCovariance:
        """B for one background."""
        sample = SampleCovariance.of(background)
        return HybridCovariance(self.static, sample, self.weight)  # type: ignore[call-arg]

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("HybridStep", background)
        members_key, key = jax.random.split(key)
        filtered = self.members.analyse(background, observations, key=members_key)
        step = ThreeDVar(self.operator, self.covariance(background), self.minimiser)
        found = step.analyse(background, observations, key=key)
        anomalies = filtered.ensemble - ensemble_mean(filtered.ensemble)[None]
        return Analysis(
            ensemble=found.mean[None] + anomalies,
            mean=found.mean,
            spread=ensemble_spread(anomalies),
            result=jnp.where(found.result == int(ResultCode.OK), filtered.result, found.result),
            diagnostics=found.diagnostics,
        )
