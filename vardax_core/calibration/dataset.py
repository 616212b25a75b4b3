"""The statistics of a period as an xarray dataset, with names, units and bin edges."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Array

from vardax_core.calibration.score_definitions import divide
from vardax_core.calibration.scores import Scores
from vardax_core.calibration.statistics import FIELD_SUMS, LEVEL, PIT_BIN, SPREAD_BIN, SUMS


def statistics_dataset(
    statistics: Mapping[str, Array | np.ndarray],
    times: np.ndarray,
    *,
    units: str = "1",
    spread_scale: float = 1.0,
    channels: Sequence[str] = (),
) -> xr.Dataset:
    """Statistics stacked over cycles as a dataset in float64.

    With channels, `.sel(channel=name)` gives the statistics of one as those of a state without
    that axis are; the sums over observations are those of all of them.

    Arguments:
        statistics: entries of `cycle_statistics`, each with a leading time axis.
        times: analysis time of each cycle.
        units: unit of the state.
        spread_scale: the one given to `CycleView.of`.
        channels: names of the channels, whose axis follows that of time in the sums of fields;
            none where a state has no such axis.

    Raises:
        ValueError: if an entry is none of `SUMS`, or does not have one row for each time.
    """
    variables, dimensions = {}, {}
    for name, value in statistics.items():
        array, declared = np.asarray(value, np.float64), SUMS.get(name)
        if declared is None:
            raise ValueError(
                f"statistics_dataset: {name!r} is no statistic of this version, which has "
                f"{', '.join(SUMS)}; leave it out."
            )
        if array.shape[:1] != (len(times),):
            raise ValueError(
                f"statistics_dataset: {name!r} has shape {array.shape}, but there are "
                f"{len(times)} times; stack the statistics of the cycles along the first axis."
            )
        attributes = {**declared.attributes(units), "cell_methods": "area: sum"}
        dims: tuple[str, ...] = ("time",)
        if channels and name in FIELD_SUMS:
            dims += ("channel",)
        if (extra := declared.dimension) is not None:
            dims += (extra.name,)
            dimensions[extra.name] = extra
        variables[name] = (dims, array, attributes)
    coordinates = {
        name: extra.coordinate(spread_scale) for name, extra in dimensions.items() if extra.values
    }
    if channels:
        coordinates["channel"] = ("channel", np.array(channels), {"long_name": "channel"})
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
            curve = SUMS[name].dimension if name in SUMS else SPREAD_BIN
            dimension = SPREAD_BIN.name if curve is None else curve.name
            unit = units if name.startswith("binned") else "1"
            variables[name] = (("analysis_method", dimension), np.stack(rows), {"units": unit})
    coordinates = {"analysis_method": ("analysis_method", np.array(methods, dtype=str))}
    edges: dict[str, tuple] = {}
    if methods:
        edges = {one.name: one.coordinate() for one in (LEVEL, PIT_BIN)}
        edges["spread_bin"] = ("spread_bin", scores[methods[0]].spread_edges, {"units": units})
    return xr.Dataset(
        variables,
        {**coordinates, **edges},
        {"Conventions": "CF-1.11", "title": "calibration of the analyses of an experiment"},
    )
