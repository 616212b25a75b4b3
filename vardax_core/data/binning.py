"""Superobservations: the stations of a dense network averaged in cells of a coarser mesh."""

import numpy as np
import xarray as xr

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import places_of, state_grid
from vardax_core.observations.binning import bin_to_grid
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode


def bin_stations(observations: xr.Dataset, nature_run: xr.Dataset, recipe: Recipe) -> xr.Dataset:
    """Average the kept observations of each valid time in cells of `recipe.binning.points` grid
    points a side; without that section, the observations as they are.

    A cell is observed at the grid point in its middle. Its error is that of the mean and the
    representativeness error of that time together; it arrives with the last of its stations. The
    coordinate `station_count` says how many stations the network has in it.

    Arguments:
        observations: screened, as `observe` makes them.
        nature_run: gives the coordinates of the grid.

    Returns:
        Dataset of the same variables on (time, station), where a station is a cell that has one;
        a cell without a kept observation is MISSING.

    Raises:
        RecipeError: if the mesh has not two cells along each axis.
    """
    if recipe.binning is None:
        return observations
    points = recipe.binning.points
    middles = [
        np.arange(points // 2, nature_run.sizes[dim], points, dtype=np.int64)
        for dim in recipe.state_dims
    ]
    if min(map(len, middles)) < 2:
        raise RecipeError(
            f"Recipe '{recipe.name}': cells of {points} grid points leave less than two along "
            f"{[dim for dim, m in zip(recipe.state_dims, middles, strict=True) if len(m) < 2]}; "
            "lower binning.points."
        )
    mesh = state_grid(nature_run, recipe).taken(*middles)
    places = places_of(observations, recipe)
    cell = mesh.cells(places)
    network = np.bincount(cell[cell >= 0], minlength=mesh.size)
    cells = np.flatnonzero(network)

    name = recipe.variable.name
    given = observations.transpose("time", "station")
    values, errors, codes, arrival = (
        given[key].to_numpy() for key in (name, f"{name}_error", QUALITY_CONTROL, "arrival_time")
    )
    shape = (len(values), cells.size)
    mean, error = np.empty(shape, values.dtype), np.empty(shape, errors.dtype)
    kept = np.zeros(shape, bool)
    for row, use in enumerate(codes == int(QualityCode.KEPT)):
        binned = bin_to_grid(
            values[row].astype(np.float64),
            errors[row].astype(np.float64),
            places,
            mesh,
            use=use,
        )
        kept[row] = binned.count.ravel()[cells] > 0
        mean[row] = binned.values.ravel()[cells]
        error[row] = np.where(kept[row], binned.error_sd.ravel()[cells], recipe.error_sd)
    flags = np.where(kept, QualityCode.KEPT, QualityCode.MISSING).astype(np.int8)
    on_mesh = np.unravel_index(cells, mesh.shape)
    on_grid = tuple(middle[place] for middle, place in zip(middles, on_mesh, strict=True))
    index = np.ravel_multi_index(on_grid, tuple(nature_run.sizes[d] for d in recipe.state_dims))
    dims = ("time", "station")
    count_attrs = {"long_name": "stations of the network in the cell", "units": "1"}
    return xr.Dataset(
        {
            name: (dims, mean, observations[name].attrs),
            f"{name}_error": (dims, error, observations[f"{name}_error"].attrs),
            QUALITY_CONTROL: (dims, flags, observations[QUALITY_CONTROL].attrs),
            "arrival_time": (
                dims,
                np.stack([arrival[:, cell == n].max(axis=1) for n in cells], axis=1),
                observations["arrival_time"].attrs,
            ),
        },
        {
            "time": observations["time"],
            **{
                dim: ("station", nature_run[dim].to_numpy()[place], observations[dim].attrs)
                for dim, place in zip(recipe.state_dims, on_grid, strict=True)
            },
            "grid_index": ("station", index.astype(np.int32), observations["grid_index"].attrs),
            "station_count": ("station", network[cells].astype(np.int32), count_attrs),
        },
        observations.attrs,
    )
