"""The ensemble transform Kalman filter."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.transform import (
    mean_preserving_rotation,
    symmetric_transform,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class ETKF(AbstractAnalysisStep):
    """Symmetric square-root filter in the space of the ensemble.

    With the anomalies X as rows, Y = R^-1/2 H X / sqrt(M - 1) and d = R^-1/2 (y - H xb), the
    analysis mean is xb + w X with w = T Y d / sqrt(M - 1) and T = (I + Y Y')^-1; the anomalies
    become T^1/2 X.

    Attributes:
        operator: observation operator H.
        inflation: factor on the analysis anomalies.
        rotate: whether the anomalies are turned by a random mean-preserving rotation.

    Source: Bishop et al. (2001), doi:10.1175/1520-0493(2001)129<0420:ASWTET>2.0.CO;2;
    Sakov and Oke (2008), doi:10.1111/j.1600-0870.2007.00299.x
    """

    operator: AbstractObservationOperator
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if not self.inflation > 0:
            raise ValueError(f"ETKF: inflation must be positive, got {self.inflation}.")

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        members = background.shape[0]
        if members < 2:
            raise ValueError("ETKF: at least 2 members are needed, got 1.")
        now = observations.at_analysis_time()
        mean = ensemble_mean(background)
        anomalies = (background - mean[None]).reshape(members, -1)
        equivalents = self.operator.ensemble(background)
        observed_mean = ensemble_mean(equivalents)
        weight = jnp.where(now.mask[0], 1 / now.error_sd[0], 0.0) * (members - 1) ** -0.5
        scaled = (equivalents - observed_mean[None]) * weight[None]
        innovation = (now.values[0] - observed_mean) * weight
        transform = symmetric_transform(scaled, innovation)
        matrix = transform.matrix
        if self.rotate and members > 2:
            matrix = mean_preserving_rotation(members, background.dtype, key=key) @ matrix
        weights = transform.mean_weights[None] + self.inflation * matrix
        ensemble = mean[None] + (weights @ anomalies).reshape(background.shape)
        return Analysis(
            ensemble=ensemble,
            mean=ensemble_mean(ensemble),
            spread=ensemble_spread(ensemble),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"degrees_of_freedom_for_signal": transform.signal},
        )
