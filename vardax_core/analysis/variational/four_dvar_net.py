"""4DVarNet: a variational cost whose dynamics and whose solver are learned."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.encoders import AbstractObsEncoder, EncoderInputError
from vardax_core.analysis.amortized.grid import GridConv
from vardax_core.analysis.amortized.heads.networks import (
    AbstractStateNetwork,
    FieldNetwork,
    LinearFit,
)
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.scaling import AffineScaling

LONGEST_RING = 128
"""Points of a ring up to which a convolution is one product with a circulant matrix; on a CPU
that is several times faster than a stencil."""


def ring_matrix(conv: GridConv, n: int) -> Float[Array, "n out_n"]:
    """The matrix C of a convolution of one channel on a ring: row @ C, reshaped to (out, n).

    Arguments:
        conv: a periodic convolution from one channel on a line; its bias is left out.
        n: points of the ring.
    """
    half, identity = conv.kernel // 2, jnp.eye(n, dtype=conv.weight.dtype)
    shifts = jnp.stack([jnp.roll(identity, k - half, axis=0) for k in range(conv.kernel)])
    return jnp.einsum("ok,kmj->moj", conv.weight, shifts).reshape(n, -1)


class LearnedPrior(eqx.Module):
    """The rows of a window that follow from the rows before, by dynamics that are learned.

    The tendency is a linear convolution plus products of two more, the same for all rows,
    integrated over the interval between two rows by the midpoint rule.

    Attributes:
        features: convolution to the linear term and to the factors of the products.

    Source: Fablet et al. (2018), arXiv:1712.07003 (bilinear residual networks).
    """

    features: GridConv

    def __init__(self, n_dims: int, products: int, kernel: int, *, key: PRNGKeyArray):
        """Random weights for a grid of `n_dims` axes."""
        self.features = GridConv(
            1, 1 + 2 * products, kernel=kernel, periodic=True, n_dims=n_dims, gain=0.3, key=key
        )

    def tendency(self, rows: Float[Array, "row *grid"]) -> Float[Array, "row *grid"]:
        """The change of each row in an interval, to first order."""
        bias = self.features.bias
        if self.features.n_dims == 1 and rows.shape[1] <= LONGEST_RING:
            matrix = ring_matrix(self.features, rows.shape[1])
            features = (rows @ matrix).reshape(rows.shape[0], bias.size, -1) + bias[None, :, None]
        else:
            features = jax.vmap(lambda row: self.features(row[None]))(rows)
        left, right = jnp.split(features[:, 1:], 2, axis=1)
        return features[:, 0] + jnp.sum(left * right, axis=1)

    def __call__(self, rows: Float[Array, "row *grid"]) -> Float[Array, "row *grid"]:
        return rows + self.tendency(rows + self.tendency(rows) / 2)


Memory = tuple[Float[Array, "hidden *grid"], Float[Array, "hidden *grid"]]
"""Output and cell of a long short-term memory at every point of the grid."""


class LearnedSolver(eqx.Module):
    """A convolutional long short-term memory that turns gradients into steps.

    Attributes:
        gates: from gradients, states and the last output to the four gates.
        step: from the output to the step.
        hidden: channels of the memory.
    """

    gates: GridConv
    step: GridConv
    hidden: int = eqx.field(static=True)

    def __init__(self, n_dims: int, window: int, hidden: int, kernel: int, *, key: PRNGKeyArray):
        """Random weights for windows of `window` rows on a grid of `n_dims` axes."""
        gates_key, step_key = jax.random.split(key)
        self.hidden = hidden
        self.gates = GridConv(
            3 * window + hidden,
            4 * hidden,
            kernel=kernel,
            periodic=True,
            n_dims=n_dims,
            key=gates_key,
        )
        self.step = GridConv(hidden, window, kernel=1, periodic=True, n_dims=n_dims, key=step_key)

    def __call__(
        self,
        seen: Float[Array, "channel *grid"],
        memory: Memory,
    ) -> tuple[Float[Array, "window *grid"], Memory]:
        """The step to take and the memory to keep."""
        output, cell = memory
        enter, forget, emit, new = jnp.split(self.gates(jnp.concatenate([seen, output])), 4)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
        output = jax.nn.sigmoid(emit) * jnp.tanh(cell)
        return self.step(output), (output, cell)


class FourDVarNet(AbstractObsEncoder):
    """Reconstructs a window by a fixed number of learned steps down a learned cost.

    The cost is a |mask (x - y)|^2 + b sum_k |x_k+1 - phi(x_k)|^2 with learned dynamics phi and
    learned weights a and b: that of a weak-constraint 4D-Var whose model is learned. Each step
    sees the gradients of both terms through a recurrent network. The window comes in standard
    units, as a posterior hands it to its encoder.

    The context is a field of 2 window + hidden channels: the reconstructed rows, the mask, and
    the solver's memory, which tells how well the window is known.

    Attributes:
        prior, solver: the learned parts.
        log_weights: logarithms of a and b.
        window: rows of a window.
        iterations: number of steps.

    Source: Fablet et al. (2021), doi:10.1029/2021MS002572
    """

    prior: LearnedPrior
    solver: LearnedSolver
    log_weights: Float[Array, "2"]
    window: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def misfit(
        self,
        states: Float[Array, "window *grid"],
        values: Float[Array, "window *grid"],
        mask: Float[Array, "window *grid"],
    ) -> Float[Array, ""]:
        """The observations' part of the cost."""
        return jnp.exp(self.log_weights[0]) * jnp.sum((mask * (states - values)) ** 2)

    def model_error(self, states: Float[Array, "window *grid"]) -> Float[Array, ""]:
        """The dynamics' part of the cost."""
        error = states[1:] - self.prior(states[:-1])
        return jnp.exp(self.log_weights[1]) * jnp.sum(error**2)

    def __call__(
        self, input: Float[Array, "*window"], mask: Float[Array, "*window"]
    ) -> Float[Array, "*context"]:
        """The context field of one window.

        Raises:
            EncoderInputError: if the window has another number of rows.
        """
        if input.shape[0] != self.window:
            raise EncoderInputError(
                f"FourDVarNet: built for windows of {self.window} rows, got {input.shape}; build "
                f"it with window={input.shape[0]}."
            )
        values = jnp.where(mask > 0, input, 0.0)
        memory = jnp.zeros((self.solver.hidden, *values.shape[1:]), values.dtype)

        def body(carry, _):
            states, memory = carry
            gradients = jnp.stack(
                [jax.grad(self.misfit)(states, values, mask), jax.grad(self.model_error)(states)]
            )
            size = jnp.sqrt(jnp.mean(jnp.sum(gradients, axis=0) ** 2) + 1e-12)
            scaled = (gradients / size).reshape(-1, *values.shape[1:])
            step, memory = self.solver(jnp.concatenate([scaled, states]), memory)
            return (states - step, memory), None

        start = (values, (memory, memory))
        (states, (output, _)), _ = jax.lax.scan(body, start, length=self.iterations)
        return jnp.concatenate([states, mask, output])


class WindowNetwork(AbstractStateNetwork):
    """Mean and log sd of every element of a window from the context field of a 4DVarNet.

    The mean is the reconstruction plus a pointwise correction.

    Attributes:
        network: from the context to the correction and the log sd.
        context_shape: (channel, *grid), the window's rows first.
        state_shape: (window, *grid).
        n_maps: 2.
    """

    network: FieldNetwork
    context_shape: tuple[int, ...] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)
    n_maps: int = eqx.field(static=True)

    def __init__(
        self,
        context_shape: tuple[int, ...],
        state_shape: tuple[int, ...],
        *,
        hidden_dim: int = 32,
        key: PRNGKeyArray,
    ):
        """Random weights."""
        self.network = FieldNetwork(context_shape, state_shape, 2, hidden_dim=hidden_dim, key=key)
        self.context_shape = context_shape
        self.state_shape = state_shape
        self.n_maps = 2

    def __call__(self, ctx: Float[Array, "*context"]) -> Float[Array, "map *state"]:
        correction, log_sd = self.network(ctx)
        return jnp.stack([ctx[: self.state_shape[0]] + correction, log_sd])

    def started(self, fit: LinearFit) -> "WindowNetwork":
        return self


class LastRow(AbstractStateNetwork):
    """The last row of what a network says of a window.

    Attributes:
        network: the network for the whole window.
    """

    network: AbstractStateNetwork

    def __init__(self, network: AbstractStateNetwork):
        """Wrap the network of a window."""
        self.network = network

    @property
    def context_shape(self) -> tuple[int, ...]:
        return self.network.context_shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.network.state_shape[1:]

    @property
    def n_maps(self) -> int:
        return self.network.n_maps

    def __call__(self, ctx: Float[Array, "*context"]) -> Float[Array, "map *state"]:
        return self.network(ctx)[:, -1]

    def started(self, fit: LinearFit) -> "LastRow":
        return self


def window_posterior(
    encoder: FourDVarNet, grid: tuple[int, ...], *, hidden_dim: int = 32, key: PRNGKeyArray
) -> AmortizedPosterior:
    """The Gaussian posterior of all rows of a window, to be trained with `fit`.

    Its targets are whole windows (batch, window, *grid). The mean is trained by the mean square
    error.

    Arguments:
        encoder: an untrained 4DVarNet.
        grid: shape of one row.
        hidden_dim: hidden channels of the network for correction and spread.
        key: for its weights.
    """
    context_shape = (2 * encoder.window + encoder.solver.hidden, *grid)
    state_shape = (encoder.window, *grid)
    network = WindowNetwork(context_shape, state_shape, hidden_dim=hidden_dim, key=key)
    head = RegressionHead(context_shape, state_shape, beta=1.0, network=network, key=key)
    return AmortizedPosterior(encoder, head, AmortizedConfig("regression"))


def last_row(posterior: AmortizedPosterior) -> AmortizedPosterior:
    """The posterior of the analysis time alone, for a `PosteriorAnalysisStep` on the grid.

    Arguments:
        posterior: a trained posterior of whole windows; see `window_posterior`.
    """

    def parts(p: Any) -> tuple[AbstractStateNetwork, AffineScaling]:
        return p.head.network, p.head.scaling

    network, scaling = parts(posterior)
    now = AffineScaling(shift=scaling.shift[-1], scale=scaling.scale[-1])
    return eqx.tree_at(parts, posterior, (LastRow(network), now))


def _network(
    name: str,
    n_dims: int,
    window: int,
    hidden: int,
    iterations: int,
    kernel: int,
    products: int,
    key: PRNGKeyArray,
) -> FourDVarNet:
    if window < 2 or hidden < 1 or iterations < 1 or products < 1 or kernel % 2 == 0:
        raise ValueError(
            f"{name}: window must be >= 2, hidden, iterations and products >= 1 and the kernel "
            f"odd; got {window}, {hidden}, {iterations}, {products}, {kernel}."
        )
    prior_key, solver_key = jax.random.split(key)
    return FourDVarNet(
        prior=LearnedPrior(n_dims, products, kernel, key=prior_key),
        solver=LearnedSolver(n_dims, window, hidden, 1, key=solver_key),
        log_weights=jnp.zeros(2),
        window=window,
        iterations=iterations,
    )


def FourDVarNet1D(
    window: int,
    *,
    hidden: int = 48,
    iterations: int = 12,
    kernel: int = 5,
    products: int = 3,
    key: PRNGKeyArray,
) -> FourDVarNet:
    """A 4DVarNet for windows `(window, n)` on a periodic line.

    Arguments:
        window: rows of a window.
        hidden: channels of the solver's memory.
        iterations: learned steps.
        kernel: side of the neighbourhood on which a tendency depends, in grid points, odd.
        products: bilinear terms of the dynamics.
        key: for the initial weights.

    Raises:
        ValueError: if a size is too small or the kernel even.
    """
    return _network("FourDVarNet1D", 1, window, hidden, iterations, kernel, products, key)


def FourDVarNet2D(
    window: int,
    *,
    hidden: int = 48,
    iterations: int = 12,
    kernel: int = 3,
    products: int = 3,
    key: PRNGKeyArray,
) -> FourDVarNet:
    """A 4DVarNet for windows `(window, y, x)` on a doubly periodic grid; see `FourDVarNet1D`."""
    return _network("FourDVarNet2D", 2, window, hidden, iterations, kernel, products, key)
