"""What the checks look at: the small numbers of the last cycles, and what surrounds the store."""

import dataclasses
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from vardax_core.calibration.regions import region_names
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.calibration.verdict import Verdict, calibration_verdict
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments.bias_tables import BiasStep, bias_steps
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.experiments.validation import is_gated, trained_name
from vardax_core.monitoring.whole_life import WholeLife, whole_life
from vardax_core.store import ExperimentStore
from vardax_core.store.hold import Hold, held
from vardax_core.training.promotion import champion

SCALARS = (
    *("observations", "innovation", "squared_innovation", "chi2"),
    *("observed_background_variance", "error_variance"),
    *("squared_error", "variance", "result", "analysis_method", "replaced_members"),
)
"""The diagnostics that are read: one number for each cycle."""
HISTORY_DAYS = 20
"""Days before the judged cycles from which soft limits are made."""
DAYS = np.timedelta64(HISTORY_DAYS, "D")
DRIFT_DAYS = 200
"""Days that the calibration of the last `HISTORY_DAYS` is compared with."""
FEWEST_JUDGED = 4
"""Cycles at the end of the store that are judged at every look."""


@dataclasses.dataclass(frozen=True)
class Situation:
    """One experiment at one moment.

    Attributes:
        now: the moment, UTC.
        cycles: analysis times (datetime64[m]) of the cycles that are read.
        statistics: `SCALARS` of these cycles.
        judged: how many of the last of them are judged.
        settled: first analysis time after the burn-in; no limit is made of those before it.
        interval: time between two analyses.
        last: last analysis time, or that before the first if there is no cycle.
        due: analysis time that should have been reached, None if no clock says so.
        hold: the hold on the experiment, or None.
        free_bytes: free on the disk of stores, models and reports.
        proven: when the champion was promoted, None if nothing is gated or there is none.
        scores: of the settled cycles of the last `HISTORY_DAYS`; None if there is none.
        verdict: on the calibration in these cycles, as a report on them would have it.
        steps: of the biases that are carried; None where none is.
        units: of the variable.
        life: tests of the calibration of all settled cycles.
    """

    now: datetime
    cycles: np.ndarray
    statistics: Mapping[str, np.ndarray]
    judged: int
    settled: np.datetime64
    interval: np.timedelta64
    last: np.datetime64
    due: np.datetime64 | None
    hold: Hold | None
    free_bytes: int
    proven: datetime | None
    scores: Scores | None = None
    verdict: Verdict | None = None
    steps: tuple[BiasStep, ...] | None = None
    units: str = "1"
    life: WholeLife | None = None

    @property
    def recent(self) -> slice:
        """The cycles that are judged."""
        return slice(len(self.cycles) - self.judged, None)

    @property
    def reference(self) -> slice:
        """The cycles of the `HISTORY_DAYS` before those that are judged."""
        stop = len(self.cycles) - self.judged
        if not stop:
            return slice(0, 0)
        since = self.cycles[stop - 1] - np.timedelta64(HISTORY_DAYS, "D")
        after_burn_in = int(np.searchsorted(self.cycles, self.settled))
        start = int(np.searchsorted(self.cycles, since, side="right"))
        return slice(min(max(start, after_burn_in), stop), stop)

    @property
    def judged_cycles(self) -> np.ndarray:
        """Analysis times of the cycles that are judged."""
        return self.cycles[self.recent]

    @property
    def end(self) -> np.ndarray:
        """The last analysis time, for a check with a single value."""
        return np.asarray([self.last])


def survey(
    experiment: Experiment,
    store: ExperimentStore,
    *,
    now: datetime,
    due: datetime | None,
    seen: np.datetime64 | None = None,
) -> Situation:
    """Read what the checks need; of the store only scalars of the last cycles.

    Arguments:
        now: the moment, UTC.
        due: analysis time that should have been reached by then, None if no clock says so.
        seen: last cycle of an earlier look; the cycles after it are all judged.

    Raises:
        HoldError: the note that holds the experiment is damaged.
        StorageError: the store cannot be read.
    """
    recipe = experiment.recipe
    interval = np.timedelta64(duration_to_minutes(recipe.cycle_interval), "m")
    start = _minute(recipe.period.start)
    diagnostics = store.dataset("diagnostics")
    times = diagnostics["time"].to_numpy().astype("datetime64[m]")
    last = times[-1] if len(times) else start - interval
    judged = max(FEWEST_JUDGED, int(np.sum(times > seen)) if seen is not None else 0)
    judged = min(judged, len(times))
    oldest = times[len(times) - judged] if judged else last
    since = oldest - np.timedelta64(DRIFT_DAYS + HISTORY_DAYS, "D")
    first = int(np.searchsorted(times, since, side="right"))
    rows = diagnostics[list(SCALARS)].isel(time=slice(first, None)).load()
    rows = rows.isel(channel=0, missing_dims="ignore")
    settled = start + recipe.burn_in * interval
    regions = region_names(experiment.space(store).grid, recipe.state_dims)
    scores = _recent_scores(experiment, diagnostics, max(settled, last - DAYS + interval))
    return Situation(
        now=now.astimezone(UTC),
        cycles=times[first:],
        statistics={name: rows[name].to_numpy().astype(float) for name in SCALARS},
        judged=judged,
        settled=settled,
        interval=interval,
        last=last,
        due=None if due is None else _minute(due),
        hold=held(store.location),
        free_bytes=shutil.disk_usage(_existing(experiment.root)).free,
        proven=_proven(experiment),
        scores=scores,
        verdict=None if scores is None else calibration_verdict(scores, experiment.name),
        steps=_steps(experiment, store),
        units=recipe.variable.units,
        life=None if scores is None else whole_life(diagnostics, settled, regions),
    )


def _steps(experiment: Experiment, store: ExperimentStore) -> tuple[BiasStep, ...] | None:
    if not any(stream.carries_bias for stream in experiment.recipe.streams or ()):
        return None
    return bias_steps(store, experiment.recipe, experiment.platforms(store))


def _recent_scores(
    experiment: Experiment, diagnostics: xr.Dataset, since: np.datetime64
) -> Scores | None:
    recent = diagnostics.sel(time=slice(since, None))
    if not recent.sizes["time"]:
        return None
    statistics = stored_statistics(experiment.recipe, recent.load())
    units = experiment.recipe.variable.units
    return compute_scores(statistics, key=jax.random.key(0), units=units)


def _minute(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "m")


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _proven(experiment: Experiment) -> datetime | None:
    if not is_gated(experiment):
        return None
    entry = champion(experiment.registry, trained_name(experiment))
    return None if entry is None else datetime.fromisoformat(entry.since)
