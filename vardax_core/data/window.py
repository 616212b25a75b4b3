"""Cycle times, and the observations of many cycles as arrays."""

import datetime

import numpy as np
import xarray as xr

from vardax_core.data.errors import PeriodError
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import (
    duration_to_minutes,
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode


def cycle_times(
    recipe: Recipe,
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
) -> np.ndarray:
    """Analysis times (datetime64[ns]) from `start` to `end`, both included.

    They are those of the recipe's period and their continuation at the same interval, so that
    training windows are cut like the assimilated ones. A `start` or `end` that falls between two
    of them is rounded inwards.

    Raises:
        PeriodError: if there is no analysis time between `start` and `end`.
    """
    first = instant_to_minutes(recipe.period.start)
    step = duration_to_minutes(recipe.cycle_interval)
    low = first if start is None else instant_to_minutes(start)
    high = instant_to_minutes(recipe.period.end if end is None else end)
    minutes = np.arange(low + (first - low) % step, high + 1, step, dtype=np.int64)
    if not minutes.size:
        asked = from_minutes(np.array([low, high]))
        raise PeriodError(
            f"Recipe '{recipe.name}': no analysis time from {asked[0]} to {asked[1]}; there is one "
            f"every {recipe.cycle_interval}, so ask for a longer period."
        )
    return from_minutes(minutes)


def windows(
    observations: xr.Dataset,
    times: np.ndarray,
    recipe: Recipe,
    *,
    cut_off: datetime.timedelta | None = None,
) -> dict[str, np.ndarray]:
    """The observation windows of a set of cycles.

    Arguments:
        observations: dataset as made by `ingest`.
        times: analysis times, datetime64 or minutes since `MINUTES_EPOCH`.
        recipe: says how many times a window holds, and how far apart.
        cut_off: leave out what arrived later than this after the analysis time; None takes all.

    Returns:
        `values` and `error_sd` (cycle, window, station) in the variable's unit;
        `quality_control` of the same shape, int8, MISSING where the dataset lacks the time and
        NOT_ARRIVED where a kept observation came after the cut-off; and `minutes` (cycle, window),
        int64 since `MINUTES_EPOCH`, the analysis time last. A value is NaN where its code is not
        KEPT, or WITHHELD at the analysis time; `error_sd` is positive everywhere.
    """
    spacing = duration_to_minutes(recipe.window.spacing)
    offsets = np.arange(1 - recipe.window.times, 1, dtype=np.int64) * spacing
    analysis_minutes = to_minutes(np.asarray(times))
    minutes = analysis_minutes[:, None] + offsets
    there = to_minutes(observations["time"].values)
    row = np.searchsorted(there, minutes).clip(max=there.size - 1)
    present = (there[row] == minutes)[..., None]

    def rows(name: str) -> np.ndarray:
        return observations[name].transpose("time", "station").to_numpy()[row]

    name = recipe.observed.name
    codes = np.where(present, rows(QUALITY_CONTROL), np.int8(QualityCode.MISSING))
    if cut_off is not None:
        latest = analysis_minutes + duration_to_minutes(cut_off)
        arrival = to_minutes(rows("arrival_time"))
        late = (arrival > latest[:, None, None]) | (arrival == np.iinfo(np.int64).min)
        codes[late & (codes == QualityCode.KEPT)] = QualityCode.NOT_ARRIVED
    values = rows(name)
    shown = codes == QualityCode.KEPT
    shown[:, -1] |= codes[:, -1] == QualityCode.WITHHELD
    values[~shown] = np.nan
    return {
        "values": values,
        "error_sd": rows(f"{name}_error"),
        "quality_control": codes,
        "minutes": minutes,
    }
