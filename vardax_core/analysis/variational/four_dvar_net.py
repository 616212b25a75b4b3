"""4DVarNet: a variational cost whose prior and whose solver are learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class LearnedPrior(eqx.Module):
    """A projection phi of a window onto what windows look like, linear plus bilinear terms.

    Rows of the window are channels, the grid is convolved over with periodic padding.
    """

    first: eqx.nn.Conv
    left: eqx.nn.Conv
    right: eqx.nn.Conv
    last: eqx.nn.Conv

    def __init__(self, dimensions: int, window: int, hidden: int, kernel: int, *, key):
        """Random weights for windows of `window` rows on a grid of `dimensions` axes."""
        keys = jax.random.split(key, 4)
        self.first = periodic_convolution(dimensions, window, hidden, kernel, key=keys[0])
        self.left = periodic_convolution(dimensions, hidden, hidden, kernel, key=keys[1])
        self.right = periodic_convolution(dimensions, hidden, hidden, kernel, key=keys[2])
        self.last = periodic_convolution(dimensions, 2 * hidden, window, kernel, key=keys[3])

    def __call__(self, states: Float[Array, "window *grid"]) -> Float[Array, "window *grid"]:
        hidden = jax.nn.silu(self.first(states))
        return self.last(jnp.concatenate([hidden, self.left(hidden) * self.right(hidden)]))


class LearnedSolver(eqx.Module):
    """A convolutional long short-term memory that turns gradients into steps."""

    gates: eqx.nn.Conv
    step: eqx.nn.Conv
    hidden: int = eqx.field(static=True)

    def __init__(self, dimensions: int, window: int, hidden: int, kernel: int, *, key):
        """Random weights for windows of `window` rows on a grid of `dimensions` axes."""
        gate_key, step_key = jax.random.split(key)
        self.hidden = hidden
        self.gates = periodic_convolution(
            dimensions, 2 * window + hidden, 4 * hidden, kernel, key=gate_key
        )
        self.step = periodic_convolution(dimensions, hidden, window, 1, key=step_key)

    def __call__(
        self,
        gradient: Float[Array, "window *grid"],
        states: Float[Array, "window *grid"],
        memory: tuple[Float[Array, "hidden *grid"], Float[Array, "hidden *grid"]],
    ) -> tuple[
        Float[Array, "window *grid"],
        tuple[Float[Array, "hidden *grid"], Float[Array, "hidden *grid"]],
    ]:
        """The step to take and the memory to keep."""
        output, cell = memory
        gates = self.gates(jnp.concatenate([gradient, states, output]))
        enter, forget, emit, new = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
        output = jax.nn.sigmoid(emit) * jnp.tanh(cell)
        return self.step(output), (output, cell)


class FourDVarNet(eqx.Module):
    """Reconstructs a window by a fixed number of learned steps down a learned cost.

    The cost is a |mask (x - y)|^2 + b |x - phi(x)|^2 with a learned prior phi and learned weights
    a and b; each step sees its gradient through a recurrent network. Everything is in units of
    `scale` about `centre`. Train it on windows with known truth by the mean square error.

    Attributes:
        prior, solver: the learned parts.
        log_weights: logarithms of a and b.
        centre, scale: mean and standard deviation of the states.
        iterations: number of steps.

    Source: Fablet et al. (2021), doi:10.1029/2021MS002572
    """

    prior: LearnedPrior
    solver: LearnedSolver
    log_weights: Float[Array, "2"]
    centre: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def cost(
        self,
        states: Float[Array, "window *grid"],
        values: Float[Array, "window *grid"],
        mask: Float[Array, "window *grid"],
    ) -> Float[Array, ""]:
        """The learned variational cost of a window in scaled units."""
        misfit, residual = mask * (states - values), states - self.prior(states)
        weights = jnp.exp(self.log_weights)
        return weights[0] * jnp.sum(misfit**2) + weights[1] * jnp.sum(residual**2)

    def __call__(
        self, input: Float[Array, "window *grid"], mask: Float[Array, "window *grid"]
    ) -> Float[Array, "window *grid"]:
        """Reconstruct one window.

        Arguments:
            input: observed values on the grid, arbitrary where `mask` is 0.
            mask: 1 where observed, 0 where not.

        Returns:
            The states of all rows, in the unit of the input.
        """
        values = jnp.where(mask > 0, (input - self.centre) / self.scale, 0.0)
        memory = jnp.zeros((self.solver.hidden, *values.shape[1:]), values.dtype)

        def body(carry, _):
            states, memory = carry
            gradient = jax.grad(self.cost)(states, values, mask)
            size = jnp.sqrt(jnp.mean(gradient**2) + 1e-12)
            step, memory = self.solver(gradient / size, states, memory)
            return (states - step, memory), None

        start = (values, (memory, memory))
        (states, _), _ = jax.lax.scan(body, start, length=self.iterations)
        return self.centre + self.scale * states


def periodic_convolution(
    dimensions: int, inputs: int, outputs: int, kernel: int, *, key: PRNGKeyArray
) -> eqx.nn.Conv:
    """A convolution that keeps the grid and closes it periodically."""
    return eqx.nn.Conv(
        dimensions, inputs, outputs, kernel, padding="SAME", padding_mode="CIRCULAR", key=key
    )


def _network(
    name: str,
    dimensions: int,
    window: int,
    hidden: int,
    iterations: int,
    kernel: int,
    centre: float,
    scale: float,
    key: PRNGKeyArray,
) -> FourDVarNet:
    if window < 1 or hidden < 1 or iterations < 1 or kernel % 2 == 0 or not scale > 0:
        raise ValueError(
            f"{name}: window, hidden and iterations must be >= 1, the kernel odd and the scale "
            f"positive; got {window}, {hidden}, {iterations}, {kernel}, {scale}."
        )
    prior_key, solver_key = jax.random.split(key)
    return FourDVarNet(
        prior=LearnedPrior(dimensions, window, hidden, kernel, key=prior_key),
        solver=LearnedSolver(dimensions, window, hidden, kernel, key=solver_key),
        log_weights=jnp.zeros(2),
        centre=centre,
        scale=scale,
        iterations=iterations,
    )


def FourDVarNet1D(
    window: int,
    *,
    hidden: int = 32,
    iterations: int = 10,
    kernel: int = 5,
    centre: float = 0.0,
    scale: float = 1.0,
    key: PRNGKeyArray,
) -> FourDVarNet:
    """A 4DVarNet for windows `(window, n)` on a periodic line.

    Arguments:
        window: rows of a window.
        hidden: channels of prior and solver.
        iterations: learned steps.
        kernel: grid points a convolution spans, odd.
        centre, scale: mean and standard deviation of the states.

    Raises:
        ValueError: if a size is not positive or the kernel even.
    """
    return _network("FourDVarNet1D", 1, window, hidden, iterations, kernel, centre, scale, key)


def FourDVarNet2D(
    window: int,
    *,
    hidden: int = 32,
    iterations: int = 10,
    kernel: int = 3,
    centre: float = 0.0,
    scale: float = 1.0,
    key: PRNGKeyArray,
) -> FourDVarNet:
    """A 4DVarNet for windows `(window, y, x)` on a doubly periodic grid; see `FourDVarNet1D`."""
    return _network("FourDVarNet2D", 2, window, hidden, iterations, kernel, centre, scale, key)
