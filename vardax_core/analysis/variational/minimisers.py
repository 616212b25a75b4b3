"""Minimisation of a variational cost, with its history and an end that can be told in words."""

from abc import abstractmethod
from collections.abc import Callable
from enum import IntEnum

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Float, Int

from vardax_core.types import Analysis, ResultCode


class MinimiserEnd(IntEnum):
    """How a minimisation ended."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    DIVERGED = 2
    NON_FINITE = 3


RESULT_OF_END = (
    ResultCode.OK,
    ResultCode.NOT_CONVERGED,
    ResultCode.FAILED,
    ResultCode.NON_FINITE,
)
"""The result code of an analysis whose minimisation ended so, in the order of `MinimiserEnd`."""


class Minimum(eqx.Module):
    """What a minimisation found.

    Attributes:
        control: the best control vector.
        cost: cost before the first iteration and after each; NaN beyond the last.
        end: a `MinimiserEnd`.
    """

    control: Float[Array, " control"]
    cost: Float[Array, " iteration"]
    end: Int[Array, ""]


def explain(analysis: Analysis) -> str:
    """One sentence on how the minimisation behind an analysis ended, with its costs."""
    end = MinimiserEnd(int(analysis.diagnostics["minimiser_end"]))
    costs = analysis.diagnostics["cost"]
    steps = int(jnp.sum(~jnp.isnan(costs))) - 1
    if end is MinimiserEnd.NON_FINITE:
        return (
            f"The cost was not finite after {steps + 1} iterations; it began at {costs[0]:.6g}. "
            "The background is returned: look at the model's stability and the observations."
        )
    told = {
        MinimiserEnd.CONVERGED: "Converged",
        MinimiserEnd.MAX_ITERATIONS: "Stopped at the limit of iterations, not converged,",
        MinimiserEnd.DIVERGED: "Diverged: the background is returned",
    }[end]
    return (
        f"{told} after {steps} iterations; the cost went from {costs[0]:.6g} to {costs[steps]:.6g}."
    )


class AbstractVariationalMinimiser(eqx.Module):
    """Minimises half the square of a residual."""

    @abstractmethod
    def __call__(
        self,
        residual: Callable[[Float[Array, " control"]], Float[Array, " residual"]],
        start: Float[Array, " control"],
    ) -> Minimum:
        """Minimise |residual(v)|^2 / 2 from `start`."""


def _end(done: Array, first: Float[Array, ""], last: Float[Array, ""]) -> Int[Array, ""]:
    end = jnp.where(done, int(MinimiserEnd.CONVERGED), int(MinimiserEnd.MAX_ITERATIONS))
    end = jnp.where(last > first * (1 + 1e-3), int(MinimiserEnd.DIVERGED), end)
    return jnp.where(jnp.isfinite(last), end, int(MinimiserEnd.NON_FINITE)).astype(jnp.int32)


class QuasiNewton(AbstractVariationalMinimiser):
    """Any minimiser of optimistix, limited-memory BFGS unless told otherwise.

    Attributes:
        solver: the optimistix minimiser.
        max_iterations: evaluations of the cost and its gradient at most.
    """

    solver: optx.AbstractMinimiser
    max_iterations: int = eqx.field(static=True)

    def __init__(
        self,
        solver: optx.AbstractMinimiser | None = None,
        *,
        tolerance: float = 1e-6,
        max_iterations: int = 100,
    ):
        """Use `solver`, or L-BFGS that stops at a relative and absolute change of `tolerance`."""
        if max_iterations < 1:
            raise ValueError(f"QuasiNewton: max_iterations must be >= 1, got {max_iterations}.")
        self.solver = optx.LBFGS(tolerance, tolerance) if solver is None else solver
        self.max_iterations = max_iterations

    def __call__(
        self,
        residual: Callable[[Float[Array, " control"]], Float[Array, " residual"]],
        start: Float[Array, " control"],
    ) -> Minimum:
        # The solver keeps its history in the default precision, whatever the state's is.
        own, working = start.dtype, jnp.zeros(()).dtype
        start = start.astype(working)

        def cost(control, args):
            return jnp.sum(residual(control.astype(own)).astype(working) ** 2) / 2, None

        def value(control):
            return cost(control, None)[0]

        tags: frozenset[object] = frozenset()
        struct, aux_struct = jax.eval_shape(lambda v: cost(v, None), start)
        state = self.solver.init(cost, start, None, {}, struct, aux_struct, tags)
        arrays, static = eqx.partition(state, eqx.is_array)
        history = jnp.full((self.max_iterations + 1,), jnp.nan, start.dtype)
        history = history.at[0].set(value(start))

        def proceed(carry):
            _, _, _, i, done, last = carry
            return (i < self.max_iterations) & ~done & jnp.isfinite(last)

        def body(carry):
            control, arrays, history, i, _, _ = carry
            state = eqx.combine(arrays, static)
            control, state, _ = self.solver.step(cost, control, None, {}, state, tags)
            done, _ = self.solver.terminate(cost, control, None, {}, state, tags)
            last = value(control)
            arrays, _ = eqx.partition(state, eqx.is_array)
            return control, arrays, history.at[i + 1].set(last), i + 1, done, last

        begin = (start, arrays, history, jnp.asarray(0), jnp.asarray(False), history[0])
        control, _, history, _, done, last = jax.lax.while_loop(proceed, body, begin)
        end = _end(done, history[0], last)
        return Minimum(control.astype(own), history.astype(own), end)


class GaussNewtonCG(AbstractVariationalMinimiser):
    """Outer loops that linearise the residual, inner loops of conjugate gradients.

    Attributes:
        outer: linearisations at most.
        inner: conjugate-gradient iterations in each at most.
        tolerance: relative tolerance of the inner loops; the outer loops end when a step is
            shorter than its square root relative to the control.

    Source: Courtier et al. (1994), doi:10.1002/qj.49712051912; Lawless et al. (2005),
    doi:10.1002/fld.851
    """

    outer: int = eqx.field(static=True, default=6)
    inner: int = eqx.field(static=True, default=50)
    tolerance: float = eqx.field(static=True, default=1e-6)

    def __check_init__(self):
        if self.outer < 1 or self.inner < 1 or not self.tolerance > 0:
            raise ValueError(
                "GaussNewtonCG: outer and inner must be >= 1 and tolerance positive, got "
                f"{self.outer}, {self.inner}, {self.tolerance}."
            )

    def __call__(
        self,
        residual: Callable[[Float[Array, " control"]], Float[Array, " residual"]],
        start: Float[Array, " control"],
    ) -> Minimum:
        struct = jax.ShapeDtypeStruct(start.shape, start.dtype)
        solver = lx.CG(self.tolerance, self.tolerance, max_steps=self.inner)

        def value(control):
            return jnp.sum(residual(control) ** 2) / 2

        def proceed(carry):
            _, _, i, done, last = carry
            return (i < self.outer) & ~done & jnp.isfinite(last)

        def body(carry):
            control, history, i, _, _ = carry
            base, forward = jax.linearize(residual, control)
            backward = jax.linear_transpose(forward, control)
            slope = backward(base)[0]
            # In a unit in which the squares of single precision stay finite.
            unit = jnp.maximum(jnp.finfo(slope.dtype).eps * jnp.max(jnp.abs(slope)), 1.0)
            hessian = lx.FunctionLinearOperator(
                lambda v: backward(forward(v))[0] / unit, struct, lx.positive_semidefinite_tag
            )
            step = lx.linear_solve(hessian, -slope / unit, solver, throw=False).value
            found = jnp.all(jnp.isfinite(step))
            step = jnp.where(found, step, 0.0)
            control = control + step
            size = jnp.linalg.norm(step)
            done = found & (size <= self.tolerance**0.5 * (1 + jnp.linalg.norm(control)))
            last = value(control)
            return control, history.at[i + 1].set(last), i + 1, done, last

        history = jnp.full((self.outer + 1,), jnp.nan, start.dtype).at[0].set(value(start))
        begin = (start, history, jnp.asarray(0), jnp.asarray(False), history[0])
        control, history, _, done, last = jax.lax.while_loop(proceed, body, begin)
        return Minimum(control, history, _end(done, history[0], last))
