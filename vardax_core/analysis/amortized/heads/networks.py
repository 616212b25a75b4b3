"""Networks from a context to several maps over the state."""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractStateNetwork(eqx.Module):
    """A map from one context to `n_maps` arrays of the state's shape.

    Attributes:
        context_shape: shape of one context.
        state_shape: shape of one state.
        n_maps: how many arrays come out.
    """

    context_shape: eqx.AbstractVar[tuple[int, ...]]
    state_shape: eqx.AbstractVar[tuple[int, ...]]
    n_maps: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(self, ctx: Float[Array, "*context"]) -> Float[Array, "map *state"]:
        """The maps of one context."""

    @abstractmethod
    def started(self, fit: "LinearFit") -> "AbstractStateNetwork":
        """The network with a linear fit as its first two maps, if it takes context vectors."""


class VectorNetwork(AbstractStateNetwork):
    """A multilayer perceptron plus a linear map, from a context vector to the whole state.

    The linear part carries what is linear in the observations, all of it in the linear-Gaussian
    case, so the perceptron starts small.

    Attributes:
        mlp: the perceptron.
        skip: the linear part.
        context_shape: (length of the context,).
        state_shape: shape of one state.
        n_maps: how many arrays come out.
    """

    mlp: eqx.nn.MLP
    skip: eqx.nn.Linear
    context_shape: tuple[int, ...] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)
    n_maps: int = eqx.field(static=True)

    def __init__(
        self,
        context_dim: int,
        state_shape: tuple[int, ...],
        n_maps: int,
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            context_dim: length of the context vector.
            state_shape, n_maps: what comes out.
            hidden_dim, depth: width and number of the hidden layers.
            key: for the initial weights.
        """
        self.context_shape = (context_dim,)
        self.state_shape = tuple(state_shape)
        self.n_maps = n_maps
        out_size = n_maps * math.prod(state_shape)
        mlp_key, skip_key = jax.random.split(key)
        mlp = eqx.nn.MLP(
            context_dim, out_size, hidden_dim, depth, activation=jax.nn.silu, key=mlp_key
        )
        self.mlp = shrunk_output(mlp, 0.1)
        skip = eqx.nn.Linear(context_dim, out_size, use_bias=False, key=skip_key)
        self.skip = eqx.tree_at(lambda m: m.weight, skip, 0.1 * skip.weight)

    def __call__(self, ctx: Float[Array, "*context"]) -> Float[Array, "map *state"]:
        return (self.mlp(ctx) + self.skip(ctx)).reshape(self.n_maps, *self.state_shape)

    def started(self, fit: "LinearFit") -> "VectorNetwork":
        """The network with a linear fit as its first map and its log residual sd as the second.

        The perceptron's own part becomes small, so that training starts from the fit.
        """
        n, size = math.prod(self.state_shape), self.skip.weight.shape[0]
        weight = jnp.zeros_like(self.skip.weight).at[:n].set(fit.weight)
        bias = jnp.zeros((size,), weight.dtype).at[:n].set(fit.bias)
        bias = bias.at[n : 2 * n].set(jnp.log(fit.sd))
        last = self.mlp.layers[-1]
        assert last.bias is not None
        # The columns of a covariance factor need some start: at zero they have no gradient.
        weight = weight.at[2 * n :].set(0.1 * self.skip.weight[2 * n :])
        bias = bias.at[2 * n :].set(0.1 * last.bias[2 * n :])
        return eqx.tree_at(
            lambda m: (m.skip.weight, m.mlp.layers[-1].bias, m.mlp.layers[-1].weight),
            self,
            (weight, bias, 0.1 * last.weight),
        )


class LinearFit(eqx.Module):
    """The ridge regression of flattened standardised states on context vectors.

    Attributes:
        weight, bias: of the linear map.
        sd: standard deviation of the residual of every element.
    """

    weight: Float[Array, "n context"]
    bias: Float[Array, " n"]
    sd: Float[Array, " n"]

    @classmethod
    def of(
        cls, contexts: Float[Array, "sample context"], states: Float[Array, "sample *state"]
    ) -> "LinearFit":
        """Fit by the normal equations with a small ridge."""
        z = states.reshape(states.shape[0], -1)
        centre, middle = jnp.mean(contexts, axis=0), jnp.mean(z, axis=0)
        c = contexts - centre[None]
        ridge = 1e-4 * c.shape[0] * jnp.eye(c.shape[1], dtype=c.dtype)
        weight = jnp.linalg.solve(c.T @ c + ridge, c.T @ (z - middle[None])).T
        residual = z - middle[None] - c @ weight.T
        sd = jnp.sqrt(jnp.mean(residual**2, axis=0) + 1e-6)
        return cls(weight=weight, bias=middle - weight @ centre, sd=sd)


def positive(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp(x) below 0, its tangent 1 + x above, where the exponential would explode."""
    return jnp.where(x > 0, 1 + x, jnp.exp(jnp.where(x > 0, jnp.zeros_like(x), x)))


def with_gradient_of(value: Float[Array, ""], surrogate: Float[Array, ""]) -> Float[Array, ""]:
    """A number that is told as `value` and followed down the gradient of `surrogate`."""
    return surrogate + jax.lax.stop_gradient(value - surrogate)


def shrunk_output(mlp: eqx.nn.MLP, factor: float) -> eqx.nn.MLP:
    """The perceptron with the weights and biases of its last layer multiplied by `factor`."""
    return eqx.tree_at(
        lambda m: (m.layers[-1].weight, m.layers[-1].bias), mlp, replace_fn=lambda x: factor * x
    )


class FieldNetwork(AbstractStateNetwork):
    """Two pointwise layers from a context field to maps on the same grid.

    All that mixes points happens in the encoder.

    Attributes:
        first, second: weights of the layers, (out, in).
        first_bias, second_bias: their biases.
        context_shape: (channel, *grid).
        state_shape: (*grid) or (variable, *grid).
        n_maps: how many arrays come out.
    """

    first: Float[Array, "hidden channel"]
    first_bias: Float[Array, " hidden"]
    second: Float[Array, "out hidden"]
    second_bias: Float[Array, " out"]
    context_shape: tuple[int, ...] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)
    n_maps: int = eqx.field(static=True)

    def __init__(
        self,
        context_shape: tuple[int, ...],
        state_shape: tuple[int, ...],
        n_maps: int,
        *,
        hidden_dim: int = 64,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            context_shape: (channel, *grid).
            state_shape: (*grid) or (variable, *grid).
            n_maps: how many arrays come out.
            hidden_dim: number of hidden channels.
            key: for the initial weights.

        Raises:
            ValueError: if the context and the state are not on one grid.
        """
        grid = tuple(context_shape[1:])
        if state_shape[len(state_shape) - len(grid) :] != grid or len(state_shape) > len(grid) + 1:
            raise ValueError(
                f"FieldNetwork: a context of shape {context_shape} is on the grid {grid}, which "
                f"does not fit states of shape {state_shape}; make the encoder give "
                "(channel, *grid) for states (*grid) or (variable, *grid)."
            )
        self.context_shape = tuple(context_shape)
        self.state_shape = tuple(state_shape)
        self.n_maps = n_maps
        channels = context_shape[0]
        out = n_maps * math.prod(state_shape) // math.prod(grid)
        first_key, second_key = jax.random.split(key)
        self.first = jax.random.normal(first_key, (hidden_dim, channels)) * channels**-0.5
        self.first_bias = jnp.zeros((hidden_dim,))
        self.second = 0.1 * jax.random.normal(second_key, (out, hidden_dim)) * hidden_dim**-0.5
        self.second_bias = jnp.zeros((out,))

    def __call__(self, ctx: Float[Array, "*context"]) -> Float[Array, "map *state"]:
        points = ctx.reshape(ctx.shape[0], -1)
        hidden = jax.nn.silu(self.first @ points + self.first_bias[:, None])
        out = self.second @ hidden + self.second_bias[:, None]
        return out.reshape(self.n_maps, *self.state_shape)

    def started(self, fit: "LinearFit") -> "FieldNetwork":
        return self
