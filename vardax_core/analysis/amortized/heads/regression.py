"""Gaussian posteriors: diagonal, and low-rank plus diagonal."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.networks import (
    AbstractStateNetwork,
    LinearFit,
    VectorNetwork,
    positive,
    with_gradient_of,
)
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport

_LOG_2PI = math.log(2 * math.pi)


class RegressionHead(AbstractPosteriorHead):
    """q(x | c) = N(mean(c), diag(sd(c)^2) + U(c) U(c)') with U of `rank` columns.

    `map_estimate` is the mean, which is also the mode. With rank 0 the covariance is diagonal and
    the gradient that training follows is that of the beta-NLL, sum of stop_gradient(var)^beta
    (r^2 / 2 var + log sd), while its value, by which weights are chosen, is the negative
    log-density up to a constant. With a positive rank the mean and the marginal variances follow
    the same, and the covariance about that mean the negative log-density, to which the marginal one
    is added. The log-density alone would let the columns take over what the mean has not learned,
    and it hardly feels their length. It is computed by the matrix inversion and determinant lemmas
    in O(n rank^2).

    Attributes:
        network: from the context to 2 + rank maps: mean, log sd, columns of U.
        support: where states can be.
        scaling: standardisation of the free numbers of a state.
        log_temper: log of a factor on the spread, zero unless recalibrated.
        rank: number of columns of U.
        beta: exponent of the weights of the loss.
        sd_floor: smallest standard deviation on the diagonal, in standard units.

    Source: Seitzer et al. (2022), arXiv:2203.09168 (beta-NLL); Woodbury (1950).
    """

    network: AbstractStateNetwork
    support: AbstractSupport
    scaling: AffineScaling
    log_temper: Float[Array, ""]
    rank: int = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    sd_floor: float = eqx.field(static=True)
    head_type: ClassVar[str] = "regression"

    def __init__(
        self,
        context_dim: int | tuple[int, ...],
        state_shape: tuple[int, ...],
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        rank: int = 0,
        beta: float = 0.5,
        sd_floor: float = 1e-3,
        network: AbstractStateNetwork | None = None,
        support: AbstractSupport = EVERYWHERE,
        key: PRNGKeyArray,
    ):
        """Build the head.

        Arguments:
            context_dim: length of the context vector, or the shape of the context field.
            state_shape: shape of one state.
            hidden_dim, depth: width and number of the hidden layers of the default network.
            rank: number of columns of U; 0 for a diagonal covariance.
            beta: exponent of the weights of the loss, 0 to 1.
            sd_floor: smallest standard deviation on the diagonal, in standard units.
            network: the network; a perceptron on a context vector by default.
            support: where states can be; everywhere by default.
            key: for the initial weights.

        Raises:
            ValueError: if the rank is negative, or the network does not fit the other arguments.
        """
        context_shape = (context_dim,) if isinstance(context_dim, int) else tuple(context_dim)
        state_shape = tuple(state_shape)
        if rank < 0:
            raise ValueError(f"RegressionHead: rank must be at least 0, got {rank}.")
        if network is None:
            if len(context_shape) != 1:
                raise ValueError(
                    f"RegressionHead: a context of shape {context_shape} is a field, and the "
                    "default network takes a vector; pass network=FieldNetwork(context_shape, "
                    "state_shape, 2 + rank, key=key)."
                )
            network = VectorNetwork(
                context_shape[0],
                state_shape,
                2 + rank,
                hidden_dim=hidden_dim,
                depth=depth,
                key=key,
            )
        wanted = (context_shape, state_shape, 2 + rank)
        got = (network.context_shape, network.state_shape, network.n_maps)
        if wanted != got:
            raise ValueError(
                f"RegressionHead: the network has (context_shape, state_shape, n_maps) = {got}, "
                f"but context_dim, state_shape and rank ask for {wanted}; n_maps is 2 + rank."
            )
        self.network = network
        self.support = support
        self.scaling = AffineScaling.identity(len(state_shape))
        self.log_temper = jnp.zeros(())
        self.rank = rank
        self.beta = beta
        self.sd_floor = sd_floor

    @property
    def context_shape(self) -> tuple[int, ...]:
        return self.network.context_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.network.state_shape

    def moments(
        self, ctx: Float[Array, "*context"]
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"], Float[Array, "rank *state"]]:
        """Mean, standard deviation of the diagonal part, and columns of U, in standard units."""
        maps = self.network(ctx)
        temper = jnp.exp(jax.lax.stop_gradient(self.log_temper))
        return maps[0], (positive(maps[1]) + self.sd_floor) * temper, maps[2:] * temper

    def standard_map(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        return self.moments(ctx)[0]

    def standard_sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        mean, sd, columns = self.moments(ctx)
        diagonal_key, rank_key = jax.random.split(key)
        noise = jax.random.normal(diagonal_key, (n, *self.state_shape), mean.dtype)
        weights = jax.random.normal(rank_key, (n, self.rank), mean.dtype)
        return mean[None] + sd[None] * noise + jnp.tensordot(weights, columns, axes=1)

    def standard_log_prob(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        return -self._negative_log_density(z, *self.moments(ctx))

    def _negative_log_density(
        self,
        z: Float[Array, "*state"],
        mean: Float[Array, "*state"],
        sd: Float[Array, "*state"],
        columns: Float[Array, "rank *state"],
    ) -> Float[Array, ""]:
        square, log_det = self._square_and_log_det(z, mean, sd, columns)
        return 0.5 * (square + log_det + mean.size * _LOG_2PI)

    def _square_and_log_det(
        self,
        z: Float[Array, "*state"],
        mean: Float[Array, "*state"],
        sd: Float[Array, "*state"],
        columns: Float[Array, "rank *state"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        residual = ((z - mean) / sd).reshape(-1)
        square = jnp.sum(residual**2)
        log_det = 2 * jnp.sum(jnp.log(sd))
        if self.rank > 0:
            scaled = (columns / sd[None]).reshape(self.rank, -1)
            inner = jnp.eye(self.rank, dtype=z.dtype) + scaled @ scaled.T
            factor = jnp.linalg.cholesky(inner)
            projected = jax.scipy.linalg.solve_triangular(factor, scaled @ residual, lower=True)
            square = square - jnp.sum(projected**2)
            log_det = log_det + 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
        return square, log_det

    def standard_marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        mean, sd, columns = self.moments(ctx)
        return mean, jnp.sqrt(sd**2 + jnp.sum(columns**2, axis=0))

    def standard_loss(
        self,
        z: Float[Array, "*state"],
        ctx: Float[Array, "*context"],
        key: PRNGKeyArray,
        quantile: Float[Array, ""],
    ) -> Float[Array, ""]:
        mean, sd, columns = self.moments(ctx)
        variance = sd**2 + jnp.sum(columns**2, axis=0)
        terms = 0.5 * ((z - mean) ** 2 / variance + jnp.log(variance))
        weighted = jnp.sum(jax.lax.stop_gradient(variance) ** self.beta * terms)
        marginal = with_gradient_of(jnp.sum(terms), weighted)
        if self.rank == 0:
            return marginal
        fixed = jax.lax.stop_gradient(mean)
        return marginal + self._negative_log_density(z, fixed, sd, columns)

    def standard_chi2(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        mean, sd, columns = self.moments(ctx)
        return self._square_and_log_det(z, mean, sd, columns)[0] / mean.size

    def started(self, fit: LinearFit) -> "RegressionHead":
        return eqx.tree_at(lambda h: h.network, self, self.network.started(fit))

    def tempered(self, scale: Float[Array, ""]) -> "RegressionHead":
        return eqx.tree_at(lambda h: h.log_temper, self, self.log_temper + jnp.log(scale))
