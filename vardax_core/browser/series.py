"""One point of the grid over time, and a one-dimensional state over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from vardax_core.browser.observed import observed_between
from vardax_core.browser.opened import Opened
from vardax_core.calibration.plots.fields import Z90
from vardax_core.calibration.plots.scale import Scale, scale_of

CYCLES = 81
"""Cycles of a series at most, around the date that is shown."""
BYTES = 96 * 2**20
"""Of the fields that are read for a series, at most: large ones have shorter series."""
LEAST = 9
"""Cycles of a series at least."""


@dataclass(frozen=True)
class Series:
    """A point over some cycles.

    Attributes:
        times: analysis times (datetime64).
        mean, low, high: of the analysis, and its 90 % band (mean +- 1.645 spread).
        background: mean of the background; empty where reading it would take too long.
        truth: empty where nobody knows it.
        observations: those of the point; as `observed_between` gives them.
        title: what it is and where.
        scale: the unit of the numbers.
    """

    times: np.ndarray
    mean: Float[np.ndarray, " time"]
    low: Float[np.ndarray, " time"]
    high: Float[np.ndarray, " time"]
    background: Float[np.ndarray, " some"]
    truth: Float[np.ndarray, " known"]
    observations: pd.DataFrame
    title: str
    scale: Scale


@dataclass(frozen=True)
class Diagram:
    """A one-dimensional state over some cycles (Hovmoeller diagram).

    Attributes:
        times: analysis times (datetime64).
        values: one row for each time.
        positions: coordinate of the points.
    """

    times: np.ndarray
    values: Float[np.ndarray, "time point"]
    positions: Float[np.ndarray, " point"]


def around(opened: Opened, number: int, ensembles: int = 0) -> slice:
    """The cycles around one that a series shows; they move in steps, so that neighbours share them.

    Arguments:
        opened: the experiment.
        number: of the cycle in the middle.
        ensembles: how many ensembles of a cycle are read beside its mean and spread.
    """
    fields = 2 + ensembles * opened.members
    of_cycle = 4 * fields * int(np.prod(opened.shape))
    length = max(LEAST, min(CYCLES, BYTES // of_cycle))
    half = length // 2
    first = max(0, min(number // half * half - half // 2, len(opened.times) - length))
    return slice(first, min(first + length, len(opened.times)))


def series(opened: Opened, number: int, point: Sequence[int], variable: str = "") -> Series:
    """Read one point over the cycles around one.

    Arguments:
        opened: the experiment.
        number: of the cycle in the middle.
        point: index of the grid along each dimension.
        variable: of the state; empty: the first.
    """
    name = opened.variable(variable)
    scale = scale_of(opened.attributes(name))
    cycles = around(opened, number)
    where = dict(zip(opened.dims, map(int, point), strict=True))
    times = opened.times[cycles]

    def read(array) -> np.ndarray:
        return np.asarray(array.to_numpy(), float)

    mean, spread = (
        read(opened.analysis[f"{name}_{which}"].isel({"time": cycles, **where}))
        for which in ("mean", "spread")
    )
    with_ensembles = around(opened, number, ensembles=1)
    background = np.empty(0)
    held = opened.group("background")
    if held is not None and with_ensembles == cycles:
        background = read(held[name].isel({"time": cycles, **where}).mean("member", skipna=False))
    truth = np.empty(0)
    known = opened.group("nature_run")
    if known is not None:
        truth = read(known[name].isel(where).sel(time=times)) - scale.offset
    middle = mean - scale.offset
    return Series(
        times=times,
        mean=middle,
        low=middle - Z90 * spread,
        high=middle + Z90 * spread,
        background=background - scale.offset,
        truth=truth,
        observations=_at(opened, cycles, point, name),
        title=f"{opened.attributes(name).get('long_name', name)} at {_place(opened, point)}",
        scale=scale,
    )


def hovmoeller(opened: Opened, number: int, group: str, variable: str = "") -> Diagram:
    """Read a one-dimensional state over the cycles around one.

    Arguments:
        opened: the experiment.
        number: of the cycle in the middle.
        group: analysis, spread, increment, truth or error; anything else is the analysis.
        variable: of the state; empty: the first.
    """
    name = opened.variable(variable)
    cycles = around(opened, number)
    times = opened.times[cycles]
    scale = scale_of(opened.attributes(name))
    which = "spread" if group == "spread" else "mean"
    values = np.asarray(opened.analysis[f"{name}_{which}"].isel(time=cycles).to_numpy(), float)
    offset = 0.0 if group in ("spread", "increment", "error") else scale.offset
    known = opened.group("nature_run")
    if group in ("truth", "error") and known is not None:
        true = np.asarray(known[name].sel(time=times).to_numpy(), float)
        values = true if group == "truth" else values - true
    held = opened.group("background")
    if group in ("increment", "background") and held is not None:
        before = held[name].isel(time=cycles).mean("member", skipna=False).to_numpy().astype(float)
        values = before if group == "background" else values - before
    return Diagram(times, values - offset, opened.along(opened.dims[0]))


def _place(opened: Opened, point: Sequence[int]) -> str:
    parts = []
    for dim, index in zip(opened.dims, point, strict=True):
        known = opened.analysis.coords.get(dim)
        degrees = known is not None and str(known.attrs.get("units", "")).startswith("degree")
        parts.append(f"{dim} {opened.along(dim)[index]:g}{'°' if degrees else ''}")
    return ", ".join(parts)


def _at(opened: Opened, cycles: slice, point: Sequence[int], name: str) -> pd.DataFrame:
    """The observations that lie in the box of a point."""
    middle: tuple[float, ...]
    halves: tuple[float, ...]
    if len(opened.dims) == 1:
        at = opened.along(opened.dims[0])
        half = (abs(float(at[1] - at[0])) if len(at) > 1 else 1.0) / 2
        middle, halves = (float(at[point[0]]),), (half,)
    else:
        x, y = opened.raster.place(point)
        width, height = opened.raster.box
        middle, halves = (x, y), (width / 2, height / 2)
    table = observed_between(opened, cycles, name)
    near = np.ones(len(table), bool)
    for column, centre, half in zip(("x", "y"), middle, halves, strict=False):
        near &= np.abs(table[column].to_numpy(float) - centre) <= half
    return table[near]
