"""A conditional rational-quadratic spline flow on vectors."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax
from flowjax.bijections import AbstractBijection
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.quadratic_spline import QuadraticSpline

_LOG_2PI = math.log(2 * math.pi)


class ConditionalSpline(eqx.Module):
    """A density of vectors u given a vector c: u is a spline map of a standard normal latent.

    The conditioner of every layer sees the vector c. Outside of +-`interval` the map is the
    identity, so the tails are Gaussian.

    Attributes:
        bijection: from the latent to u; its inverse is the fast direction when autoregressive.
        log_temper: log of the standard deviation of the latent, zero unless recalibrated.
        size: length of u.

    Source: Durkan et al. (2019), arXiv:1906.04032; Papamakarios et al. (2017), arXiv:1705.07057.
    """

    bijection: AbstractBijection
    log_temper: Float[Array, ""]
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        context_dim: int,
        *,
        n_layers: int,
        knots: int,
        interval: float,
        hidden_dim: int,
        depth: int,
        autoregressive: bool,
        key: PRNGKeyArray,
    ):
        """Build the flow.

        Arguments:
            size: length of u.
            context_dim: length of c.
            n_layers: number of layers.
            knots: bins of each spline.
            interval: half-width of the interval that the splines bend.
            hidden_dim, depth: width and number of hidden layers of each conditioner.
            autoregressive: whether a layer is autoregressive (sampling takes `size` passes) or a
                coupling (sampling takes one, each layer bends half of the elements).
            key: for the initial weights.
        """
        make = masked_autoregressive_flow if autoregressive or size == 1 else coupling_flow
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            flow = make(
                key,
                base_dist=Normal(jnp.zeros(size)),
                transformer=QuadraticSpline(bins=knots, interval=interval),
                cond_dim=context_dim,
                flow_layers=n_layers,
                nn_width=hidden_dim,
                nn_depth=depth,
                nn_activation=jax.nn.silu,
            )
        # Small last weights: the untrained flow is close to the identity.
        self.bijection = _shrunk_conditioners(flow.bijection, 0.1)
        self.log_temper = jnp.zeros(())
        self.size = size

    def latent(
        self, u: Float[Array, " n"], c: Float[Array, " context"]
    ) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        """The latent of u and log |d latent / d u|, before tempering."""
        wide = jnp.result_type(float)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            bijection = paramax.unwrap(self.bijection)
            latent, log_det = bijection.inverse_and_log_det(u.astype(wide), c.astype(wide))
        return latent.astype(u.dtype), log_det.astype(u.dtype)

    def image(self, latent: Float[Array, " n"], c: Float[Array, " context"]) -> Float[Array, " n"]:
        """The u of a latent, before tempering."""
        wide = jnp.result_type(float)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            bijection = paramax.unwrap(self.bijection)
            return bijection.transform(latent.astype(wide), c.astype(wide)).astype(latent.dtype)

    def log_prob(self, u: Float[Array, " n"], c: Float[Array, " context"]) -> Float[Array, ""]:
        """Log-density of u given c."""
        latent, log_det = self.latent(u, c)
        log_temper = jax.lax.stop_gradient(self.log_temper)
        square = jnp.sum(latent**2) * jnp.exp(-2 * log_temper)
        return log_det - 0.5 * (square + self.size * _LOG_2PI) - self.size * log_temper

    def sample(
        self, c: Float[Array, " context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n size"]:
        """Draws of u given c."""
        noise = jax.random.normal(key, (n, self.size), c.dtype)
        noise = noise * jnp.exp(jax.lax.stop_gradient(self.log_temper))
        return jax.vmap(lambda e: self.image(e, c))(noise)

    def chi2(self, u: Float[Array, " n"], c: Float[Array, " context"]) -> Float[Array, ""]:
        """Sum of squares of the tempered latent of u: n in the mean if calibrated."""
        square = jnp.sum(self.latent(u, c)[0] ** 2)
        return square * jnp.exp(-2 * jax.lax.stop_gradient(self.log_temper))

    def tempered(self, scale: Float[Array, ""]) -> "ConditionalSpline":
        """The flow with the standard deviation of its latent multiplied by `scale`."""
        return eqx.tree_at(lambda s: s.log_temper, self, self.log_temper + jnp.log(scale))


def _shrunk_conditioners(bijection: AbstractBijection, factor: float) -> AbstractBijection:
    def is_perceptron(node: object) -> bool:
        return isinstance(node, eqx.nn.MLP)

    def shrink(node: object) -> object:
        if not isinstance(node, eqx.nn.MLP):
            return node
        last = jax.tree.map(lambda w: factor * w if eqx.is_inexact_array(w) else w, node.layers[-1])
        return eqx.tree_at(lambda m: m.layers[-1], node, last)

    return jax.tree.map(shrink, bijection, is_leaf=is_perceptron)
