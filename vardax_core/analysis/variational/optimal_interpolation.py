"""Optimal interpolation with a static background error covariance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import (
    AbstractBackgroundCovariance,
    resolved_variance,
)
from vardax_core.analysis.variational.window_cost import check_covariance
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import Analysis, Observations, ResultCode, ensemble_mean


class OptimalInterpolation(AbstractAnalysisStep):
    """xa = xb + K (y - H xb) with K = B H' (H B H' + R)^-1 and H linearised at xb.

    The background is the mean of the ensemble; its covariance is the static B whatever the
    members' spread. The analysis members are draws from N(xa, (I - K H) B), recentred on xa.
    Only the observations at the analysis time are used; their errors are independent.

    Attributes:
        operator: observation operator H.
        covariance: background error covariance B.

    Source: Gandin (1963); Daley (1991), Atmospheric Data Analysis, chapter 4.
    """

    operator: AbstractObservationOperator
    covariance: AbstractBackgroundCovariance

    def __check_init__(self):
        check_covariance(
            "OptimalInterpolation", "B", self.covariance.state_shape, self.operator.state_shape
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
        hbht = jnp.where(both, hbht, 0.0)
        variance = resolved_variance(error_sd**2, hbht)
        innovation_cov = hbht + jnp.diag(jnp.where(mask, variance, 1.0))
        cross = jnp.where(mask[:, None], cross.reshape(cross.shape[0], -1), 0.0)
        innovation = now.values[0] - self.operator(mean)

        def draw(k: PRNGKeyArray) -> tuple[Float[Array, "*state"], Float[Array, " obs"]]:
            state_key, error_key = jax.random.split(k)
            control = jax.random.normal(state_key, (self.covariance.rank,), mean.dtype)
            error = error_sd * jax.random.normal(error_key, error_sd.shape, mean.dtype)
            anomaly = self.covariance.square_root(control)
            return anomaly, self.operator.tangent(mean, anomaly) + error

        members = background.shape[0]
        draws, perturbations = jax.vmap(draw)(jax.random.split(key, members))
        departures = jnp.concatenate([innovation[None], -perturbations])
        departures = jnp.where(mask[None], departures, 0.0)
        # With S = H B H' + R = L L', everything follows from one solve with L: the gain applied
        # to d is (L^-1 H B)' (L^-1 d).
        lower = jnp.linalg.cholesky(innovation_cov)
        whitened = jax.scipy.linalg.solve_triangular(
            lower, jnp.concatenate([cross, departures.T], axis=1), lower=True
        )
        whitened_cross, whitened_departures = jnp.split(whitened, [cross.shape[1]], axis=1)
        increments = (whitened_departures.T @ whitened_cross).reshape(-1, *mean.shape)
        explained = jnp.sum(whitened_cross**2, axis=0).reshape(mean.shape)
        analysis_mean = mean + increments[0]
        draws = draws + increments[1:]
        if members > 1:
            draws = (draws - ensemble_mean(draws)[None]) * (members / (members - 1)) ** 0.5
        variance = self.covariance.variance() - explained
        chi2 = jnp.sum(whitened_departures[:, 0] ** 2)
        return Analysis(
            ensemble=analysis_mean[None] + draws,
            mean=analysis_mean,
            spread=jnp.sqrt(jnp.maximum(variance, 0.0)),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"innovation_chi2": chi2},
        )
