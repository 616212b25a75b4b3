"""Score diffusion as a posterior of vectors and fields."""

import math
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads import diffusion
from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.networks import (
    AbstractStateNetwork,
    LinearFit,
    positive,
    with_gradient_of,
)
from vardax_core.analysis.amortized.heads.noise import AbstractNoiseProcess, VarianceExploding
from vardax_core.analysis.amortized.heads.score_networks import (
    AbstractScoreNetwork,
    MLPScoreNetwork,
)
from vardax_core.analysis.amortized.scaling import AffineScaling, FixedArray
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport

_LOG_2PI = math.log(2 * math.pi)

SD_FLOOR = 1e-3
"""Smallest s of `gaussian`, in standard units."""

Sampler = Literal["scan", "ode", "sde"]


class TemperingError(ValueError):
    """A sampler for which tempering is not defined."""


class ScoreDiffusionHead(AbstractPosteriorHead):
    """q(x | c) as the end of a denoising diffusion that is guided by the context.

    With v = s^2 + sigma^2 the denoiser is D = m + (s^2 / v) (z - m) + (sigma s / sqrt v)
    F((z - m) / sqrt v, sigma, c), trained with the weight that gives F a target of unit variance at
    every level. With F = 0 the head is the Gaussian N(m, s^2). For context vectors m(c) is linear
    and s one number for each element, 0 and 1 until `started`. For context fields they are 0 and 1,
    or the two maps of `gaussian`, which learns them by a beta-NLL of its own: where observations
    make the posterior narrow, F then sees it at its own scale.

    `log_prob` integrates the probability-flow ODE: with the exact divergence for up to
    `exact_size` elements, else with Hutchinson's estimate over `n_probes` fixed probes (see
    `log_prob_and_error`). `map_estimate` is the image of noise at its centre under that ODE: the
    mean of a Gaussian posterior, in general neither mean nor mode.

    Attributes:
        network: F.
        centre: the linear m, or None for context fields.
        spread: s without `gaussian`.
        gaussian: from the context to m and log s, or None.
        support: where states can be.
        scaling: standardisation of the free numbers of a state.
        log_temper: log of the sd of the latent noise, zero unless recalibrated.
        process: noise process and training levels.
        sampler: "scan", second-order steps of the ODE on a fixed grid; "ode", adaptive ODE by
            diffrax; "sde", reverse SDE by diffrax.
        n_steps: steps of "scan" and "sde".
        exact_size: largest state for which the divergence is exact.
        n_probes: probes of Hutchinson's estimate above that.
        rtol: tolerance of the adaptive ODE.

    Source: Karras et al. (2022), arXiv:2206.00364; Song et al. (2021), arXiv:2011.13456;
    Hutchinson (1989), doi:10.1080/03610918908812806.
    """

    network: AbstractScoreNetwork
    centre: eqx.nn.Linear | None
    spread: FixedArray
    gaussian: AbstractStateNetwork | None
    support: AbstractSupport
    scaling: AffineScaling
    log_temper: Float[Array, ""]
    process: AbstractNoiseProcess
    sampler: Sampler = eqx.field(static=True)
    n_steps: int = eqx.field(static=True)
    exact_size: int = eqx.field(static=True)
    n_probes: int = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    head_type: ClassVar[str] = "score"

    def __init__(
        self,
        context_dim: int | tuple[int, ...],
        state_shape: tuple[int, ...],
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        process: AbstractNoiseProcess | None = None,
        network: AbstractScoreNetwork | None = None,
        gaussian: AbstractStateNetwork | None = None,
        sampler: Sampler = "scan",
        n_steps: int = 40,
        exact_size: int = 64,
        n_probes: int = 64,
        rtol: float = 1e-5,
        support: AbstractSupport = EVERYWHERE,
        key: PRNGKeyArray,
    ):
        """Build the head.

        Arguments:
            context_dim: length of the context vector, or the shape of the context field.
            state_shape: shape of one state.
            hidden_dim, depth: width and number of blocks of the default network.
            process: noise process; variance exploding by default.
            network: F; residual perceptron blocks on a context vector by default.
            gaussian: see the attributes; with two maps, for context fields.
            sampler, n_steps, exact_size, n_probes, rtol: see the attributes.
            support: where states can be; everywhere by default.
            key: for the initial weights.

        Raises:
            ValueError: if the network does not fit the other arguments.
        """
        context_shape = (context_dim,) if isinstance(context_dim, int) else tuple(context_dim)
        state_shape = tuple(state_shape)
        if network is None:
            if len(context_shape) != 1:
                raise ValueError(
                    f"ScoreDiffusionHead: a context of shape {context_shape} is a field, and the "
                    "default network takes a vector; pass network=UNetScoreNetwork(context_shape, "
                    "state_shape, key=key)."
                )
            network = MLPScoreNetwork(
                context_shape[0], state_shape, hidden_dim=hidden_dim, depth=depth, key=key
            )
        wanted, got = (context_shape, state_shape), (network.context_shape, network.state_shape)
        if wanted != got:
            raise ValueError(
                f"ScoreDiffusionHead: the network has (context_shape, state_shape) = {got}, but "
                f"context_dim and state_shape ask for {wanted}."
            )
        if gaussian is not None:
            fits = (gaussian.context_shape, gaussian.state_shape, gaussian.n_maps)
            if fits != (*wanted, 2) or len(context_shape) == 1:
                raise ValueError(
                    f"ScoreDiffusionHead: gaussian has (context_shape, state_shape, n_maps) = "
                    f"{fits}, but {(*wanted, 2)} is needed, with a context field; for a context "
                    "vector leave it out."
                )
        if n_steps < 2 or n_probes < 2:
            raise ValueError(
                f"ScoreDiffusionHead: n_steps and n_probes must be at least 2, got {n_steps} and "
                f"{n_probes}."
            )
        self.network = network
        self.centre = None
        if len(context_shape) == 1:
            linear = eqx.nn.Linear(context_shape[0], math.prod(state_shape), key=key)
            self.centre = jax.tree.map(jnp.zeros_like, linear)
        self.spread = FixedArray(jnp.ones(state_shape))
        self.gaussian = gaussian
        self.support = support
        self.scaling = AffineScaling.identity(len(state_shape))
        self.log_temper = jnp.zeros(())
        self.process = VarianceExploding() if process is None else process
        self.sampler = sampler
        self.n_steps = n_steps
        self.exact_size = exact_size
        self.n_probes = n_probes
        self.rtol = rtol

    @property
    def context_shape(self) -> tuple[int, ...]:
        return self.network.context_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.network.state_shape

    def denoise(
        self,
        z: Float[Array, "*state"],
        log_sigma: Float[Array, ""],
        ctx: Float[Array, "*context"],
    ) -> Float[Array, "*state"]:
        """The expected clean state given a noisy one z + sigma e, in standard units."""
        sigma = jnp.exp(log_sigma)
        centre, spread = self._gaussian_part(ctx)
        variance = spread**2 + sigma**2
        root = jnp.sqrt(variance)
        inner = self.network((z - centre) / root, log_sigma, ctx)
        return centre + spread**2 / variance * (z - centre) + sigma * spread / root * inner

    def standard_loss(
        self,
        z: Float[Array, "*state"],
        ctx: Float[Array, "*context"],
        key: PRNGKeyArray,
        quantile: Float[Array, ""],
    ) -> Float[Array, ""]:
        log_sigma = self.process.training_log_sigma(quantile)
        sigma = jnp.exp(log_sigma)
        _, spread = self._gaussian_part(ctx)
        noisy = z + sigma * jax.random.normal(key, z.shape, z.dtype)
        error = self.denoise(noisy, log_sigma, ctx) - z
        loss = jnp.mean(error**2 * (spread**-2 + sigma**-2))
        if self.gaussian is None:
            return loss
        mean, log_sd = self.gaussian(ctx)
        sd = positive(log_sd) + SD_FLOOR
        terms = 0.5 * ((z - mean) / sd) ** 2 + jnp.log(sd)
        weighted = jnp.mean(jax.lax.stop_gradient(sd) * terms)
        return loss + with_gradient_of(jnp.mean(terms), weighted)

    def started(self, fit: LinearFit) -> "ScoreDiffusionHead":
        if self.centre is None:
            return self
        return eqx.tree_at(
            lambda h: (h.centre.weight, h.centre.bias, h.spread.stored),
            self,
            (fit.weight, fit.bias, fit.sd.reshape(self.state_shape)),
        )

    def _gaussian_part(
        self, ctx: Float[Array, "*context"]
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        """m and s; the score's own loss does not train `gaussian`."""
        if self.gaussian is not None:
            mean, log_sd = jax.lax.stop_gradient(self.gaussian(ctx))
            return mean, positive(log_sd) + SD_FLOOR
        if self.centre is None:
            return jnp.zeros(self.state_shape, ctx.dtype), self.spread.value
        return self.centre(ctx).reshape(self.state_shape), self.spread.value

    def _noise(
        self, ctx: Float[Array, "*context"]
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        """Mean and standard deviation of the noisy state at the highest level."""
        centre, spread = self._gaussian_part(ctx)
        temper = jnp.exp(jax.lax.stop_gradient(self.log_temper))
        return centre, temper * jnp.sqrt(spread**2 + self.process.sigma_max**2)

    def standard_map(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        return diffusion.heun(
            lambda z, s: self.denoise(z, s, ctx), self._noise(ctx)[0], self._grid(ctx)
        )

    def standard_sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        def denoiser(z: Array, log_sigma: Array) -> Array:
            return self.denoise(z, log_sigma, ctx)

        centre, noise_sd = self._noise(ctx)

        def draw(k: PRNGKeyArray) -> Array:
            start_key, path_key = jax.random.split(k)
            noise = jax.random.normal(start_key, self.state_shape, ctx.dtype)
            start = centre + noise_sd * noise
            if self.sampler == "sde":
                return diffusion.reverse_sde(
                    denoiser, self.process, start, self._grid(ctx), path_key
                )
            if self.sampler == "ode":
                return diffusion.flow_ode(denoiser, self.process, start, self.rtol)
            return diffusion.heun(denoiser, start, self._grid(ctx))

        return jax.vmap(draw)(jax.random.split(key, n))

    def standard_log_prob(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        return self._density(z, ctx, jax.random.key(0))[0]

    def log_prob_and_error(
        self, x: Float[Array, "*state"], ctx: Float[Array, "*context"], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Log-density of one state and the standard error of Hutchinson's estimate.

        The error is zero for states of up to `exact_size` elements.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            StateShapeError: if the state has another shape than `state_shape`.
        """
        self._check_context(ctx)
        self._check_state(x)
        log_prob, error = self._density(self.to_standard(x), ctx, key)
        return self.with_jacobian(log_prob, x), error

    def standard_chi2(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        end = diffusion.noise_of(lambda a, s: self.denoise(a, s, ctx), self.process, z, self.rtol)
        centre, noise_sd = self._noise(ctx)
        return jnp.mean(((end - centre) / noise_sd) ** 2)

    def standard_marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        samples = self.standard_sample(ctx, key, n)
        return jnp.mean(samples, axis=0), jnp.std(samples, axis=0, ddof=1)

    def tempered(self, scale: Float[Array, ""]) -> "ScoreDiffusionHead":
        if self.sampler == "sde":
            raise TemperingError(
                "ScoreDiffusionHead: the reverse SDE forgets its starting noise, so tempering has "
                "no effect on its samples; use sampler='scan' or 'ode'."
            )
        return eqx.tree_at(lambda h: h.log_temper, self, self.log_temper + jnp.log(scale))

    def _density(
        self, z: Array, ctx: Array, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        probes = None
        if z.size > self.exact_size:
            probes = jax.random.rademacher(key, (self.n_probes, *z.shape), z.dtype)
        end, log_det, error = diffusion.noise_and_log_det(
            lambda a, s: self.denoise(a, s, ctx), self.process, z, self.rtol, probes
        )
        centre, noise_sd = self._noise(ctx)
        latent = (end - centre) / noise_sd
        log_base = -0.5 * jnp.sum(latent**2 + 2 * jnp.log(noise_sd) + _LOG_2PI)
        return log_base + log_det, error

    def _grid(self, ctx: Array) -> Float[Array, " level"]:
        return diffusion.level_grid(self.process, self.n_steps, ctx.dtype)
