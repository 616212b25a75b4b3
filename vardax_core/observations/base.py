"""What every observation operator is."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import Array, Float


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
