"""The observations of a cycle, with what became of them in words."""

import numpy as np
import pandas as pd
import xarray as xr

from vardax_core.browser.opened import Opened
from vardax_core.calibration.plots.scale import scale_of
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.reports import PLATFORM
from vardax_core.notebook.innovations import DEPARTURES, observed_name
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.state.coordinates import LATITUDE, LONGITUDE

USED, WITHHELD, REFUSED = "used", "withheld", "refused"
WORDS = {
    QualityCode.KEPT: "used",
    QualityCode.GROSS_ERROR: "refused: outside of what is possible",
    QualityCode.OUTSIDE_DOMAIN: "refused: outside of the grid",
    QualityCode.DUPLICATE: "refused: reported twice",
    QualityCode.THINNED: "left out: others are near",
    QualityCode.BLACKLISTED: "left out: its platform is not trusted",
    QualityCode.FAILED_OPERATOR: "refused: no state is known where it is",
    QualityCode.FIRST_GUESS: "refused: too far from the background",
    QualityCode.MISSING: "missing",
    QualityCode.NOT_ARRIVED: "not used: it had not arrived",
    QualityCode.WITHHELD: "withheld, to verify the analysis",
    QualityCode.SUPERSEDED: "replaced by a later report",
    QualityCode.REJECTED: "refused: the reject list names it",
}
"""What the code of an observation means."""
COLUMNS = ("time", "x", "y", "value", "innovation", "residual", "quality", "platform", "fate")


def observed(opened: Opened, number: int, variable: str = "") -> pd.DataFrame:
    """The observations of a variable at one analysis time; see `observed_between`."""
    return observed_between(opened, slice(number, number + 1), variable)


def observed_between(opened: Opened, cycles: slice, variable: str = "") -> pd.DataFrame:
    """The observations of a variable at the analysis times of some cycles.

    Arguments:
        opened: the experiment.
        cycles: numbers of cycles.
        variable: of the state; empty: the first.

    Returns:
        A row for each value that is there: `time`, its place `x` and `y` (of a one-dimensional
        state `x` alone; `y` is then the value), `value`, `innovation` (O-B) and `residual` (O-A) in
        the units that are shown, `quality` in words, `platform`, and `fate`: used, withheld or
        refused.
    """
    observations, departures = _parts(opened, cycles)
    if observations is None or departures is None or not departures.sizes["time"]:
        return pd.DataFrame({name: [] for name in COLUMNS})
    shape = (departures.sizes["time"], departures.sizes["station"])
    name = observed_name(observations)
    values = observations[name].to_numpy().astype(float)
    number = opened.variables.index(opened.variable(variable))
    there = np.isfinite(values) & _of_variable(opened, observations, number, shape)
    time, station = np.nonzero(there)
    shown = values[there] - scale_of(observations[name].attrs).offset
    codes = departures[QUALITY_CONTROL].to_numpy()[there].tolist()
    innovation, residual = (departures[key].to_numpy().astype(float)[there] for key in DEPARTURES)
    return pd.DataFrame(
        {
            "time": departures["time"].to_numpy()[time],
            "x": _column(opened, observations, -1, shape)[there],
            "y": shown if len(opened.dims) == 1 else _column(opened, observations, 0, shape)[there],
            "value": shown,
            "innovation": innovation,
            "residual": residual,
            "quality": [WORDS[QualityCode(code)] for code in codes],
            "platform": _platforms(opened, observations, time, station),
            "fate": [_fate(code) for code in codes],
        }
    )


def _parts(opened: Opened, cycles: slice) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Observations and departures of some cycles, read."""
    every, departures = opened.group("observations"), opened.group("innovations")
    if every is None or departures is None:
        return None, None
    times = opened.times[cycles]
    index = every.get_index("time").get_indexer(times.astype("datetime64[ns]"))
    between = every.isel(time=slice(index[0], index[-1] + 1)) if len(index) else every
    return (
        between.drop_vars("arrival_time", errors="ignore").load().isel(time=index - index[0])
        if len(index)
        else None,
        departures[[*DEPARTURES, QUALITY_CONTROL]].isel(time=cycles).load(),
    )


def _fate(code: int) -> str:
    if code == QualityCode.KEPT:
        return USED
    return WITHHELD if code == QualityCode.WITHHELD else REFUSED


def _of_variable(
    opened: Opened, observations: xr.Dataset, number: int, shape: tuple[int, int]
) -> np.ndarray:
    """Which values are of a variable of the state."""
    if "grid_index" in observations:
        index = observations["grid_index"].to_numpy().astype(int)
        return np.broadcast_to(index // int(np.prod(opened.shape)) == number, shape)
    if CHANNEL in observations:
        return np.broadcast_to(observations[CHANNEL].to_numpy() == number, shape)
    return np.ones(shape, bool)


def _column(
    opened: Opened, observations: xr.Dataset, axis: int, shape: tuple[int, int]
) -> np.ndarray:
    """Coordinate of every value along a dimension of the state."""
    curved = opened.places
    dim = opened.dims[axis] if curved is None else (LATITUDE, LONGITUDE)[axis]
    if dim in observations:
        return np.broadcast_to(observations[dim].to_numpy().astype(float), shape)
    index = observations["grid_index"].to_numpy().astype(int) % int(np.prod(opened.shape))
    if curved is not None:
        return np.broadcast_to(curved[axis].ravel()[index], shape)
    along = np.unravel_index(index, opened.shape)[axis]
    return np.broadcast_to(opened.along(dim)[along], shape)


def _platforms(
    opened: Opened, observations: xr.Dataset, time: np.ndarray, station: np.ndarray
) -> list[str]:
    """What reported each of some values."""
    known = opened.platforms
    if PLATFORM not in observations or not known:
        return [f"station {n}" for n in observations["station"].to_numpy()[station]]
    numbers = observations[PLATFORM].to_numpy().astype(int)[time, station]
    return [known[n] if 0 <= n < len(known) else "unknown" for n in numbers]
