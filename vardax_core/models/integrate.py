"""Fixed-step integration of autonomous ordinary differential equations through diffrax."""

from collections.abc import Callable

import diffrax
import jax
from jaxtyping import Array, Float


class RungeKutta4(diffrax.AbstractSolver):
    """The classical fourth-order Runge-Kutta scheme, the field's custom for Lorenz models.

    The four stages are written out, so that a step is differentiable forwards (tangent-linear)
    and backwards (adjoint) alike.
    """

    term_structure = diffrax.ODETerm
    interpolation_cls = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 4

    def init(self, terms, t0, t1, y0, args):
        return None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        control = terms.contr(t0, t1)
        middle = t0 + (t1 - t0) / 2
        first = terms.vf_prod(t0, y0, args, control)
        second = terms.vf_prod(middle, y0 + first / 2, args, control)
        third = terms.vf_prod(middle, y0 + second / 2, args, control)
        fourth = terms.vf_prod(t1, y0 + third, args, control)
        y1 = y0 + (first + 2 * second + 2 * third + fourth) / 6
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)


def integrate(
    tendency: Callable[[Float[Array, "*state"]], Float[Array, "*state"]],
    state: Float[Array, "*state"],
    step_size: float,
    n_steps: int,
    solver: diffrax.AbstractSolver,
) -> Float[Array, "*state"]:
    """Advance dx/dt = tendency(x) by `n_steps` steps of `step_size` time units.

    Arguments:
        tendency: right-hand side, per model time unit.
        state: state to start from.
        step_size: model time units of one step.
        n_steps: number of steps.
        solver: a diffrax scheme; it must be differentiable both ways for a tangent-linear and
            an adjoint model, as `RungeKutta4` is.

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
