"""What every forecast model is."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray


class AbstractForecastModel(eqx.Module):
    """A model that advances one state by one fixed interval.

    Implementations write `step` for one state; `forecast` and `trajectory` vectorise it.

    Attributes:
        state_shape: shape of one state.
        interval: length of one step in minutes of valid time.
    """

    state_shape: eqx.AbstractVar[tuple[int, ...]]
    interval: eqx.AbstractVar[int]

    @abstractmethod
    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        """Advance one state by one interval.

        Arguments:
            state: state valid at `time`, of shape `state_shape`.
            time: minutes since `MINUTES_EPOCH`.
            key: for stochastic forcing; deterministic models ignore it.

        Returns:
            The state valid at `time + interval`.
        """

    def forecast(
        self, ensemble: Float[Array, "member *state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "member *state"]:
        """Advance every member by one interval, each with its own key."""
        keys = jax.random.split(key, ensemble.shape[0])
        return jax.vmap(lambda x, k: self.step(x, time, key=k))(ensemble, keys)

    def tangent(
        self,
        state: Float[Array, "*state"],
        increment: Float[Array, "*state"],
        time: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "*state"]:
        """The tangent-linear model of one step at `state` applied to a state increment."""
        return jax.jvp(lambda x: self.step(x, time, key=key), (state,), (increment,))[1]

    def adjoint(
        self,
        state: Float[Array, "*state"],
        sensitivity: Float[Array, "*state"],
        time: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "*state"]:
        """The adjoint of the tangent-linear model of one step at `state`."""
        return jax.vjp(lambda x: self.step(x, time, key=key), state)[1](sensitivity)[0]

    def trajectory(
        self,
        state: Float[Array, "*state"],
        time: Int[Array, ""],
        n_steps: int,
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "window *state"]:
        """The `n_steps` states that follow `state`, which itself is not included."""

        def body(carry, k):
            x, t = carry
            x = self.step(x, t, key=k)
            return (x, t + self.interval), x

        _, states = jax.lax.scan(body, (state, time), jax.random.split(key, n_steps))
        return states


class AbstractBalancedModel(AbstractForecastModel):
    """A model that knows a field which a state and its increments are in balance with.

    Class attributes:
        balance: by which recipes choose that field.
    """

    balance: ClassVar[str]

    @abstractmethod
    def balanced(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        """The field that belongs to a state, in the unit of the model; linear in the state."""
