"""Tables of the calibration report that look at a part of the domain or of the period."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from vardax_core.calibration.score_definitions import divide
from vardax_core.calibration.scored_by import BY_TRUTH, BY_WITHHELD
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.words import short, unit_label

PARTS = 8
"""Equal parts of the period in the table over time."""

Row = list[str]


@dataclass(frozen=True)
class Makers:
    """Which method of the chain made each analysis.

    Attributes:
        numbers: one for each cycle, 0 for the method itself.
        names: of the methods, in the order of the chain.
    """

    numbers: np.ndarray
    names: Sequence[str]


def by_lead(scores: Scores, units: str) -> tuple[Row, list[Row]]:
    """Errors of the analysis, of the forecast that was its background, and, where there is a lag,
    of the smoothed analysis."""
    header = [
        "lead",
        unit_label("rmse", units),
        unit_label("spread", units),
        "spread/RMSE",
        unit_label("bias", units),
    ]
    names = ("rmse", "spread", "spread_over_rmse", "bias")
    leads = [("0 cycles (analysis)", ""), ("1 cycle (background)", "background_")]
    if "smoothed_rmse" in scores.values:
        leads.insert(0, ("smoothed by later cycles", "smoothed_"))
    rows = [[lead, *(short(scores[prefix + name]) for name in names)] for lead, prefix in leads]
    return header, rows


def by_region(scores: Scores, regions: Sequence[str], units: str) -> tuple[Row, list[Row]]:
    """Errors in each quarter of the grid, all points of all cycles together.

    Arguments:
        scores: of the method.
        regions: names of the quarters, see `region_names`.
        units: unit of the state.
    """
    header = [
        "region",
        unit_label("RMSE (pooled)", units),
        "spread/RMSE (pooled)",
        unit_label("bias", units),
        "90 % coverage",
    ]
    sums = {name: scores.sums[f"region_{name}"] for name in ("weight", "error", "covered")}
    squared, variance = scores.sums["region_squared_error"], scores.sums["region_variance"]
    columns = (
        np.sqrt(divide(squared, sums["weight"])),
        np.sqrt(divide(variance, squared)),
        divide(sums["error"], sums["weight"]),
    )
    coverage = divide(sums["covered"], sums["weight"])
    rows = [
        [name, *(short(float(column[i])) for column in columns), percent(float(coverage[i]))]
        for i, name in enumerate(regions)
        if sums["weight"][i] > 0
    ]
    return header, rows


def by_channel(scores: Mapping[str, Mapping[str, Scores]]) -> tuple[Row, list[Row]]:
    """Scores of every variable of the state, each in its own unit.

    Arguments:
        scores: by variable and method.
    """
    header = ["variable", "method", "unit", "RMSE", "spread/RMSE", "CRPS", "90 % coverage"]
    rows = [
        [
            channel,
            method,
            found.values["rmse"].units,
            *(short(found[name]) for name in ("rmse", "spread_over_rmse", "crps_gaussian")),
            percent(found["coverage_90"]),
        ]
        for channel, methods in scores.items()
        for method, found in methods.items()
    ]
    return header, rows


def over_time(statistics: xr.Dataset, units: str, makers: Makers | None) -> tuple[Row, list[Row]]:
    """Scores of equal parts of the period, by which a drift is seen."""
    header = [
        "from",
        "cycles",
        unit_label(_error_name(statistics), units),
        "spread/RMSE",
        "90 % coverage",
        "innovation chi2",
        "fallbacks",
    ]
    length = statistics.sizes["time"]
    edges = np.linspace(0, length, min(PARTS, length) + 1).astype(int)
    rows = []
    for first, last in itertools.pairwise(edges):
        scores = _scores(statistics, slice(first, last))
        fallen = "-" if makers is None else str(int(np.sum(makers.numbers[first:last] > 0)))
        start = str(statistics["time"].values[first])[:16]
        rows.append([start, str(last - first), *_four(scores), fallen])
    return header, rows


def by_maker(statistics: xr.Dataset, units: str, makers: Makers) -> tuple[Row, list[Row]]:
    """Scores of the cycles that each method of the chain made the analysis of."""
    header = [
        "made by",
        "cycles",
        unit_label(_error_name(statistics), units),
        "spread/RMSE",
        "90 % coverage",
        "innovation chi2",
    ]
    rows = []
    for number, name in enumerate(makers.names):
        (chosen,) = np.nonzero(makers.numbers == number)
        if chosen.size:
            rows.append([name, str(chosen.size), *_four(_scores(statistics, chosen))])
    return header, rows


def percent(share: float) -> str:
    """A share for a table; a dash where it cannot be said."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else "-"


def _scores(statistics: xr.Dataset, where: slice | np.ndarray) -> Mapping[str, float]:
    part = compute_scores(statistics.isel(time=where), key=jax.random.key(0), resamples=0)
    return {name: score.value for name, score in part.values.items()}


def _error_name(statistics: xr.Dataset) -> str:
    """What the errors of a table are: of the truth, or of withheld observations."""
    scored = bool(np.any(statistics["cycles"].values > 0))
    return "withheld RMS" if not scored and "withheld_crps_sum" in statistics else "rmse.a"


def _four(scores: Mapping[str, float]) -> list[str]:
    by_withheld = not np.isfinite(scores["rmse"]) and BY_WITHHELD.crps in scores
    by = BY_WITHHELD if by_withheld else BY_TRUTH
    return [
        short(scores[by.rmse]),
        short(scores[by.ratio]),
        percent(scores[by.coverage]),
        short(scores["innovation_chi2"]),
    ]
