"""The state space of a recipe."""

import math

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.data.errors import RecipeError, SourceFormatError
from vardax_core.data.masks import frame_mask
from vardax_core.data.recipe import Recipe
from vardax_core.data.truth_sources import TwinSource
from vardax_core.models.settings import Axis as ModelAxis
from vardax_core.state.axis import Axis
from vardax_core.state.coordinates import grid_of
from vardax_core.state.grids import AbstractGrid, GridError, Plane, Ring
from vardax_core.state.space import Channel, StateSpace


def state_grid(data: xr.Dataset | xr.DataArray, recipe: Recipe) -> AbstractGrid:
    """Make the grid of a recipe's states: that of a twin's model, else what the coordinates mean.

    Arguments:
        data: a nature run, or anything else on the recipe's grid.

    Raises:
        SourceFormatError: if the coordinates are not understood.
    """
    if isinstance(recipe.source, TwinSource):
        return simulated_grid(recipe)
    try:
        return grid_of(data, recipe.state_dims, mask=frame_mask(data, recipe.state_dims))
    except GridError as error:
        raise SourceFormatError(f"Recipe '{recipe.name}': {error}") from error


def simulated_grid(recipe: Recipe) -> AbstractGrid:
    """Make the grid of a simulated truth's states: a ring of their points, or, where a state has
    channels, what the coordinates of the model mean.

    Raises:
        RecipeError: if the truth is not simulated, or its coordinates are not understood.
    """
    if not isinstance(recipe.source, TwinSource):
        raise RecipeError(
            f"Recipe '{recipe.name}': its truth is not simulated, so that its grid is that of its "
            "file; read the file first."
        )
    settings = recipe.source.settings
    if not settings.layered:
        return Ring(n=math.prod(settings.state_shape))
    axes = dict(zip(recipe.state_dims, settings.grid_axes(), strict=True))
    frame = xr.Dataset(coords={dim: (dim, *axis) for dim, axis in axes.items()})
    try:
        grid = grid_of(frame, recipe.state_dims)
        if not settings.wraps:
            return grid
        return Plane(axes=tuple(map(_closed, axes, axes.values())), unit=grid.axis_unit)
    except GridError as error:
        raise RecipeError(f"Recipe '{recipe.name}': {error}") from error


def _closed(dim: str, axis: ModelAxis) -> Axis:
    """An axis of evenly spaced points that repeats after its last one."""
    points = np.asarray(axis[0], np.float64)
    period = float(points.size * (points[1] - points[0]))
    return Axis.on_circle(points, period, dim, closed=True)


def state_space(data: xr.Dataset | xr.DataArray, recipe: Recipe) -> StateSpace:
    """Make the state space of a recipe: its variables on its grid.

    Arguments:
        data: a nature run, or anything else on the recipe's grid.

    Raises:
        SourceFormatError: if the coordinates are not understood.
    """
    channels = tuple(
        Channel(
            name=variable.name,
            units=variable.units,
            standard_name=variable.standard_name,
            valid_min=variable.valid_min,
            valid_max=variable.valid_max,
            scale=recipe.error_sd,
        )
        for variable in recipe.variables
    )
    return StateSpace(channels=channels, grid=state_grid(data, recipe))


def places_of(observations: xr.Dataset, recipe: Recipe) -> Float[np.ndarray, "station coordinate"]:
    """Give the coordinates of the stations in the order of the grid's axes."""
    columns = [observations[dim].to_numpy().astype(np.float64) for dim in recipe.state_dims]
    return np.stack(columns, axis=1)
