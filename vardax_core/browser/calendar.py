"""The cycles of an experiment as a calendar, coloured by a score."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.browser.opened import Opened
from vardax_core.notebook.scores import CHANNEL, cycle_scores
from vardax_core.store import StructureError

FIRST = ("crps_gaussian", "withheld_crps", "rmse", "spread")
"""Scores that are offered before others, where they are known."""
SHORT = 70
"""Days of which every one has a row, if it has several cycles; else every month has."""


@dataclass(frozen=True)
class Calendar:
    """A score of every cycle, or its mean over the cycles of every day.

    Attributes:
        rows, columns: names of days and hours, or of months and days.
        row, column: where each box lies.
        values: one for each box.
        times: the first cycle of each box (ISO 8601).
        title: what the score is, with its unit.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row: tuple[str, ...]
    column: tuple[str, ...]
    values: Float[np.ndarray, " box"]
    times: tuple[str, ...]
    title: str


def scores_of(opened: Opened, variable: str = "") -> xr.Dataset:
    """The scores of every cycle that can be said of it.

    Arguments:
        opened: the experiment.
        variable: of the state; empty: the first.

    Returns:
        One series along `time` for each score with a number in it; none of a store of an earlier
        version.
    """
    diagnostics = opened.group("diagnostics")
    if diagnostics is None or not len(opened.times):
        return xr.Dataset()
    try:
        found = cycle_scores(diagnostics.load(), opened.analysis)
    except StructureError:
        return xr.Dataset()
    if CHANNEL in found.dims:
        found = found.sel({CHANNEL: opened.variable(variable)})
    return found[[name for name in _ordered(found) if bool(np.isfinite(found[name]).any())]]


def _ordered(found: Mapping) -> list[str]:
    names = [str(name) for name in found]
    return [n for n in FIRST if n in names] + [n for n in names if n not in FIRST]


def calendar(scores: xr.Dataset, score: str) -> Calendar:
    """Lay a score out by day and hour, or by month and day where the period is long or a
    day has one cycle.

    Arguments:
        scores: what `scores_of` gives.
        score: one of them.
    """
    array = scores[score]
    values = array.to_numpy().astype(float)
    times = array["time"].to_numpy().astype("datetime64[m]")
    days = times.astype("datetime64[D]")
    several = len(np.unique(days)) < len(days)
    if several and (days[-1] - days[0]).astype(int) < SHORT:
        row, column = days.astype(str), np.array([str(t)[11:16] for t in times])
    else:
        row, column = (
            times.astype("datetime64[M]").astype(str),
            np.array([str(d)[8:] for d in days]),
        )
    boxes: dict[tuple[str, str], list[int]] = {}
    for number, box in enumerate(zip(row.tolist(), column.tolist(), strict=True)):
        boxes.setdefault(box, []).append(number)
    means = [_mean(values[numbers]) for numbers in boxes.values()]
    units = array.attrs["units"]
    label = str(array.attrs["long_name"])
    return Calendar(
        rows=tuple(sorted(set(row.tolist()))),
        columns=tuple(sorted(set(column.tolist()))),
        row=tuple(r for r, _ in boxes),
        column=tuple(c for _, c in boxes),
        values=np.array(means),
        times=tuple(str(times[numbers[0]]) for numbers in boxes.values()),
        title=label if units in ("", "1") else f"{label} [{units}]",
    )


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
