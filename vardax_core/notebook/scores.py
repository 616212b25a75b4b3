"""Scores of every cycle, and of months or other parts of a period, from the sums of a store."""

import jax
import numpy as np
import xarray as xr

from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.score_definitions import definitions_for, with_levels
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.calibration.statistics import SUMS
from vardax_core.experiments.stored_statistics import refuse_older_store

CHANNEL = "channel"
PARTS = {
    "day": lambda times: times.astype("datetime64[D]").astype(str),
    "month": lambda times: times.astype("datetime64[M]").astype(str),
    "year": lambda times: times.astype("datetime64[Y]").astype(str),
    "hour": lambda times: times.astype("datetime64[h]").astype(int) % 24,
}
"""What a period can be cut into, and the part that each time belongs to."""


class PartError(ValueError):
    """A part that a period cannot be cut into."""


def cycle_scores(diagnostics: xr.Dataset, analysis: xr.Dataset) -> xr.Dataset:
    """The scores of every cycle, which are sums that were divided; NaN where there was nothing.

    Arguments:
        diagnostics: the store's group.
        analysis: the store's group, which has the units.

    Raises:
        StructureError: if an earlier version made the store.
    """
    found = []
    for name, units, statistics in _statistics(diagnostics, analysis):
        series = {str(n): np.asarray(v) for n, v in statistics.data_vars.items()}
        series = with_levels(series)
        flat = {n: v for n, v in series.items() if v.ndim == 1}
        columns = {
            one.name: (
                "time",
                np.asarray(one.formula(flat), float),
                {
                    "long_name": one.label,
                    "units": units if one.in_state_units else "1",
                    "comment": one.estimator,
                },
            )
            for one in definitions_for(series)
            if one.interval
        }
        found.append((name, xr.Dataset(columns, {"time": statistics["time"]})))
    return _joined(found)


def part_scores(
    diagnostics: xr.Dataset, analysis: xr.Dataset, *, by: str | None, burn_in: int
) -> xr.Dataset:
    """The scores of the parts of a period.

    Arguments:
        diagnostics, analysis: the store's groups.
        by: a key of `PARTS`; None for the whole period.
        burn_in: cycles at the beginning that are left out.

    Returns:
        Every score, along the dimension `by`; without a dimension for the whole period.

    Raises:
        PartError: if there is no such part.
        StructureError: if an earlier version made the store.
    """
    if by is not None and by not in PARTS:
        raise PartError(f"scores: expected by to be one of {', '.join(PARTS)}, got {by!r}.")
    found = []
    for name, units, every in _statistics(diagnostics, analysis):
        statistics = every.isel(time=slice(burn_in, None))
        if by is None:
            found.append((name, _table(_scores(statistics, units))))
            continue
        labels = PARTS[by](statistics["time"].to_numpy())
        parts = [
            _table(_scores(statistics.isel(time=np.flatnonzero(labels == label)), units))
            for label in np.unique(labels)
        ]
        joined = xr.concat(parts, by, combine_attrs="override") if parts else xr.Dataset()
        found.append((name, joined.assign_coords({by: np.unique(labels)})))
    return _joined(found)


def _statistics(diagnostics: xr.Dataset, analysis: xr.Dataset) -> list[tuple[str, str, xr.Dataset]]:
    """Name, units and sums of each variable of the state; the sums of observations are in all."""
    refuse_older_store(diagnostics.data_vars)
    several = CHANNEL in diagnostics.coords
    names = str(diagnostics[CHANNEL].attrs["flag_meanings"]).split() if several else []
    statistics = statistics_dataset(
        {name: diagnostics[name].to_numpy() for name in SUMS if name in diagnostics},
        diagnostics["time"].to_numpy(),
        channels=names,
    )
    if several:
        return [
            (name, _units(analysis, name), statistics.sel(channel=name, drop=True))
            for name in names
        ]
    (name,) = (str(n) for n, v in analysis.data_vars.items() if "member" in v.dims)
    return [(name, _units(analysis, name), statistics)]


def _units(analysis: xr.Dataset, name: str) -> str:
    return str(analysis[name].attrs.get("units", "1"))


def _scores(statistics: xr.Dataset, units: str) -> Scores:
    return compute_scores(statistics, key=jax.random.key(0), units=units, resamples=0)


def _table(scores: Scores) -> xr.Dataset:
    return xr.Dataset(
        {
            name: (
                (),
                score.value,
                {"long_name": score.label, "units": score.units, "comment": score.estimator},
            )
            for name, score in scores.values.items()
        },
    )


def _joined(found: list[tuple[str, xr.Dataset]]) -> xr.Dataset:
    if len(found) == 1:
        return found[0][1]
    names = xr.DataArray([name for name, _ in found], dims=CHANNEL, name=CHANNEL)
    return xr.concat([one for _, one in found], names, combine_attrs="override")
