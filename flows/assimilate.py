"""Flow: the uncommitted cycles of an experiment, up to a target time."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.cycles_page import show_cycles
from flows.events import COMMITTED, tell
from flows.failures import tell_failure
from flows.hold import HELD, hold_of
from flows.ingest import ingest_observations, warn
from flows.naming import ended, run_name, say_period, tag_run
from flows.parameters import ExperimentParameters, TargetParameters
from flows.progress import track
from vardax_core.data.timeaxis import from_minutes, instant_to_minutes
from vardax_core.experiments.assimilate import (
    Assimilation,
    SegmentReport,
    pending_cycles,
    waiting_cycles,
)
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.validation import prepare_proven
from vardax_core.experiments.watched import ImplausibleIncrementError
from vardax_core.store import ExperimentStore, StoreNotFoundError, SupersededError
from vardax_core.words import counted


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="segment-{label}")
def commit_segment(reports: Iterator[SegmentReport], label: str) -> SegmentReport:
    """Go on until the next segment is committed; the one after it is computed meanwhile."""
    return next(reports)


@flow(
    name="assimilate",
    flow_run_name=run_name("assimilate"),
    persist_result=False,
    on_failure=[tell_failure],
)
def assimilate(
    experiment: ExperimentParameters,
    target: TargetParameters = TargetParameters(),  # noqa: B008 (frozen)
) -> int:
    """Ingest what is new and catch up every cycle that is not in the store, in segments that are
    committed whole.

    Weights without a passing gate report are refused.
    """
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    target.check(made.recipe)
    if reason := hold_of(made):
        logger.warning("%s: %s", made.name, reason)
        return ended(reason, 0, HELD)
    ingest_observations(made, experiment, available_until(made, target))
    store = made.open_store()
    times = due_cycles(made, store, target)
    if not len(times):
        logger.info("%s: up to date", made.name)
        return ended("up to date", 0)
    say_period(times)
    assimilation = Assimilation(made, store, prepare_proven(made, store))
    done = 0
    with track(f"assimilate {made.name}", len(times)) as tracker:
        reports = assimilation.run(times, metadata={"flow_run": str(runtime.flow_run.id)})
        for segment in assimilation.segments(times):
            try:
                report = commit_segment(reports, _label(segment))
            except SupersededError as error:
                logger.warning("%s: superseded: %s", made.name, error)
                return ended("superseded", done)
            except ImplausibleIncrementError as error:
                logger.warning("%s", error)
                return ended(str(error), done, HELD)
            done += report.cycles
            tracker(done, len(times), {})
            logger.info("%s: %s", made.name, _line(report))
            for text in report.warnings:
                warn(f"{made.name}: {text}")
            tell_commit(made, report)
            if reason := hold_of(made):
                logger.warning("%s: %s", made.name, reason)
                show_cycles(made, store)
                return ended(reason, done, HELD)
    show_cycles(made, store)
    return ended(counted(done, "cycle"), done)


def available_until(made: Experiment, target: TargetParameters) -> datetime | None:
    """Up to when a scheduled run asks its source for observations; None for all there is."""
    if target.follow != "schedule":
        return None
    scheduled = runtime.flow_run.scheduled_start_time
    return target.instant(made.recipe, scheduled, scheduled, made.settings.latency(made.recipe))


def tell_commit(experiment: Experiment, report: SegmentReport) -> None:
    """Emit the event of a published segment."""
    first, last = (_label(np.array([time])) for time in (report.first, report.last))
    facts = {"cycles": report.cycles, "flagged": report.flagged, "first": first, "last": last}
    tell(COMMITTED, experiment, **facts)


def due_until(made: Experiment, target: TargetParameters) -> datetime:
    """Last analysis time that is due at the scheduled start of this run; that of a demonstration
    whose store is not there yet is its first."""
    try:
        created = made.open_store().history()[-1].written_at
    except StoreNotFoundError:
        created = runtime.flow_run.scheduled_start_time
    latency = made.settings.latency(made.recipe)
    return target.instant(made.recipe, runtime.flow_run.scheduled_start_time, created, latency)


def due_cycles(made: Experiment, store: ExperimentStore, target: TargetParameters) -> np.ndarray:
    """Analysis times that are due at the scheduled start of this run and not in the store."""
    last = due_until(made, target)
    if last < made.recipe.period.start:
        return np.empty(0, "datetime64[m]")
    target_time = from_minutes(np.asarray([instant_to_minutes(last)]))[0]
    waiting = waiting_cycles(made, store, target_time)
    if len(waiting):
        s = "" if len(waiting) == 1 else "s"
        warn(
            f"{made.name}: {len(waiting)} cycle{s} from {_label(waiting[:1])} wait for observations"
        )
    return pending_cycles(made, store, target_time)


def _label(times: np.ndarray) -> str:
    return str(times[-1].astype("datetime64[m]"))


def _line(report: SegmentReport) -> str:
    rate = report.cycles / max(report.seconds, 1e-9)
    facts: dict[str, Any] = {"flagged": report.flagged, "cycles/s": f"{rate:.0f}"}
    tail = ", ".join(f"{k} {v}" for k, v in facts.items())
    last = _label(np.array([report.last]))
    return f"{counted(report.cycles, 'cycle')} to {last} committed ({tail})"
