"""Fixed-step integration of autonomous ordinary differential equations through diffrax."""

from collections.abc import Callable

import diffrax
import jax
import numpy as np
from jaxtyping import Array, Float


class RungeKutta4(diffrax.AbstractERK):
    """The classical fourth-order Runge-Kutta scheme, the field's custom for Lorenz models."""

    tableau = diffrax.ButcherTableau(
        c=np.array([0.5, 0.5, 1.0]),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.zeros(4),
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
    )
    interpolation_cls = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 4


def integrate(
    tendency: Callable[[Float[Array, "*state"]], Float[Array, "*state"]],
    state: Float[Array, "*state"],
    step_size: float,
    n_steps: int,
    solver: diffrax.AbstractERK,
) -> Float[Array, "*state"]:
    """Advance dx/dt = tendency(x) by `n_steps` steps of `step_size` time units.

    The solver's single step is called directly, so that a cycle pays for the stages and nothing
    else: no controller, no dense output, no while loop.
    """
    term = diffrax.ODETerm(lambda t, x, args: tendency(x))
    start = jax.numpy.zeros((), state.dtype)
    width = jax.numpy.asarray(step_size, state.dtype)

    def body(x, _):
        solver_state = solver.init(term, start, width, x, None)
        x, *_ = solver.step(term, start, width, x, None, solver_state, made_jump=False)
        return x, None

    if n_steps == 1:
        return body(state, None)[0]
    return jax.lax.scan(body, state, length=n_steps)[0]
