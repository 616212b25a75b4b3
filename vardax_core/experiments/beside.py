"""Two runs of the same cycles side by side: losses by region and stream, maps, where they part."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from vardax_core.calibration.paired import Difference, MeanField, difference
from vardax_core.calibration.regions import region_names
from vardax_core.data.channels import stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.reports import STREAM
from vardax_core.experiments.experiment import Experiment
from vardax_core.state.units import squared_unit
from vardax_core.store import ExperimentStore
from vardax_core.store.errors import StoreError

FALSE_ALARMS = 0.05
"""Of all sequential tests of a comparison together."""
AT_ONCE = 64
"""Cycles whose fields are in memory together."""
ALL = "all observations"


class IncomparableRunsError(StoreError):
    """Two stores that have no cycle in common, or other grids."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One loss of two runs: mean squared differences of the same cycles.

    Attributes:
        by: what is taken for right: truth, or observations.
        of: what is judged: analysis, or background.
        part: region, stream or channel that it is over; empty for everything.
        units: of the loss.
        found: how the two differ.
        series: second - first in each cycle.
    """

    by: str
    of: str
    part: str
    units: str
    found: Difference
    series: Float[np.ndarray, " time"]


@dataclasses.dataclass(frozen=True)
class Maps:
    """Fields at every point of the grid, with the channel first where there are any.

    Attributes:
        difference: mean of second - first of the analysis means, unit of the state.
        half_width: of its interval of 95 %.
        apart: root mean square of that difference.
        gain: mean of the first's squared error minus the second's; None without a truth.
        gain_half_width: of its interval.
    """

    difference: Float[np.ndarray, "*state"]
    half_width: Float[np.ndarray, "*state"]
    apart: Float[np.ndarray, "*state"]
    gain: Float[np.ndarray, "*state"] | None
    gain_half_width: Float[np.ndarray, "*state"] | None


@dataclasses.dataclass(frozen=True)
class Beside:
    """Two runs of the same cycles.

    Attributes:
        names: of both.
        times: analysis times that both have.
        rows: losses by truth, then by observations.
        maps: what differs where.
        parted: analysis time of the first cycle whose analyses differ in any bit, or None.
    """

    names: tuple[str, str]
    times: np.ndarray
    rows: tuple[Row, ...]
    maps: Maps
    parted: np.datetime64 | None

    def time(self, number: int | None) -> str:
        """The analysis time of a cycle by its number, empty for none."""
        return "" if number is None else str(self.times[number].astype("datetime64[m]"))


def beside(
    experiment: Experiment,
    first: ExperimentStore,
    second: ExperimentStore,
    names: tuple[str, str],
    since: np.datetime64 | None = None,
    until: np.datetime64 | None = None,
) -> Beside:
    """Set two runs of the same data set side by side.

    Both are judged by the same truths and the same observations: an observation counts in the
    cycles in which both have its departure.

    Arguments:
        experiment: one of them, for the grid and the names.
        first, second: their stores, or branches of one.
        names: for people.
        since, until: analysis times; by default all after the burn-in.

    Raises:
        IncomparableRunsError: if they have no cycle in common, or other grids.
    """
    recipe = experiment.recipe
    times = _common(experiment, first, second, since, until)
    losses = [
        *_by_truth(experiment, first, second, times),
        *_by_records(recipe, first, second, times),
    ]
    rate = FALSE_ALARMS / max(len(losses), 1)
    rows = [
        Row(by, of, part, units, difference(*both, false_alarms=rate), both[1] - both[0])
        for by, of, part, units, both in losses
    ]
    maps, parted = _maps(recipe, first, second, times)
    return Beside(names, times, tuple(rows), maps, parted)


def _common(
    experiment: Experiment,
    first: ExperimentStore,
    second: ExperimentStore,
    since: np.datetime64 | None,
    until: np.datetime64 | None,
) -> np.ndarray:
    both = [store.dataset("analysis") for store in (first, second)]
    dims = experiment.recipe.state_dims
    shapes = [tuple(one.sizes[dim] for dim in dims if dim in one.sizes) for one in both]
    if shapes[0] != shapes[1] or any(
        not np.array_equal(both[0][dim].to_numpy(), both[1][dim].to_numpy()) for dim in dims
    ):
        raise IncomparableRunsError(
            f"{second.location}: expected the grid of {first.location}, {shapes[0]} points, got "
            f"{shapes[1]}; compare runs of one data set."
        )
    times = np.intersect1d(both[0]["time"].values, both[1]["time"].values)
    settled = both[0]["time"].values[experiment.recipe.burn_in :][:1]
    if since is None and settled.size:
        since = settled[0]
    times = times if since is None else times[times >= since]
    times = times if until is None else times[times <= until]
    if not times.size:
        raise IncomparableRunsError(
            f"{first.location} and {second.location} have no cycle in common "
            f"{'' if since is None else f'from {since} '}{'' if until is None else f'to {until}'}; "
            "run both over the same period, or choose another."
        )
    return times


Series = tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]
Loss = tuple[str, str, str, str, Series]


def _by_truth(
    experiment: Experiment, first: ExperimentStore, second: ExperimentStore, times: np.ndarray
) -> Iterator[Loss]:
    """Mean squared errors of analysis and background, and of the analysis by quarter."""
    names = ("weight", "squared_error", "background_squared_error")
    quarters = ("region_weight", "region_squared_error")
    found = [
        store.dataset("diagnostics")[[*names, *quarters]].sel(time=times).load()
        for store in (first, second)
    ]
    recipe = experiment.recipe
    regions = region_names(experiment.space(first).grid, recipe.state_dims)
    for number, variable in enumerate(recipe.variables):
        both = [one.isel({CHANNEL: number}) if recipe.channels else one for one in found]
        units, channel = squared_unit(variable.units), variable.name if recipe.channels else ""
        for of, name in (("background", names[2]), ("analysis", names[1])):
            series = _means(both, name, names[0])
            if np.isfinite(series[0]).any():
                yield "truth", of, channel, units, series
        for region in np.flatnonzero((both[0][quarters[0]] > 0).any("time").to_numpy()):
            parts = [one.isel(region=int(region)) for one in both]
            label = ", ".join(filter(None, (channel, regions[int(region)])))
            yield "truth", "analysis", label, units, _means(parts, quarters[1], quarters[0])


def _means(both: Sequence[xr.Dataset], total: str, weight: str) -> Series:
    first, second = (
        np.divide(
            one[total].to_numpy().astype(float),
            one[weight].to_numpy(),
            out=np.full(one[total].shape, np.nan),
            where=one[weight].to_numpy() > 0,
        )
        for one in both
    )
    return first, second


def _by_records(
    recipe: Recipe, first: ExperimentStore, second: ExperimentStore, times: np.ndarray
) -> Iterator[Loss]:
    """Mean squared O-B of every stream, and O-A of what both withheld."""
    found = [store.dataset("innovations").sel(time=times).load() for store in (first, second)]
    width = min(one.sizes["station"] for one in found)
    found = [one.isel(station=slice(width)) for one in found]
    units = squared_unit(recipe.observed.units)
    for label, mine in streams_of(recipe, first, times, width).items():
        yield "observations", "background", label, units, _squares(found, "background", mine)
    held = np.all([_is_withheld(one) for one in found], axis=0)
    if held.any():
        series = _squares(found, "analysis", held)
        yield "withheld observations", "analysis", "", units, series


def streams_of(
    recipe: Recipe, store: ExperimentStore, times: np.ndarray, width: int
) -> Mapping[str, Bool[np.ndarray, "time column"]]:
    """The columns of every stream; of simulated observations all are one."""
    if not recipe.reported:
        return {ALL: np.ones((times.size, width), bool)}
    kept = store.dataset("observations")[STREAM].reindex(time=times, fill_value=-1)
    numbers = kept.transpose("time", "station").to_numpy()[:, :width]
    return {one.name: numbers == n for n, one in enumerate(recipe.streams or ())}


def _is_withheld(innovations: xr.Dataset) -> Bool[np.ndarray, "time column"]:
    codes = innovations["quality_control"]
    meanings = str(codes.attrs["flag_meanings"]).split()
    values = np.atleast_1d(codes.attrs["flag_values"])
    return np.asarray(codes.to_numpy() == int(values[meanings.index("withheld")]))


def _squares(both: Sequence[xr.Dataset], of: str, mine: Bool[np.ndarray, "time column"]) -> Series:
    """Mean squared departures of the columns that both have, by cycle."""
    departures = [one[f"{of}_departure"].transpose("time", ...).to_numpy() for one in both]
    there = mine & np.all([np.isfinite(one) for one in departures], axis=0)
    count = there.sum(axis=1)
    first, second = (
        np.divide(
            np.where(there, one.astype(float) ** 2, 0.0).sum(axis=1),
            count,
            out=np.full(count.shape, np.nan),
            where=count > 0,
        )
        for one in departures
    )
    return first, second


def _maps(
    recipe: Recipe, first: ExperimentStore, second: ExperimentStore, times: np.ndarray
) -> tuple[Maps, np.datetime64 | None]:
    names = [f"{one.name}_mean" for one in recipe.variables]
    fields = [store.dataset("analysis")[names] for store in (first, second)]
    truth = None if recipe.reported else first.dataset("nature_run")
    apart, square, gain = MeanField(), MeanField(), MeanField()
    parted = None
    for start in range(0, times.size, AT_ONCE):
        part = times[start : start + AT_ONCE]
        pair = [
            stacked(one.sel(time=part).load(), recipe, "_mean").transpose("time", ...).to_numpy()
            for one in fields
        ]
        if parted is None:
            axes = tuple(range(1, pair[0].ndim))
            same = np.all((pair[0] == pair[1]) | (np.isnan(pair[0]) & np.isnan(pair[1])), axis=axes)
            parted = None if same.all() else part[int(np.argmin(same))]
        moved = pair[1].astype(float) - pair[0]
        apart.add(moved)
        square.add(moved**2)
        if truth is not None:
            known = truth.reindex(time=part).load()
            right = stacked(known, recipe).transpose("time", ...).to_numpy().astype(float)
            gain.add((pair[0] - right) ** 2 - (pair[1] - right) ** 2)
    mean, half = apart.result()
    better: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if gain.count:
        better = gain.result()
    return Maps(mean, half, np.sqrt(square.result()[0]), *better), parted
