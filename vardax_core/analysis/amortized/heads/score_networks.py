"""Networks of score diffusion: from a noisy state, its noise level and the context to a state."""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractScoreNetwork(eqx.Module):
    """The trained part F of a preconditioned denoiser.

    Attributes:
        context_shape: shape of one context.
        state_shape: shape of one state.
    """

    context_shape: eqx.AbstractVar[tuple[int, ...]]
    state_shape: eqx.AbstractVar[tuple[int, ...]]

    @abstractmethod
    def __call__(
        self,
        z: Float[Array, "*state"],
        log_sigma: Float[Array, ""],
        ctx: Float[Array, "*context"],
    ) -> Float[Array, "*state"]:
        """F of one noisy state of unit variance."""


def noise_features(log_sigma: Float[Array, ""], n: int) -> Float[Array, " feature"]:
    """Sines and cosines of the log noise level at `n` frequencies from 1/4 to 4 per e-fold."""
    frequencies = 0.25 * 16 ** (jnp.arange(n).astype(log_sigma.dtype) / max(n - 1, 1))
    angles = frequencies * log_sigma
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class MLPScoreNetwork(AbstractScoreNetwork):
    """Residual perceptron blocks whose hidden layers are scaled and shifted by level and context.

    Attributes:
        inner: first layer, of the noisy state and the context.
        modulation: from noise features and context to all scales and shifts.
        first, second: the two layers of every block, stacked over the blocks.
        outer: last layer.
        context_shape: (length of the context,).
        state_shape: shape of one state.
        n_frequencies: number of noise frequencies.

    Source: the block follows He et al. (2016), arXiv:1512.03385, and Perez et al. (2018),
    arXiv:1709.07871.
    """

    inner: eqx.nn.Linear
    modulation: eqx.nn.MLP
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    outer: eqx.nn.Linear
    context_shape: tuple[int, ...] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)
    n_frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        context_dim: int,
        state_shape: tuple[int, ...],
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        n_frequencies: int = 8,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            context_dim: length of the context vector.
            state_shape: shape of one state.
            hidden_dim: width.
            depth: number of residual blocks, at least 1.
            n_frequencies: number of noise frequencies.
            key: for the initial weights.
        """
        if depth < 1:
            raise ValueError(f"MLPScoreNetwork: depth must be at least 1, got {depth}.")
        size = math.prod(state_shape)
        keys = jax.random.split(key, 5)
        self.inner = eqx.nn.Linear(size + context_dim, hidden_dim, key=keys[0])
        self.modulation = eqx.nn.MLP(
            2 * n_frequencies + context_dim,
            2 * depth * hidden_dim,
            hidden_dim,
            1,
            activation=jax.nn.silu,
            key=keys[1],
        )

        def stacked(k: PRNGKeyArray) -> eqx.nn.Linear:
            return eqx.filter_vmap(lambda b: eqx.nn.Linear(hidden_dim, hidden_dim, key=b))(
                jax.random.split(k, depth)
            )

        self.first, self.second = stacked(keys[2]), stacked(keys[3])
        outer = eqx.nn.Linear(hidden_dim, size, key=keys[4])
        # The untrained denoiser is then that of a standard normal prior.
        self.outer = jax.tree.map(lambda x: 0.01 * x, outer)
        self.context_shape = (context_dim,)
        self.state_shape = tuple(state_shape)
        self.n_frequencies = n_frequencies

    def __call__(
        self,
        z: Float[Array, "*state"],
        log_sigma: Float[Array, ""],
        ctx: Float[Array, "*context"],
    ) -> Float[Array, "*state"]:
        level = noise_features(log_sigma, self.n_frequencies)
        hidden = self.inner(jnp.concatenate([z.reshape(-1), ctx]))
        depth = self.first.weight.shape[0]
        film = self.modulation(jnp.concatenate([level, ctx])).reshape(depth, 2, -1)

        def block(h: Array, layer: tuple) -> tuple[Array, None]:
            first, second, (scale, shift) = layer
            inner = jax.nn.silu(first(jax.nn.silu(h)) * (1 + scale) + shift)
            return h + second(inner), None

        arrays, static = eqx.partition((self.first, self.second), eqx.is_array)

        def scanned(h: Array, layer: tuple) -> tuple[Array, None]:
            first, second = eqx.combine(layer[0], static)
            return block(h, (first, second, layer[1]))

        hidden, _ = jax.lax.scan(scanned, hidden, (arrays, film))
        return self.outer(jax.nn.silu(hidden)).reshape(z.shape)
