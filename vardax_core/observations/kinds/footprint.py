"""Means over the area that an instrument sees at once."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.linear import WeightedPoints
from vardax_core.observations.settings import AbstractMeanSettings, Sites
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.grids.base import Places, Stencil


class FootprintSettings(AbstractMeanSettings):
    """Settings of a mean over a disc, weighted by the areas of the cells of its points.

    Masked points are no part of it. A disc that holds no point of the grid is its middle.
    """

    name: ClassVar[str] = "footprint"
    title: ClassVar[str] = "the mean over a disc around a place"
    source: ClassVar[str] = "boxcar footprint of van Leeuwen (2015), doi:10.1002/qj.2464"

    radius: float = Field(gt=0, description="of the disc, in the grid's unit of distance")

    def build(self, sites: Sites) -> AbstractObservationOperator:
        indices, weights = sites.in_channels(self.stencil(sites.grid, sites.places))
        return WeightedPoints(
            indices=jnp.asarray(indices),
            weights=jnp.asarray(weights),
            state_shape=sites.state_shape,
        )

    def stencil(self, grid: AbstractGrid, places: Places) -> Stencil:
        middle = grid.stencil(places)
        near = grid.points_near(places, self.radius)
        count = max(near.indices.shape[1], middle.indices.shape[1])
        inside = np.isfinite(near.distances)
        areas = np.where(inside, grid.weights().reshape(-1)[near.indices], 0.0)
        total = areas.sum(axis=1, keepdims=True)
        indices, weights = np.zeros((2, len(places), count))
        indices[:, : near.indices.shape[1]] = near.indices
        weights[:, : near.indices.shape[1]] = areas / np.where(total > 0, total, 1.0)
        empty = total[:, 0] == 0
        indices[empty, : middle.indices.shape[1]] = middle.indices[empty]
        weights[empty, : middle.indices.shape[1]] = middle.weights[empty]
        return Stencil(indices.astype(middle.indices.dtype), weights)

    def corners(self, grid: AbstractGrid) -> int:
        # The point nearest to a place is less than a cell away, and its wider disc holds that of
        # the place.
        near = grid.points_near(grid.points(), self.radius + _cell(grid))
        return max(near.indices.shape[1], 2 ** len(grid.shape))


def _cell(grid: AbstractGrid) -> float:
    """The longest way along the sides of any cell from one corner to the opposite one."""
    positions = np.asarray(grid.positions())
    apart = 0.0
    for axis in range(len(grid.shape)):
        if grid.shape[axis] > 1:
            first = np.take(positions, range(grid.shape[axis] - 1), axis)
            second = np.take(positions, range(1, grid.shape[axis]), axis)
            apart += float(np.max(np.asarray(grid.distance(first, second))))
    return apart
