"""The statistics of a period as an xarray dataset, with names, units and bin edges."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Array

from vardax_core.calibration.regions import QUARTERS
from vardax_core.calibration.scores import Scores, divide
from vardax_core.calibration.statistics import (
    COVERAGE_LEVELS,
    PIT_BINS,
    SPREAD_BINS,
    SPREAD_BINS_BELOW_ONE,
    SPREAD_BINS_PER_OCTAVE,
)

EXTRA_DIMENSIONS = {
    "coverage": "level",
    "pit_histogram": "pit_bin",
    "rank_histogram": "rank",
    "binned_weight": "spread_bin",
    "binned_variance": "spread_bin",
    "binned_squared_error": "spread_bin",
    "region_weight": "region",
    "region_error": "region",
    "region_squared_error": "region",
    "region_variance": "region",
    "region_covered": "region",
}
"""The dimension, beside time, of the statistics that are not scalars."""

UNITLESS = {
    *("cycles", "weight", "squared_weight", "non_finite_weight", "ensemble_weight"),
    *("coverage", "pit_histogram", "rank_histogram", "binned_weight", "observations", "chi2"),
    *("signal_sum", "region_weight", "region_covered", "withheld_observations", "withheld_chi2"),
    *("smoothed_cycles", "smoothed_weight"),
}
SQUARED = {
    *("squared_error", "variance", "background_squared_error", "background_variance"),
    *("binned_variance", "binned_squared_error", "squared_innovation", "squared_residual"),
    *("innovation_residual", "observed_background_variance", "error_variance"),
    *("region_squared_error", "region_variance", "innovation_sum_variance"),
    *("withheld_squared_residual", "withheld_squared_innovation"),
    *("smoothed_squared_error", "smoothed_variance"),
}


PER_CYCLE = {
    *("rmse", "spread", "background_rmse", "background_spread", "energy_score", "cycles"),
    *("smoothed_rmse", "smoothed_spread", "smoothed_cycles"),
}
"""What is a score, or a count, of each cycle as a whole; all else are sums."""

OBSERVATION_SUMS = {
    *("innovation", "squared_innovation", "innovation_sum_variance", "residual", "chi2"),
    *("squared_residual", "innovation_residual", "observed_background_variance"),
    *("error_variance", "signal_sum"),
}
ENSEMBLE_SUMS = {"crps_fair_sum"}


def divisor(name: str) -> str | None:
    """The sum by which a stored sum is divided to give a mean; None for what is none."""
    if name in PER_CYCLE or name.endswith(("weight", "observations")):
        return None
    if name in OBSERVATION_SUMS:
        return "observations"
    if name in ENSEMBLE_SUMS:
        return "ensemble_weight"
    for prefix, by in (
        ("withheld_", "withheld_observations"),
        ("smoothed_", "smoothed_weight"),
        ("region_", "region_weight"),
        ("binned_", "binned_weight"),
    ):
        if name.startswith(prefix):
            return by
    return "weight"


def described_sum(name: str, units: str) -> dict[str, str]:
    """CF attributes of a stored statistic of a state in `units`, with what to divide it by."""
    unit = "1" if name in UNITLESS else squared_unit(units) if name in SQUARED else units
    words, by = name.removesuffix("_sum").replace("_", " "), divisor(name)
    if by is None:
        return {"long_name": f"verification: {words}", "units": unit}
    return {
        "long_name": f"verification: sum of {words}",
        "units": unit,
        "comment": f"a sum; divided by {by}, or by the sum of {by} over a period, it is the mean",
    }


def squared_unit(units: str) -> str:
    """The unit of a variance in CF notation ("K" gives "K2", "m s-1" gives "(m s-1)2")."""
    if units in ("1", ""):
        return "1"
    return f"{units}2" if units.isalpha() else f"({units})2"


def bin_coordinates(*, spread_scale: float = 1.0) -> dict[str, tuple[str, np.ndarray, dict]]:
    """Coordinates of the levels and bins of `cycle_statistics`: levels, bin centres (1), and the
    lower edges of the spread bins in the unit of the spread scale."""
    octave = (np.arange(SPREAD_BINS) - SPREAD_BINS_BELOW_ONE) / SPREAD_BINS_PER_OCTAVE
    return {
        "level": (
            "level",
            np.array(COVERAGE_LEVELS),
            {"long_name": "nominal probability of the central interval", "units": "1"},
        ),
        "pit_bin": (
            "pit_bin",
            (np.arange(PIT_BINS) + 0.5) / PIT_BINS,
            {"long_name": "probability integral transform, centre of the bin", "units": "1"},
        ),
        "spread_bin": (
            "spread_bin",
            spread_scale * 2.0**octave,
            {"long_name": "lower edge of the bin of spread"},
        ),
        "region": ("region", np.arange(QUARTERS), {"long_name": "quarter of the grid"}),
    }


def statistics_dataset(
    statistics: Mapping[str, Array | np.ndarray],
    times: np.ndarray,
    *,
    units: str = "1",
    spread_scale: float = 1.0,
) -> xr.Dataset:
    """Statistics stacked over cycles as a dataset in float64.

    Arguments:
        statistics: entries of `cycle_statistics`, each with a leading time axis.
        times: analysis time of each cycle.
        units: unit of the state.
        spread_scale: the one given to `cycle_statistics`.

    Raises:
        ValueError: if an entry does not have one row for each time.
    """
    variables = {}
    for name, value in statistics.items():
        array = np.asarray(value, np.float64)
        if array.shape[:1] != (len(times),):
            raise ValueError(
                f"statistics_dataset: {name!r} has shape {array.shape}, but there are "
                f"{len(times)} times; stack the statistics of the cycles along the first axis."
            )
        dimensions = ("time", EXTRA_DIMENSIONS[name]) if name in EXTRA_DIMENSIONS else ("time",)
        attributes = {**described_sum(name, units), "cell_methods": "area: sum"}
        variables[name] = (dimensions, array, attributes)
    coordinates = {
        name: coordinate
        for name, coordinate in bin_coordinates(spread_scale=spread_scale).items()
        if any(name in dimensions for dimensions, _, _ in variables.values())
    }
    return xr.Dataset(variables, {"time": ("time", np.asarray(times)), **coordinates})


def calibration_dataset(scores: Mapping[str, Scores]) -> xr.Dataset:
    """The scores of several methods as the dataset of a store's `calibration` group.

    Arguments:
        scores: scores by name of the method.

    Returns:
        On the dimension `analysis_method` (`method` is an argument of `Dataset.sel`): every score,
        with `<score>_lower` and `<score>_upper` where it has a 95 % interval; the curves
        `coverage`, `pit_histogram` and `rank_histogram` as shares (a method with fewer members
        ends in NaN); and `binned_rmse` against `binned_spread`.
    """
    methods = list(scores)
    variables: dict[str, tuple] = {}
    names = list(scores[methods[0]].values) if methods else []
    for name in names:
        column = [scores[method].values[name] for method in methods]
        attributes = {"long_name": column[0].label, "units": column[0].units}
        described = {**attributes, "comment": column[0].estimator}
        variables[name] = (
            "analysis_method",
            np.array([score.value for score in column]),
            described,
        )
        if any(np.isfinite(score.lower) for score in column):
            for side in ("lower", "upper"):
                bound = np.array([getattr(score, side) for score in column])
                text = {**attributes, "comment": f"{side} end of the 95 % confidence interval"}
                variables[f"{name}_{side}"] = ("analysis_method", bound, text)
    units = scores[methods[0]].values["rmse"].units if methods else "1"
    longest = max((len(s.sums["rank_histogram"]) for s in scores.values()), default=0)
    curves: dict[str, list[np.ndarray]] = {
        name: []
        for name in ("coverage", "pit_histogram", "rank_histogram", "binned_spread", "binned_rmse")
    }
    for method in methods:
        sums = scores[method].sums
        for name in ("coverage", "pit_histogram", "rank_histogram"):
            share = divide(sums[name], sums["weight"])
            length = longest if name == "rank_histogram" else len(share)
            curves[name].append(
                np.pad(share, (0, length - len(share)), constant_values=float("nan"))
            )
        for name, total in (("spread", "variance"), ("rmse", "squared_error")):
            curves[f"binned_{name}"].append(
                np.sqrt(divide(sums[f"binned_{total}"], sums["binned_weight"]))
            )
    for name, rows in curves.items():
        if rows:
            dimension = EXTRA_DIMENSIONS.get(name, "spread_bin")
            unit = units if name.startswith("binned") else "1"
            variables[name] = (("analysis_method", dimension), np.stack(rows), {"units": unit})
    coordinates = {"analysis_method": ("analysis_method", np.array(methods, dtype=str))}
    edges = bin_coordinates() if methods else {}
    if methods:
        del edges["region"]
        edges["spread_bin"] = ("spread_bin", scores[methods[0]].spread_edges, {"units": units})
    return xr.Dataset(
        variables,
        {**coordinates, **edges},
        {"Conventions": "CF-1.11", "title": "calibration of the analyses of an experiment"},
    )
