"""Nonlinear observation operators that act on every value alone."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vardax_core.observations.base import AbstractLocalOperator, LocalRows


class Elementwise(AbstractLocalOperator):
    """A scalar function of every value of the state; compose it with a sampling by `@`.

    Attributes:
        function: differentiable elementwise function.
        state_shape: shape of one state.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self) -> int:
        return math.prod(self.state_shape)

    @property
    def linear(self) -> bool:
        return False

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return self.function(state.reshape(-1))

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        values = state.reshape(-1)
        slopes = jax.jvp(self.function, (values,), (jnp.ones_like(values),))[1]
        return LocalRows(None, slopes[:, None])


def absolute(state_shape: tuple[int, ...]) -> Elementwise:
    """The magnitude |x|, which is blind to the sign."""
    return Elementwise(function=jnp.abs, state_shape=state_shape)


def square(state_shape: tuple[int, ...]) -> Elementwise:
    """The power x^2."""
    return Elementwise(function=jnp.square, state_shape=state_shape)


def logarithm(state_shape: tuple[int, ...], *, floor: float = 1e-6) -> Elementwise:
    """log(max(x, floor)), for positive quantities such as concentrations.

    Raises:
        ValueError: if the floor is not positive.
    """
    if not floor > 0:
        raise ValueError(f"logarithm: floor must be positive, got {floor}.")
    return Elementwise(function=lambda x: jnp.log(jnp.maximum(x, floor)), state_shape=state_shape)


def clipped(state_shape: tuple[int, ...], *, lower: float, upper: float) -> Elementwise:
    """An instrument that saturates: values outside [lower, upper] read as the nearer limit.

    Raises:
        ValueError: if the limits are not ordered.
    """
    if not lower < upper:
        raise ValueError(f"clipped: lower must be below upper, got {lower} and {upper}.")
    return Elementwise(function=lambda x: jnp.clip(x, lower, upper), state_shape=state_shape)
