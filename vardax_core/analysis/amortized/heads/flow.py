"""Conditional spline flows as posteriors of vectors."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.networks import (
    LinearFit,
    VectorNetwork,
    positive,
)
from vardax_core.analysis.amortized.heads.spline import ConditionalSpline
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport


class ConditionalFlowHead(AbstractPosteriorHead):
    """q(x | c): a spline flow on x after mean and sd given the context are taken off.

    The log-density is exact. `map_estimate` is the image of the centre of the latent Gaussian;
    for a posterior with one symmetric mode that is the mean, in general it is neither mean nor
    mode. For states of up to some tens of elements; see `EOFFlowHead` for fields.

    Attributes:
        affine: from the context to mean and log sd.
        spline: the flow of the rest.
        support: where states can be.
        scaling: standardisation of the free numbers of a state.
        sd_floor: smallest sd that is taken off, in standard units.
    """

    affine: VectorNetwork
    spline: ConditionalSpline
    support: AbstractSupport
    scaling: AffineScaling
    sd_floor: float = eqx.field(static=True)
    head_type: ClassVar[str] = "flow"

    def __init__(
        self,
        context_dim: int,
        state_shape: tuple[int, ...],
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        n_layers: int = 5,
        knots: int = 8,
        interval: float = 5.0,
        autoregressive: bool = True,
        sd_floor: float = 1e-3,
        support: AbstractSupport = EVERYWHERE,
        key: PRNGKeyArray,
    ):
        """Build the head.

        Arguments:
            context_dim: length of the context vector.
            state_shape: shape of one state.
            hidden_dim, depth: width and number of hidden layers of every network.
            n_layers, knots, interval, autoregressive: see `ConditionalSpline`.
            sd_floor: smallest sd that is taken off, in standard units.
            support: where states can be; everywhere by default.
            key: for the initial weights.
        """
        affine_key, spline_key = jax.random.split(key)
        self.affine = VectorNetwork(
            context_dim, state_shape, 2, hidden_dim=hidden_dim, depth=depth, key=affine_key
        )
        self.spline = ConditionalSpline(
            math.prod(state_shape),
            context_dim,
            n_layers=n_layers,
            knots=knots,
            interval=interval,
            hidden_dim=hidden_dim,
            depth=depth,
            autoregressive=autoregressive,
            key=spline_key,
        )
        self.support = support
        self.scaling = AffineScaling.identity(len(state_shape))
        self.sd_floor = sd_floor

    @property
    def context_shape(self) -> tuple[int, ...]:
        return self.affine.context_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.affine.state_shape

    def _affine(
        self, ctx: Float[Array, "*context"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        mean, log_sd = self.affine(ctx)
        return mean.reshape(-1), (positive(log_sd) + self.sd_floor).reshape(-1)

    def standard_map(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        mean, sd = self._affine(ctx)
        return (mean + sd * self.spline.image(jnp.zeros_like(mean), ctx)).reshape(self.state_shape)

    def standard_sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        mean, sd = self._affine(ctx)
        u = self.spline.sample(ctx, key, n)
        return (mean[None] + sd[None] * u).reshape(n, *self.state_shape)

    def standard_log_prob(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        mean, sd = self._affine(ctx)
        u = (z.reshape(-1) - mean) / sd
        return self.spline.log_prob(u, ctx) - jnp.sum(jnp.log(sd))

    def standard_marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        samples = self.standard_sample(ctx, key, n)
        return jnp.mean(samples, axis=0), jnp.std(samples, axis=0, ddof=1)

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
        mean, sd = self._affine(ctx)
        return self.spline.chi2((z.reshape(-1) - mean) / sd, ctx) / mean.size

    def started(self, fit: LinearFit) -> "ConditionalFlowHead":
        return eqx.tree_at(lambda h: h.affine, self, self.affine.started(fit))

    def tempered(self, scale: Float[Array, ""]) -> "ConditionalFlowHead":
        return eqx.tree_at(lambda h: h.spline, self, self.spline.tempered(scale))
