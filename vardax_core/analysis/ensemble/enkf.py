"""The stochastic ensemble Kalman filter."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractSupportedStep, Support, support_everywhere
from vardax_core.analysis.ensemble.transform import (
    check_members,
    combine,
    ensemble_analysis,
    spectrum_of,
    transform_of,
    whitened_ensemble,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations


class EnKF(AbstractSupportedStep):
    """Every member is analysed with its own perturbed observations.

    Member m moves by K (y + e_m - H x_m), with the Kalman gain K of the ensemble's covariance and
    e_m a draw of the observation error. The draws are recentred, so that the analysis mean does
    not depend on them.

    Attributes:
        operator: observation operator H.
        inflation: factor on the analysis anomalies.
        errors: observation error model R.

    Source: Burgers et al. (1998), doi:10.1175/1520-0493(1998)126<1719:ASITEK>2.0.CO;2
    """

    operator: AbstractObservationOperator
    inflation: float = eqx.field(static=True, default=1.0)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        if not self.inflation > 0:
            raise ValueError(f"EnKF: inflation must be positive, got {self.inflation}.")

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("EnKF", background)
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        members, obs = whitened.anomalies.shape
        noise = jax.random.normal(key, (members, obs), background.dtype)
        noise = (noise - jnp.mean(noise, axis=0)[None]) * (members / (members - 1)) ** 0.5
        noise = jnp.where(observations.mask[-1][None], noise, 0.0)
        spectrum = spectrum_of(whitened)
        transform = transform_of(spectrum)
        change = spectrum.gain_weights(noise - whitened.anomalies)
        anomaly_weights = jnp.eye(members, dtype=background.dtype) + change
        weights = transform.mean_weights[None] + self.inflation * anomaly_weights
        return ensemble_analysis(
            combine(background, weights),
            {
                "degrees_of_freedom_for_signal": transform.signal,
                "innovation_chi2": transform.chi2,
            },
            transform.resolved,
        )

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        signal = transform_of(spectrum_of(whitened)).signal
        mask, points = observations.mask[-1], background[0].size
        return support_everywhere(mask, points, self.inflation, signal)
