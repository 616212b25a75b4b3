"""The call-compatible form of an analysis, for cycles that know nothing of vardax."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.types import ErrorCovarianceError, Observations


def error_sd_of(obs_err_cov: Any, obs_shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Observation error standard deviations from a variance, a vector of them, or a matrix.

    Raises:
        ErrorCovarianceError: if a matrix is not diagonal, a variance is not positive, or the
            size does not fit.
    """
    cov = jnp.asarray(obs_err_cov, dtype)
    if cov.ndim == 2 and cov.shape == (obs_shape[-1], obs_shape[-1]) != obs_shape:
        off_diagonal = cov - jnp.diag(jnp.diagonal(cov))
        if not isinstance(cov, jax.core.Tracer) and bool(jnp.any(off_diagonal != 0)):
            raise ErrorCovarianceError(
                "obs_err_cov: correlated observation errors are not supported by this analysis; "
                "pass the diagonal, inflated for the correlations."
            )
        cov = jnp.diagonal(cov)
    if cov.shape not in ((), (obs_shape[-1],), obs_shape):
        raise ErrorCovarianceError(
            f"obs_err_cov: shape {cov.shape} does not fit observations of shape {obs_shape}; pass "
            f"a variance, ({obs_shape[-1]},) variances, or a diagonal matrix."
        )
    if not isinstance(cov, jax.core.Tracer) and not bool(jnp.all(cov > 0)):
        raise ErrorCovarianceError("obs_err_cov: variances must be positive.")
    return jnp.broadcast_to(jnp.sqrt(cov)[(None,) * (len(obs_shape) - cov.ndim)], obs_shape)


class AnalysisAdapter(eqx.Module):
    """`step(forecast, obs, *, obs_op, obs_err_cov) -> analysis`, with NaN for missing in `obs`.

    Attributes:
        analyse: the method: (forecast, obs, error_sd or None, key) -> analysis.
    """

    analyse: Callable[[Array, Array, Array | None, PRNGKeyArray], Array]

    @classmethod
    def of_step(cls, step: AbstractAnalysisStep) -> "AnalysisAdapter":
        """The adapter of any analysis step; the step keeps its own observation operator.

        One forecast state is given to the step as an ensemble of one, and its analysis mean comes
        back; an ensemble gives an ensemble. Observations are one row (obs,) or a window
        (window, obs); `obs_err_cov` must be given.
        """
        return cls(_StepArrays(step))

    def __call__(
        self,
        forecast: Array,
        obs: Array,
        *,
        obs_op: Any = None,
        obs_err_cov: Any = None,
        key: PRNGKeyArray | None = None,
    ) -> Array:
        """Analyse one forecast.

        Arguments:
            forecast: one state or an ensemble (member, *state).
            obs: observed values, NaN where missing.
            obs_op: accepted for compatibility; the method knows its own operator.
            obs_err_cov: variance, variances or diagonal matrix of the observation error.
            key: for random draws; by default folded from the bits of the observations, so that
                the same call gives the same analysis and another cycle other draws.

        Returns:
            The analysis, in the shape of the forecast.

        Raises:
            ErrorCovarianceError: see `error_sd_of`.
        """
        error_sd = None if obs_err_cov is None else error_sd_of(obs_err_cov, obs.shape, obs.dtype)
        draw_key = _key_of(obs) if key is None else key
        return self.analyse(forecast, obs, error_sd, draw_key)


class _StepArrays(eqx.Module):
    """An analysis step on bare arrays."""

    step: AbstractAnalysisStep

    def __call__(
        self, forecast: Array, obs: Array, error_sd: Array | None, key: PRNGKeyArray
    ) -> Array:
        if error_sd is None:
            raise ErrorCovarianceError(
                f"obs_err_cov: {type(self.step).__name__} weighs observations by their error; "
                "pass a variance, variances or a diagonal matrix."
            )
        values = jnp.atleast_2d(obs)
        observations = Observations.from_values(
            values, jnp.atleast_2d(error_sd), jnp.zeros(values.shape[0], jnp.int32)
        )
        if forecast.ndim == len(self.step.operator.state_shape):
            return self.step(forecast[None], observations, key=key).mean
        return self.step(forecast, observations, key=key).ensemble


def _key_of(obs: Array) -> PRNGKeyArray:
    bits = jax.lax.bitcast_convert_type(obs.astype(jnp.float32), jnp.uint32).reshape(-1)
    # Odd multipliers make the sum depend on the order of the observations.
    order = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    return jax.random.fold_in(jax.random.key(0), jnp.sum(bits * order, dtype=jnp.uint32))
