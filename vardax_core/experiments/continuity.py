"""Whether a source continues the one that a store began with."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from vardax_core.data.account import span_of
from vardax_core.data.channels import names_of
from vardax_core.data.ingest import Ingested
from vardax_core.data.masks import mask_truth
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import OBSERVED_AT, PLATFORM, seconds_of
from vardax_core.data.timeaxis import (
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

_BLOCK_BYTES = 64 * 2**20


class SourceChangedError(ValueError):
    """The source of a store's observations is not the one that it began with."""


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A source beside a store, at all times that either has between the store's first and last.

    Attributes:
        common: how many times both have.
        differing: minutes of those where their fields differ.
        largest: largest difference, in the variable's unit; NaN where a value is missing in one.
        late: minutes of observation times that the source has and the store lacks, before the
            store's last: they came too late to be taken.
        gone: minutes of times that the store has and the source lacks, within the source's span.
        same_grid: whether they have the same axes.
    """

    common: int
    differing: np.ndarray
    largest: float
    late: np.ndarray
    gone: np.ndarray
    same_grid: bool = True

    def warnings(self) -> list[str]:
        """What somebody who runs an ingest should see."""
        found = []
        if self.late.size:
            found.append(
                f"observation times that came after later ones had been taken, not used: "
                f"{self.late.size} ({span_of(self.late)}); another root would have them"
            )
        if self.gone.size:
            found.append(
                f"times that the store keeps and the source no longer has: {self.gone.size} "
                f"({span_of(self.gone)})"
            )
        return found

    def fault(self, units: str) -> str | None:
        """Why the source does not continue that of the store; None if it does."""
        if not self.same_grid:
            return "it is on another grid"
        if not self.common:
            return "they have no time in common"
        if not self.differing.size:
            return None
        amount = "values that one of them lacks"
        if not math.isnan(self.largest):
            amount = f"up to {self.largest:.4g} {units}"
        return (
            f"it differs at {self.differing.size} of {self.common} times that both have "
            f"({span_of(self.differing)}), by {amount}"
        )


def overlap_with(store: ExperimentStore, ingested: Ingested) -> Overlap | None:
    """Compare a source with a store that has observations, at every time that both have.

    The whole source is looked at, not the part that was ingested.

    Returns:
        None where there is nothing to compare: the store is empty, or it has taken observations
        from this very source before.

    Raises:
        SourceChangedError: the source does not continue the one of the store.
    """
    expected, got = store.experiment["source_sha256"], ingested.source_sha256
    if got == expected or store.tip("observations").last_time is None:
        return None
    if any(record.metadata.get("source_sha256") == got for record in store.history()):
        return None
    if ingested.nature_run is None:
        raise SourceChangedError(
            f"{store.location}: it was begun with a prior of sha256 {expected}, and this one has "
            f"{got}; go on with the first files, or use another root, where every cycle is made "
            "from the other ones."
        )
    if ingested.reopen is None:
        found = _compare(store, ingested.recipe, ingested.nature_run, lambda part: part)
    else:
        with contextlib.closing(ingested.reopen()) as source:
            found = _compare(
                store,
                ingested.recipe,
                source.dataset,
                lambda part: mask_truth(source.read(part), ingested.recipe),
            )
    fault = found.fault(ingested.recipe.variable.units)
    if fault is not None:
        raise SourceChangedError(
            f"{store.location}: its observations were drawn from a file with sha256 {expected}, "
            f"these from one with {got} that does not continue it: {fault}. Go on with the first "
            "file, or use another root, where every cycle is made from the other one."
        )
    return found


def late_reports(store: ExperimentStore, ingested: Ingested, last: int) -> list[str]:
    """Say which real observations came after their times had been taken into a store of an earlier
    version, which has no revisions.

    Arguments:
        last: the store's last observation time, minutes since `MINUTES_EPOCH`.
    """
    read = ingested.observations
    stored = store.dataset("observations")
    minutes, there = (to_minutes(part["time"].values) for part in (read, stored))
    common = read.isel(time=np.isin(minutes, there[there <= last]))
    if not common.sizes["time"]:
        return []
    stored = stored.sel(time=common["time"].values).load()
    columns = [ingested.recipe.observed.name, OBSERVED_AT, PLATFORM, *ingested.recipe.state_dims]
    late, times = 0, []
    for row in range(common.sizes["time"]):
        before, now = (_rows_of(part.isel(time=row), columns) for part in (stored, common))
        missing = len(now - before)
        late += missing
        if missing:
            times.append(int(to_minutes(common["time"].values[[row]])[0]))
    if not late:
        return []
    return [
        f"observations that came, or were corrected, after their times had been taken, not used: "
        f"{late} ({span_of(np.array(times))}); another root would have them"
    ]


def _rows_of(observations: xr.Dataset, columns: Sequence[str]) -> set[tuple]:
    """The records of one time, whatever their order; numbers as a store rounds them."""
    there = observations[QUALITY_CONTROL].to_numpy() != QualityCode.MISSING
    parts = []
    for name in columns:
        values = observations[name].to_numpy()[there]
        if name == OBSERVED_AT:
            values = seconds_of(values)
        parts.append(np.round(values.astype(np.float64), 5).astype(np.float32))
    return set(zip(*(part.tolist() for part in parts), strict=True))


def _compare(
    store: ExperimentStore,
    recipe: Recipe,
    given: xr.Dataset,
    read: Callable[[xr.Dataset], xr.Dataset],
) -> Overlap:
    stored = store.dataset("nature_run")
    there, offered = to_minutes(stored["time"].values), _observation_minutes(given, recipe)
    low, high = offered[[0, -1]] if offered.size else (0, -1)
    common = np.intersect1d(there, offered)
    inside = (offered >= there[0]) & (offered <= there[-1])
    late = np.setdiff1d(offered[inside], there)
    gone = np.setdiff1d(there[(there >= low) & (there <= high)], offered)
    dims = recipe.state_dims
    if any(not np.array_equal(stored[dim], given[dim]) for dim in dims):
        return Overlap(common.size, common, math.nan, late, gone, same_grid=False)
    differing: list[np.ndarray] = []
    largest = 0.0
    names = names_of(recipe)
    step = max(1, _BLOCK_BYTES // (8 * math.prod(given.sizes[dim] for dim in dims)))
    for first in range(0, common.size, step):
        times = from_minutes(common[first : first + step])
        block = read(given.sel(time=times))
        one, other = (
            np.stack(
                [run[name].sel(time=times).transpose("time", *dims).to_numpy() for name in names],
                axis=1,
            ).astype(np.float32)
            for run in (stored, block)
        )
        apart = np.abs(one - other)
        apart[np.isnan(one) & np.isnan(other)] = 0.0
        rows = (apart != 0).reshape(len(apart), -1).any(axis=1)
        differing.append(common[first : first + step][rows])
        if rows.any():
            finite = apart[np.isfinite(apart) & (apart > 0)]
            largest = max(largest, float(finite.max()) if finite.size else 0.0)
    minutes = np.concatenate([np.empty(0, np.int64), *differing])
    return Overlap(common.size, minutes, largest or math.nan, late, gone)


def _observation_minutes(given: xr.Dataset, recipe: Recipe) -> np.ndarray:
    times = given["time"].values
    minutes = to_minutes(times)
    step = recipe.spacing
    on = (minutes - instant_to_minutes(recipe.period.start)) % step == 0
    return minutes[on & (from_minutes(minutes) == times)]
