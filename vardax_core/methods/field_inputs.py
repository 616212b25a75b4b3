"""What a training on fields is told by its recipe and its data, and what it says about them."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from vardax_core.data.binning import bin_stations
from vardax_core.data.channels import stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.screening import screen
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import (
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.data.twin import observe
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.training.field_streams import ObservingNetwork
from vardax_core.training.slots import commonest_step

OBSERVED_TIMES = 100
"""States that are observed to learn what the observing network is like."""


def observing_network(recipe: Recipe, nature_run: xr.Dataset) -> ObservingNetwork:
    """The stations that an analysis sees, as the recipe observes, screens and averages them.

    Arguments:
        nature_run: states of the training period.

    Raises:
        PeriodError: if none is at an observation time of the recipe.
    """
    minutes = to_minutes(nature_run["time"].values) - instant_to_minutes(recipe.period.start)
    interval = recipe.spacing
    chosen = np.flatnonzero(minutes % interval == 0)
    some = nature_run.isel(time=chosen[:: 1 + chosen.size // OBSERVED_TIMES])
    screened = screen(observe(some, recipe), recipe, state_grid(some, recipe))
    observed = bin_stations(screened, some, recipe)
    used = observed[QUALITY_CONTROL].transpose("time", "station") == QualityCode.KEPT
    errors = observed[f"{recipe.variable.name}_error"].to_numpy()[used.to_numpy()]
    if not errors.size:
        errors = np.array([recipe.error_sd])
    stations = max(int(used.any("time").sum()), 1)
    return ObservingNetwork(stations, (float(errors.min()), float(errors.max())))


def notes_on(
    recipe: Recipe, nature_run: xr.Dataset, varying: Bool[np.ndarray, "*state"]
) -> list[str]:
    """What is wanting in the data that a method learned from, one sentence each.

    Arguments:
        nature_run: states of the training period.
        varying: the points of which something could be learned.
    """
    field = stacked(nature_run, recipe).transpose("time", ...)
    missing = ~np.isfinite(field.to_numpy())
    notes = []
    if missing.any():
        row, *index = np.unravel_index(np.argmax(missing), missing.shape)
        when = np.datetime_as_string(field["time"].values[row], unit="m")
        notes.append(
            f"{missing.sum()} of {field.size} values of the training period are missing or out of "
            f"bounds, the first at {when}, {_place(field, np.array(index))}; what was learned is "
            "of the values that are known."
        )
    absent = _absent_times(to_minutes(field["time"].values))
    if absent.size:
        when = np.datetime_as_string(from_minutes(absent[:1])[0], unit="m")
        notes.append(
            f"{absent.size} times of the training period are missing, the first {when}; what was "
            "learned is of the times that are there."
        )
    left_out = np.argwhere(~varying)
    if len(left_out):
        notes.append(
            f"{len(left_out)} of {varying.size} points are constant or seldom known, the first at "
            f"{_place(field, left_out[0])}; they are left out of training and of all scores."
        )
    return notes


def _place(field: xr.DataArray, index: Int[np.ndarray, " dim"]) -> str:
    dims = field.dims[1:]
    values = (field[dim].values[i] for dim, i in zip(dims, index, strict=True))
    return ", ".join(
        str(value) if dim == CHANNEL else f"{dim} {float(value):g}"
        for dim, value in zip(dims, values, strict=True)
    )


def _absent_times(minutes: Int[np.ndarray, " time"]) -> Int[np.ndarray, " absent"]:
    step = commonest_step(minutes)
    return np.setdiff1d(np.arange(minutes[0], minutes[-1] + 1, step), minutes)
