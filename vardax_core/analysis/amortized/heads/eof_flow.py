"""A flow for fields: splines in the leading EOFs, a Gaussian for the rest."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.networks import (
    AbstractStateNetwork,
    FieldNetwork,
    LinearFit,
    VectorNetwork,
    positive,
)
from vardax_core.analysis.amortized.heads.spline import ConditionalSpline
from vardax_core.analysis.amortized.scaling import AffineScaling, FixedArray
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport

_LOG_2PI = math.log(2 * math.pi)


def leading_eofs(
    anomalies: Float[Array, "sample *state"], n_modes: int
) -> Float[Array, "mode *state"]:
    """The orthonormal patterns that carry most of the variance of a sample of anomalies.

    Raises:
        ValueError: if fewer samples or elements than modes are given.

    Source: Lorenz (1956), Empirical orthogonal functions and statistical weather prediction.
    """
    flat = anomalies.reshape(anomalies.shape[0], -1)
    if n_modes > min(flat.shape):
        raise ValueError(
            f"leading_eofs: {n_modes} modes need at least as many samples and elements, got "
            f"{flat.shape}."
        )
    if flat.shape[0] < flat.shape[1]:
        _, vectors = jnp.linalg.eigh(flat @ flat.T)
        patterns = vectors[:, ::-1][:, :n_modes].T @ flat
        patterns = jnp.linalg.qr(patterns.T)[0].T
    else:
        _, vectors = jnp.linalg.eigh(flat.T @ flat)
        patterns = vectors[:, ::-1][:, :n_modes].T
    return patterns.reshape(n_modes, *anomalies.shape[1:])


class EOFFlowHead(AbstractPosteriorHead):
    """q(x | c) on a field: mean and sd at every point, a spline flow on the leading EOFs of what
    is left, and a Gaussian on the rest.

    With w = (z - mean(c)) / sd(c) and orthonormal EOFs E, the coefficients E w follow a spline flow
    given c, and the part of w outside of the EOFs is N(0, exp(2 log_rest)) in every direction. So
    the log-density is exact, but only the leading modes can be correlated or not Gaussian.
    `map_estimate` is the image of the centre of the latent Gaussian.

    Attributes:
        network: from the context to mean, log sd and the maps that condition the flow.
        spline: the flow of the coefficients.
        eofs: orthonormal patterns, in standard units; not trained.
        log_rest: log of the sd outside of the EOFs.
        support: where states can be.
        scaling: standardisation of the free numbers of a state.
        sd_floor: smallest sd, in standard units.
    """

    network: AbstractStateNetwork
    spline: ConditionalSpline
    eofs: FixedArray
    log_rest: Float[Array, ""]
    support: AbstractSupport
    scaling: AffineScaling
    sd_floor: float = eqx.field(static=True)
    head_type: ClassVar[str] = "flow"

    def __init__(
        self,
        context_dim: int | tuple[int, ...],
        state_shape: tuple[int, ...],
        eofs: Float[Array, "mode *state"],
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        n_layers: int = 4,
        knots: int = 8,
        interval: float = 5.0,
        n_condition: int = 3,
        sd_floor: float = 1e-3,
        support: AbstractSupport = EVERYWHERE,
        key: PRNGKeyArray,
    ):
        """Build the head.

        Arguments:
            context_dim: length of the context vector, or the shape of the context field.
            state_shape: shape of one state.
            eofs: orthonormal patterns (see `leading_eofs`), in standard units.
            hidden_dim, depth: width and number of hidden layers of every network.
            n_layers, knots, interval: see `ConditionalSpline`.
            n_condition: number of maps whose EOF coefficients condition the flow.
            sd_floor: smallest sd, in standard units.
            support: where states can be; everywhere by default.
            key: for the initial weights.

        Raises:
            ValueError: if the patterns have another shape than the state.
        """
        context_shape = (context_dim,) if isinstance(context_dim, int) else tuple(context_dim)
        state_shape = tuple(state_shape)
        if eofs.shape[1:] != state_shape:
            raise ValueError(
                f"EOFFlowHead: the EOFs have shape {eofs.shape}, but states {state_shape}; pass "
                "(mode, *state)."
            )
        network_key, spline_key = jax.random.split(key)
        n_maps = 2 + n_condition
        if len(context_shape) == 1:
            self.network = VectorNetwork(
                context_shape[0],
                state_shape,
                n_maps,
                hidden_dim=hidden_dim,
                depth=depth,
                key=network_key,
            )
        else:
            self.network = FieldNetwork(
                context_shape, state_shape, n_maps, hidden_dim=hidden_dim, key=network_key
            )
        n_modes = eofs.shape[0]
        self.spline = ConditionalSpline(
            n_modes,
            n_condition * n_modes,
            n_layers=n_layers,
            knots=knots,
            interval=interval,
            hidden_dim=hidden_dim,
            depth=depth,
            autoregressive=False,
            key=spline_key,
        )
        self.eofs = FixedArray(eofs)
        self.log_rest = jnp.zeros(())
        self.support = support
        self.scaling = AffineScaling.identity(len(state_shape))
        self.sd_floor = sd_floor

    @property
    def context_shape(self) -> tuple[int, ...]:
        return self.network.context_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.network.state_shape

    def _maps(
        self, ctx: Float[Array, "*context"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " condition"]]:
        maps = self.network(ctx)
        flat = maps.reshape(maps.shape[0], -1)
        condition = (flat[2:] @ self._patterns().T).reshape(-1)
        return flat[0], positive(flat[1]) + self.sd_floor, condition

    def _patterns(self) -> Float[Array, "mode n"]:
        return self.eofs.value.reshape(self.spline.size, -1)

    def _rest_sd(self) -> Float[Array, ""]:
        return jnp.exp(self.log_rest + jax.lax.stop_gradient(self.spline.log_temper))

    def standard_map(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        mean, sd, condition = self._maps(ctx)
        centre = jnp.zeros((self.spline.size,), mean.dtype)
        w = self.spline.image(centre, condition) @ self._patterns()
        return (mean + sd * w).reshape(self.state_shape)

    def standard_sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        mean, sd, condition = self._maps(ctx)
        mode_key, rest_key = jax.random.split(key)
        patterns = self._patterns()
        noise = self._rest_sd() * jax.random.normal(rest_key, (n, mean.size), mean.dtype)
        rest = noise - (noise @ patterns.T) @ patterns
        w = self.spline.sample(condition, mode_key, n) @ patterns + rest
        return (mean[None] + sd[None] * w).reshape(n, *self.state_shape)

    def standard_log_prob(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        mean, sd, condition = self._maps(ctx)
        w = (z.reshape(-1) - mean) / sd
        coefficients = self._patterns() @ w
        rest_size = w.size - coefficients.size
        rest_square = jnp.maximum(jnp.sum(w**2) - jnp.sum(coefficients**2), 0.0)
        rest_sd = self._rest_sd()
        log_rest = -0.5 * rest_square / rest_sd**2 - rest_size * (jnp.log(rest_sd) + _LOG_2PI / 2)
        return self.spline.log_prob(coefficients, condition) + log_rest - jnp.sum(jnp.log(sd))

    def standard_marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        mean, sd, condition = self._maps(ctx)
        patterns = self._patterns()
        coefficients = self.spline.sample(condition, key, n)
        centre = jnp.mean(coefficients, axis=0)
        anomalies = (coefficients - centre[None]) @ patterns
        # The Gaussian rest has a closed-form share of the variance; the modes are sampled.
        variance = jnp.sum(anomalies**2, axis=0) / (n - 1)
        variance = variance + self._rest_sd() ** 2 * (1 - jnp.sum(patterns**2, axis=0))
        mean = mean + sd * (centre @ patterns)
        return (
            mean.reshape(self.state_shape),
            (sd * jnp.sqrt(jnp.maximum(variance, 0.0))).reshape(self.state_shape),
        )

    def standard_loss(
        self,
        z: Float[Array, "*state"],
        ctx: Float[Array, "*context"],
        key: PRNGKeyArray,
        quantile: Float[Array, ""],
    ) -> Float[Array, ""]:
        return -self.standard_log_prob(z, ctx)

    def standard_chi2(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        mean, sd, condition = self._maps(ctx)
        w = (z.reshape(-1) - mean) / sd
        coefficients = self._patterns() @ w
        rest = (jnp.sum(w**2) - jnp.sum(coefficients**2)) / self._rest_sd() ** 2
        return (self.spline.chi2(coefficients, condition) + rest) / w.size

    def started(self, fit: LinearFit) -> "EOFFlowHead":
        return eqx.tree_at(lambda h: h.network, self, self.network.started(fit))

    def tempered(self, scale: Float[Array, ""]) -> "EOFFlowHead":
        return eqx.tree_at(lambda h: h.spline, self, self.spline.tempered(scale))
