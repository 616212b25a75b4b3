"""Observations with their departures, one row each."""

import numpy as np
import pandas as pd
import xarray as xr

from vardax_core.data.reports import PLATFORM
from vardax_core.notebook.tree import store_of
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store.experiment import PLATFORMS

DEPARTURES = ("background_departure", "analysis_departure")


def innovation_table(
    tree: xr.DataTree, start: str | None = None, end: str | None = None
) -> pd.DataFrame:
    """Every observation at an analysis time, with its O-B and O-A.

    A store keeps departures at the analysis times. Where the window of a cycle has several
    observation times, the observations at the others are in `tree["observations"]` alone; what
    became of one of them says `vardax why --observation`.

    Arguments:
        tree: that `vardax.open` made.
        start, end: first and last analysis time (ISO 8601), both included; by default all.

    Returns:
        One row for each observation that is there: time, station, its place, the value, O-B, O-A,
        and why it was used or not. The platform is its stream and name, where the store has them.
    """
    departures = tree["innovations"].to_dataset().sel(time=slice(start, end))
    observations = tree["observations"].to_dataset().sel(time=departures["time"])
    name = observed_name(observations)
    values = observations[name].to_numpy()
    time, station = np.nonzero(np.isfinite(values))
    columns = {"time": departures["time"].to_numpy()[time]}
    for key, array in {**observations.coords, **observations.data_vars}.items():
        taken = key in (name, QUALITY_CONTROL, "time", "arrival_time", "grid_index")
        if not taken and array.dims == ("station",):
            columns[str(key)] = array.to_numpy()[station]
        elif not taken and array.dims == ("time", "station"):
            columns[str(key)] = array.to_numpy()[time, station]
    if PLATFORM in columns:
        columns[PLATFORM] = _named(tree, columns[PLATFORM])
    columns[name] = values[time, station]
    for key in DEPARTURES:
        columns[key] = departures[key].to_numpy()[time, station]
    words = np.array([code.name.lower() for code in QualityCode])
    codes = departures[QUALITY_CONTROL].to_numpy()[time, station]
    columns[QUALITY_CONTROL] = words[codes]
    return pd.DataFrame(columns)


def _named(tree: xr.DataTree, numbers: np.ndarray) -> np.ndarray:
    """The names of platforms, empty where there is no platform; their numbers in a store of an
    earlier version, which has no names."""
    store, _ = store_of(tree)
    names = [str(name) for name in store.arrays(PLATFORMS).get("name", ())]
    if not names:
        return numbers
    return np.array([names[n] if 0 <= n < len(names) else "" for n in numbers], dtype=object)


def observed_name(observations: xr.Dataset) -> str:
    """The name of what is observed: the variable that has an error beside it."""
    return next(str(name) for name in observations.data_vars if f"{name}_error" in observations)
