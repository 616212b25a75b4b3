"""Linear observation operators: matrices, interpolation, and weighted columns."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.observations.base import AbstractLocalOperator, LocalRows, OperatorShapeError
from vardax_core.state.grids import AbstractGrid, OutsideDomainError


class LinearMatrix(AbstractLocalOperator):
    """H given by its matrix over the flattened state.

    Attributes:
        matrix: one row to an observation.
        state_shape: shape of one state.

    Raises:
        OperatorShapeError: if the matrix does not fit the state.
    """

    matrix: Float[Array, "obs n"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if self.matrix.shape[1] != math.prod(self.state_shape):
            raise OperatorShapeError(
                f"LinearMatrix: a matrix {self.matrix.shape} does not act on a state "
                f"{self.state_shape} of {math.prod(self.state_shape)} points; give it one column "
                "to a point, row-major."
            )

    @property
    def obs_size(self) -> int:
        return self.matrix.shape[0]

    @property
    def linear(self) -> bool:
        return True

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        return self.matrix @ state.reshape(-1)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        everywhere = jnp.broadcast_to(jnp.arange(self.matrix.shape[1])[None], self.matrix.shape)
        return LocalRows(everywhere, self.matrix.astype(state.dtype))


class WeightedPoints(AbstractLocalOperator):
    """Every observation a weighted sum of a few grid points; H is never formed.

    Attributes:
        indices: flat (row-major) indices of the points of each observation.
        weights: their weights.
        state_shape: shape of one state.
    """

    indices: Int[Array, "obs points"]
    weights: Float[Array, "obs points"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self) -> int:
        return self.indices.shape[0]

    @property
    def linear(self) -> bool:
        return True

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        values = jnp.take(state.reshape(-1), self.indices)
        return jnp.sum(self.weights.astype(values.dtype) * values, axis=1)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        return LocalRows(self.indices, self.weights.astype(state.dtype))


def interpolation(
    grid: AbstractGrid, places: Float[np.ndarray, "obs coordinate"]
) -> WeightedPoints:
    """Interpolate a field linearly to places between the points of its grid.

    Arguments:
        grid: of the field.
        places: coordinates in the order of the grid's axes.

    Raises:
        OutsideDomainError: if a place lies outside the grid, or among masked points.
    """
    indices, weights = grid.stencil(np.asarray(places, float))
    return WeightedPoints(
        indices=jnp.asarray(indices), weights=jnp.asarray(weights), state_shape=grid.shape
    )


def averaging_kernel(
    kernel: Float[np.ndarray, "obs level"],
    columns: Int[np.ndarray, " obs"],
    state_shape: tuple[int, ...],
) -> WeightedPoints:
    """Retrievals that see a weighted mean over the levels of one column.

    Arguments:
        kernel: weight of each level in each observation.
        columns: flat horizontal index of each observation's column.
        state_shape: `(level, *horizontal)`.

    Raises:
        OperatorShapeError: if the kernel has another number of levels.
        OutsideDomainError: if a column is outside the grid.

    Source: Rodgers (2000), Inverse Methods for Atmospheric Sounding, chapter 3.
    """
    kernel, columns = np.asarray(kernel, float), np.asarray(columns)
    levels, area = state_shape[0], math.prod(state_shape[1:])
    if kernel.shape != (columns.size, levels):
        raise OperatorShapeError(
            f"averaging_kernel: kernel {kernel.shape} must be (observations, levels) = "
            f"({columns.size}, {levels})."
        )
    if np.any((columns < 0) | (columns >= area)):
        raise OutsideDomainError(
            f"averaging_kernel: columns must lie in the domain 0..{area - 1}, got "
            f"{columns.min()}..{columns.max()}; drop the retrievals outside."
        )
    indices = columns[:, None] + area * np.arange(levels)[None]
    return WeightedPoints(
        indices=jnp.asarray(indices), weights=jnp.asarray(kernel), state_shape=state_shape
    )
