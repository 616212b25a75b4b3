"""Optimal interpolation with a static background error covariance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import Analysis, Observations, ResultCode, ensemble_mean


class OptimalInterpolation(AbstractAnalysisStep):
    """xa = xb + K (y - H xb) with K = B H' (H B H' + R)^-1 and H linearised at xb.

    The background is the mean of the ensemble; its covariance is the static B whatever the
    members' spread. The analysis members are draws from N(xa, (I - K H) B), recentred on xa.
    Only the observations at the analysis time are used.

    Attributes:
        operator: observation operator H.
        covariance: background error covariance B.

    Source: Gandin (1963); Daley (1991), Atmospheric Data Analysis, chapter 4.
    """

    operator: AbstractObservationOperator
    covariance: AbstractBackgroundCovariance

    def __check_init__(self):
        if self.covariance.state_shape != self.operator.state_shape:
            raise ValueError(
                f"OptimalInterpolation: B acts on states of shape {self.covariance.state_shape}, "
                f"H on {self.operator.state_shape}; build both for one grid."
            )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        now = observations.at_analysis_time()
        mask, error_sd = now.mask[0], now.error_sd[0]
        mean = ensemble_mean(background)
        basis = jnp.eye(self.operator.obs_size, dtype=background.dtype)
        cross = jax.vmap(lambda e: self.covariance.apply(self.operator.adjoint(mean, e)))(basis)
        hbht = jax.vmap(lambda column: self.operator.tangent(mean, column))(cross)
        # A missing observation becomes one of unit variance that is tied to nothing.
        both = mask[:, None] & mask[None, :]
        innovation_cov = jnp.where(both, hbht, 0.0) + jnp.diag(jnp.where(mask, error_sd**2, 1.0))
        cross = jnp.where(mask[:, None], cross.reshape(cross.shape[0], -1), 0.0)
        factor = jax.scipy.linalg.cho_factor(innovation_cov, lower=True)
        whitened = jax.scipy.linalg.solve_triangular(factor[0], cross, lower=True)

        def gain(departure: Float[Array, " obs"]) -> Float[Array, "*state"]:
            weights = jax.scipy.linalg.cho_solve(factor, jnp.where(mask, departure, 0.0))
            return (weights @ cross).reshape(mean.shape)

        innovation = jnp.where(mask, now.values[0] - self.operator(mean), 0.0)
        analysis_mean = mean + gain(innovation)
        variance = self.covariance.variance() - jnp.sum(whitened**2, axis=0).reshape(mean.shape)

        def draw(k: PRNGKeyArray) -> Float[Array, "*state"]:
            state_key, error_key = jax.random.split(k)
            control = jax.random.normal(state_key, (self.covariance.rank,), mean.dtype)
            error = error_sd * jax.random.normal(error_key, error_sd.shape, mean.dtype)
            anomaly = self.covariance.square_root(control)
            return anomaly - gain(self.operator.tangent(mean, anomaly) + error)

        members = background.shape[0]
        draws = jax.vmap(draw)(jax.random.split(key, members))
        if members > 1:
            draws = (draws - ensemble_mean(draws)[None]) * (members / (members - 1)) ** 0.5
        chi2 = innovation @ jax.scipy.linalg.cho_solve(factor, innovation)
        return Analysis(
            ensemble=analysis_mean[None] + draws,
            mean=analysis_mean,
            spread=jnp.sqrt(jnp.maximum(variance, 0.0)),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"innovation_chi2": chi2},
        )
