"""What every observation operator is."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class OperatorShapeError(ValueError):
    """An observation operator whose parts do not fit together, or not the state."""


class NonlinearOperatorError(ValueError):
    """A nonlinear observation operator where only a linear one can serve."""


class AbstractObservationOperator(eqx.Module):
    """A map H from one state to the observation space.

    Implementations write `__call__` for one state; tangent-linear and adjoint follow by
    differentiation.

    Attributes:
        state_shape: shape of one state.
    """

    state_shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abstractmethod
    def obs_size(self) -> int:
        """Length p of the observation vector."""

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether H (a x + b y) = a H x + b H y for all states and numbers."""

    @abstractmethod
    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        """The observation equivalent of one state, in the unit of the observations."""

    def ensemble(self, ensemble: Float[Array, "member *state"]) -> Float[Array, "member obs"]:
        """The observation equivalents of every member."""
        return jax.vmap(self)(ensemble)

    def tangent(
        self, state: Float[Array, "*state"], increment: Float[Array, "*state"]
    ) -> Float[Array, " obs"]:
        """The tangent-linear operator at `state` applied to a state increment."""
        return jax.jvp(self, (state,), (increment,))[1]

    def adjoint(
        self, state: Float[Array, "*state"], increment: Float[Array, " obs"]
    ) -> Float[Array, "*state"]:
        """The adjoint operator at `state` applied to a vector in observation space."""
        return jax.vjp(self, state)[1](increment)[0]

    def __matmul__(self, inner: "AbstractObservationOperator") -> "Composition":
        """`outer @ inner` observes with `inner` and applies `outer` to the result."""
        return Composition(outer=self, inner=inner, state_shape=inner.state_shape)


class LocalRows(eqx.Module):
    """The derivative H' of an operator at one state, row by row.

    Attributes:
        points: flat (row-major) indices of the grid points that each observation depends on, none
            twice in a row; None where observation i depends on point i alone, for every point.
        slopes: derivative of the observation's equivalent by the state at each of them.
    """

    points: Int[Array, "obs point"] | None
    slopes: Float[Array, "obs point"]

    def at_points(self, field: Float[Array, "*any n"]) -> Float[Array, "*any obs point"]:
        """The values of flat fields at the points of each observation."""
        return field[..., None] if self.points is None else field[..., self.points]

    def summed(
        self, values: Float[Array, "*any obs point"], size: int
    ) -> Float[Array, "*any {size}"]:
        """Add up what each observation says of its points, on a flat grid of so many."""
        if self.points is None:
            return values[..., 0]
        nothing = jnp.zeros((*values.shape[:-2], size), values.dtype)
        return nothing.at[..., self.points].add(values)


class AbstractLocalOperator(AbstractObservationOperator):
    """An operator that knows which few grid points each of its observations depends on."""

    @abstractmethod
    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        """The derivative at a state."""


def check_linear(method: str, operator: AbstractObservationOperator) -> None:
    """Refuse a nonlinear operator.

    Raises:
        NonlinearOperatorError: if the operator is not linear.
    """
    if not operator.linear:
        raise NonlinearOperatorError(
            f"{method}: a linear observation operator is needed, got a nonlinear "
            f"{type(operator).__name__}; observe the state itself, or take an ensemble or "
            "variational method."
        )


def rows_of(operator: AbstractObservationOperator, state: Float[Array, "*state"]) -> LocalRows:
    """The derivative of any operator at a state; over all points if it does not say which."""
    if isinstance(operator, AbstractLocalOperator):
        return operator.rows(state)
    return _all_rows(operator, state)


def _all_rows(operator: AbstractObservationOperator, state: Float[Array, "*state"]) -> LocalRows:
    basis = jnp.eye(operator.obs_size, dtype=state.dtype)
    slopes = jax.vmap(lambda e: operator.adjoint(state, e))(basis).reshape(basis.shape[0], -1)
    return LocalRows(jnp.broadcast_to(jnp.arange(state.size)[None], slopes.shape), slopes)


class Composition(AbstractLocalOperator):
    """One operator after another, written `outer @ inner`.

    Attributes:
        outer: operator on states of shape `(inner.obs_size,)`.
        inner: operator on the state.
        state_shape: that of the inner operator.

    Raises:
        OperatorShapeError: if the outer operator does not take what the inner one gives.
    """

    outer: AbstractObservationOperator
    inner: AbstractObservationOperator
    state_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if self.outer.state_shape != (self.inner.obs_size,):
            raise OperatorShapeError(
                f"Composition: {type(self.inner).__name__} gives {self.inner.obs_size} values, "
                f"but {type(self.outer).__name__} takes states of shape {self.outer.state_shape}; "
                f"build the outer operator for ({self.inner.obs_size},)."
            )

    @property
    def obs_size(self) -> int:
        return self.outer.obs_size

    @property
    def linear(self) -> bool:
        return self.outer.linear and self.inner.linear

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return self.outer(self.inner(state))

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        outer = rows_of(self.outer, self.inner(state))
        if outer.slopes.shape[1] != 1:
            # Two inner observations may look at one point.
            return _all_rows(self, state)
        inner = rows_of(self.inner, state)
        if outer.points is None:
            return LocalRows(inner.points, outer.slopes * inner.slopes)
        if inner.points is None:
            return LocalRows(outer.points, outer.slopes * inner.slopes[outer.points[:, 0]])
        chosen = outer.points[:, 0]
        return LocalRows(inner.points[chosen], outer.slopes * inner.slopes[chosen])
