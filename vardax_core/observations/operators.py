"""Observation operators for gridded and point observations."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.observations.base import AbstractLocalOperator, LocalRows
from vardax_core.state.grids import OutsideDomainError


class Identity(AbstractLocalOperator):
    """Every point of the state is observed; which of them are missing is said by the mask.

    Attributes:
        state_shape: shape of one state.
    """

    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self) -> int:
        return math.prod(self.state_shape)

    @property
    def linear(self) -> bool:
        return True

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return state.reshape(-1)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        return LocalRows(None, jnp.ones((self.obs_size, 1), state.dtype))


class PointSampling(AbstractLocalOperator):
    """The state at chosen points of its grid.

    Attributes:
        indices: flat (row-major) index of each station's grid point.
        state_shape: shape of one state.

    Raises:
        OutsideDomainError: if an index lies outside the grid.
    """

    indices: Int[Array, " obs"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if isinstance(self.indices, jax.core.Tracer):
            return
        size, indices = math.prod(self.state_shape), np.asarray(self.indices)
        outside = np.flatnonzero((indices < 0) | (indices >= size))
        if outside.size:
            raise OutsideDomainError(
                f"PointSampling: station {outside[0]} has grid index "
                f"{indices[outside[0]]}, outside the domain of {size} points of a state "
                f"{self.state_shape}; drop it or mark it missing."
            )

    @property
    def obs_size(self) -> int:
        return self.indices.shape[0]

    @property
    def linear(self) -> bool:
        return True

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return jnp.take(state.reshape(-1), self.indices)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        return LocalRows(self.indices[:, None], jnp.ones((self.obs_size, 1), state.dtype))


def sampling(
    indices: Int[np.ndarray, " obs"], state_shape: tuple[int, ...]
) -> AbstractLocalOperator:
    """Observe a state at chosen points: `Identity` where these are all points in their order.

    Arguments:
        indices: flat (row-major) index of each station's grid point.
        state_shape: shape of one state.

    Raises:
        OutsideDomainError: if an index lies outside the grid.
    """
    if np.array_equal(indices, np.arange(math.prod(state_shape))):
        return Identity(state_shape)
    return PointSampling(indices=jnp.asarray(indices), state_shape=state_shape)
