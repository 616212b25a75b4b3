"""The amortized posterior: an encoder and a head behind one interface."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.adapter import AnalysisAdapter
from vardax_core.analysis.amortized.checks import MissingFieldError, check_batch, target_of
from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.encoders import requested_fields
from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead, SampleCountError
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.types import Batch, Batch1D, Batch2D, Batch2DMultivar

BATCH_OF_RANK: dict[int, type[Batch1D] | type[Batch2D] | type[Batch2DMultivar]] = {
    2: Batch1D,
    3: Batch2D,
    4: Batch2DMultivar,
}
"""The batch for windows of observations with that many axes, time included."""


class HeadMismatchError(ValueError):
    """The head and the configuration name different density families."""


class AmortizedPosterior(eqx.Module):
    """q(x | y): an encoder turns observations into a context, a head the context into a density.

    Attributes:
        encoder: from one sample's (input, mask), and the optional fields that its signature
            names, to the context.
        head: the conditional density.
        config: head type and default number of samples.
        input_scaling: standardisation of the observations; none until `fit` sets it. Background
            fields are standardised as the state is, by the head's scaling.

    Raises:
        HeadMismatchError: if the head is not of the configured type.
        EncoderSignatureError: if the encoder asks for something that no batch has.
    """

    encoder: Callable[..., Array]
    head: AbstractPosteriorHead
    config: AmortizedConfig
    input_scaling: AffineScaling | None = None

    def __check_init__(self):
        if self.head.head_type != self.config.head_type:
            raise HeadMismatchError(
                f"AmortizedPosterior: the head {type(self.head).__name__} is of type "
                f"{self.head.head_type!r}, the configuration says {self.config.head_type!r}; pass "
                f"AmortizedConfig(head_type={self.head.head_type!r})."
            )
        requested_fields(self.encoder)

    def context(self, batch: Batch) -> Float[Array, "batch *context"]:
        """What the head sees of every sample of a batch.

        Raises:
            BatchValueError: if the batch is empty, a mask is not 0 or 1, or an observed value is
                not finite (values are looked at outside of jit only).
            MissingFieldError: if the encoder needs a field that the batch lacks.
        """
        check_batch(batch)
        fields = self._fields(batch)
        return jax.vmap(lambda x, m, extra: self.encoder(x, m, **extra))(
            self._standard_input(batch), batch.mask, fields
        )

    def __call__(self, batch: Batch) -> Float[Array, "batch *state"]:
        """The head's point estimate for every sample, in the unit of the state.

        Raises:
            BatchValueError, MissingFieldError: see `context`.
            ContextShapeError: if the head was built for another context.
        """
        return jax.vmap(self.head.map_estimate)(self.context(batch))

    def sample(
        self, batch: Batch, key: PRNGKeyArray, n: int | None = None
    ) -> Float[Array, "batch n *state"]:
        """Posterior samples for every sample of a batch, in the unit of the state.

        Arguments:
            batch: the observations.
            key: for the draws.
            n: how many; `config.n_samples` by default.

        Raises:
            BatchValueError, MissingFieldError: see `context`.
            SampleCountError: if `n` is less than 1.
        """
        count = self.config.n_samples if n is None else n
        if count < 1:
            raise SampleCountError(f"AmortizedPosterior: n must be at least 1, got {count}.")
        contexts = self.context(batch)
        keys = jax.random.split(key, contexts.shape[0])
        return jax.vmap(lambda c, k: self.head.sample(c, k, count))(contexts, keys)

    def log_prob(self, x: Float[Array, "batch *state"], batch: Batch) -> Float[Array, " batch"]:
        """Log-density of one state for each sample of a batch, per unit of the state.

        Raises:
            BatchValueError, MissingFieldError: see `context`.
            StateShapeError: if the states do not have the head's shape.
        """
        return jax.vmap(self.head.log_prob)(x, self.context(batch))

    def marginals(
        self, batch: Batch, key: PRNGKeyArray, n: int = 256
    ) -> tuple[Float[Array, "batch *state"], Float[Array, "batch *state"]]:
        """Mean and standard deviation of every element, in the unit of the state.

        Heads without closed-form moments average `n` draws.

        Raises:
            BatchValueError, MissingFieldError: see `context`.
            SampleCountError: if `n` is less than 2.
        """
        contexts = self.context(batch)
        keys = jax.random.split(key, contexts.shape[0])
        return jax.vmap(lambda c, k: self.head.marginals(c, k, n))(contexts, keys)

    def loss(self, batch: Batch, key: PRNGKeyArray) -> Float[Array, " batch"]:
        """The head's training loss for every sample, with noise quantiles spread over the batch.

        Raises:
            BatchValueError, MissingFieldError: see `context`; also if there is no target.
            StateShapeError: if the targets do not have the head's shape.
        """
        check_batch(batch, needs_target=True)
        contexts = self.context(batch)
        size = contexts.shape[0]
        shift_key, key = jax.random.split(key)
        shift = jax.random.uniform(shift_key, (), contexts.dtype)
        quantiles = (jnp.arange(size).astype(contexts.dtype) + shift) / size
        return jax.vmap(lambda x, c, k, q: self.head.loss(x, c, key=k, quantile=q))(
            target_of(batch), contexts, jax.random.split(key, size), quantiles
        )

    def as_analysis_step(self, window_rank: int | None = None) -> AnalysisAdapter:
        """The call-compatible `step(forecast, obs, *, obs_op, obs_err_cov) -> analysis`.

        The analysis sees the observations alone: neither the forecast's values nor the operator;
        see `PosteriorAnalysisStep` for a step that is conditioned on the background. One forecast
        state gives the point estimate. An ensemble gives as many posterior samples. A batch of
        states with a batch of observation windows gives a batch of point estimates.

        Arguments:
            window_rank: number of axes of one window of observations, time included: 2, 3 or 4.
                By default 2 for states (n,), 4 for (variable, y, x); for states with two axes 2
                if the observations have the forecast's shape (trajectories), else 3 (fields).
        """
        return AnalysisAdapter(_PosteriorArrays(self, window_rank))

    def _standard_input(self, batch: Batch) -> Array:
        values = jnp.where(batch.mask > 0, batch.input, jnp.zeros_like(batch.input))
        if self.input_scaling is None:
            return values
        scaled = jax.vmap(self.input_scaling.to_standard)(values)
        return jnp.where(batch.mask > 0, scaled, jnp.zeros_like(scaled))

    def _fields(self, batch: Batch) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, needed in requested_fields(self.encoder).items():
            value = getattr(batch, name)
            if value is None and not needed:
                continue
            if value is None:
                raise MissingFieldError(
                    f"AmortizedPosterior: the encoder {type(self.encoder).__name__} asks for "
                    f"{name}, but {type(batch).__name__}.{name} is None; pass it with the batch, "
                    "or use an encoder without it."
                )
            if name == "background_mean":
                value = jax.vmap(self.head.to_standard)(value)
            elif name == "background_spread":
                value = self._standard_spread(batch, value)
            elif name == "error_sd" and self.input_scaling is not None:
                value = jax.vmap(self.input_scaling.spread_to_standard)(value)
            found[name] = value
        return found

    def _standard_spread(self, batch: Batch, spread: Array) -> Array:
        """Background spreads in standard units; where states are bounded it depends on the mean."""
        mean = getattr(batch, "background_mean", None)
        if mean is None:
            mean = jnp.zeros_like(spread)
        return jax.vmap(self.head.spread_to_standard)(spread, mean)


class _PosteriorArrays(eqx.Module):
    """A posterior on bare arrays."""

    posterior: AmortizedPosterior
    window_rank: int | None = eqx.field(static=True)

    def __call__(
        self, forecast: Array, obs: Array, error_sd: Array | None, key: PRNGKeyArray
    ) -> Array:
        state_shape = self.posterior.head.state_shape
        rank = self.window_rank or _window_rank(state_shape, forecast.shape, obs.shape)
        leading = forecast.ndim == len(state_shape) + 1
        batched = leading and obs.ndim == rank + 1
        window = obs if batched else obs[(None,) * (rank + 1 - obs.ndim)]
        mask = jnp.isfinite(window)
        batch = BATCH_OF_RANK[rank](
            input=jnp.where(mask, window, jnp.zeros_like(window)),
            mask=mask.astype(window.dtype),
            error_sd=None if error_sd is None else error_sd.reshape(window.shape),
        )
        if batched:
            return self.posterior(batch)
        if leading:
            return self.posterior.sample(batch, key, forecast.shape[0])[0]
        return self.posterior(batch)[0]


def _window_rank(
    state_shape: tuple[int, ...], forecast_shape: tuple[int, ...], obs_shape: tuple[int, ...]
) -> int:
    if len(state_shape) == 2:
        return 2 if obs_shape == forecast_shape else 3
    return {1: 2, 3: 4}[len(state_shape)]
