"""Linear observation operators: matrices, interpolation, and weighted columns."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.observations.base import (
    AbstractLocalOperator,
    LocalRows,
    OperatorShapeError,
    OutsideDomainError,
)


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

    def __call__(self, state: Float[Array, "*state"]) -> Float[Array, " obs"]:
        values = jnp.take(state.reshape(-1), self.indices)
        return jnp.sum(self.weights.astype(values.dtype) * values, axis=1)

    def rows(self, state: Float[Array, "*state"]) -> LocalRows:
        return LocalRows(self.indices, self.weights.astype(state.dtype))


def _cells(
    axis: str, grid: Float[np.ndarray, " n"], points: Float[np.ndarray, " obs"], period: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left and right grid index of each point and the weight of the right one."""
    if grid.ndim != 1 or grid.size < 2 or np.any(np.diff(grid) <= 0):
        raise OperatorShapeError(
            f"bilinear: grid_{axis} must be one increasing axis of 2 or more points."
        )
    if np.isfinite(period):
        grid = np.append(grid, grid[0] + period)
        points = grid[0] + np.mod(points - grid[0], period)
    outside = np.flatnonzero(~((points >= grid[0]) & (points <= grid[-1])))
    if outside.size:
        raise OutsideDomainError(
            f"bilinear: observation {outside[0]} at {axis} = {points[outside[0]]} lies outside the "
            f"domain [{grid[0]}, {grid[-1]}]; drop it or mark it missing."
        )
    left = np.clip(np.searchsorted(grid, points, side="right") - 1, 0, grid.size - 2)
    fraction = (points - grid[left]) / (grid[left + 1] - grid[left])
    size = grid.size - 1 if np.isfinite(period) else grid.size
    return left, (left + 1) % size, fraction


def bilinear(
    grid_y: Float[np.ndarray, " y"],
    grid_x: Float[np.ndarray, " x"],
    points_y: Float[np.ndarray, " obs"],
    points_x: Float[np.ndarray, " obs"],
    *,
    period_x: float = math.inf,
) -> WeightedPoints:
    """Bilinear interpolation of a field `(y, x)` to scattered points.

    Arguments:
        grid_y, grid_x: increasing grid coordinates.
        points_y, points_x: observation coordinates in the same units.
        period_x: length of a periodic x axis, 360 for longitudes around the globe.

    Raises:
        OperatorShapeError: if an axis does not increase.
        OutsideDomainError: if a point lies outside the grid.
    """
    grid_y, grid_x, points_y, points_x = (
        np.asarray(a, float) for a in (grid_y, grid_x, points_y, points_x)
    )
    south, north, up = _cells("y", grid_y, points_y, math.inf)
    west, east, right = _cells("x", grid_x, points_x, period_x)
    corners = ((south, 1 - up), (north, up)), ((west, 1 - right), (east, right))
    indices = [row * grid_x.size + column for row, _ in corners[0] for column, _ in corners[1]]
    weights = [a * b for _, a in corners[0] for _, b in corners[1]]
    return WeightedPoints(
        indices=jnp.asarray(np.stack(indices, axis=1)),
        weights=jnp.asarray(np.stack(weights, axis=1)),
        state_shape=(grid_y.size, grid_x.size),
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
