"""Observation operators for gridded and point observations."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vardax_core.observations.base import AbstractObservationOperator


class Identity(AbstractObservationOperator):
    """Every point of the state is observed; which of them are missing is said by the mask.

    Attributes:
        state_shape: shape of one state.
    """

    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self) -> int:
        size = 1
        for length in self.state_shape:
            size *= length
        return size

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return state.reshape(-1)


class PointSampling(AbstractObservationOperator):
    """The state at chosen points of its grid.

    Attributes:
        indices: flat (row-major) index of each station's grid point.
        state_shape: shape of one state.
    """

    indices: Int[Array, " obs"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self) -> int:
        return self.indices.shape[0]

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return jnp.take(state.reshape(-1), self.indices)
