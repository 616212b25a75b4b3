"""Flow: a period of an experiment in streams that run side by side."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact

from flows.assimilate import available_until, due_cycles, due_until
from flows.cycles_page import show_cycles
from flows.events import COMMITTED, tell
from flows.failures import tell_failure
from flows.hold import HELD, hold_of
from flows.ingest import ingest_observations
from flows.naming import ended, run_name, say_period, tag_run
from flows.parameters import BackfillParameters, ExperimentParameters
from flows.pool import in_pool
from flows.progress import Tracker, bar, track
from flows.runners import Job, Runner, locally, on_dask
from vardax_core.experiments.backfill import Backfill
from vardax_core.experiments.estimate import estimate
from vardax_core.experiments.validation import prepare_proven
from vardax_core.experiments.watched import ImplausibleIncrementError
from vardax_core.store import SupersededError
from vardax_core.words import counted

RUNNERS: dict[str, Runner] = {"local": locally, "dask": on_dask, "pool": in_pool}
ROWS = 32
"""Up to so many streams each have a bar of their own; of more, groups have."""


@flow(
    name="backfill",
    flow_run_name=run_name("backfill"),
    persist_result=False,
    on_failure=[tell_failure],
)
def backfill(
    experiment: ExperimentParameters,
    plan: BackfillParameters = BackfillParameters(),  # noqa: B008 (frozen)
) -> int:
    """Ingest what is new and fill every cycle that is not in the store, in streams; readers get
    them all at once.

    Weights without a passing gate report are refused. A run that is held goes on where it stopped
    once the experiment is released.
    """
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    plan.check(made.recipe)
    if plan.dry_run:
        found = estimate(made, due_until(made, plan))
        create_markdown_artifact(
            f"# What a backfill of {made.name} would do\n\n{found}.\n\n"
            f"It would run in {counted(plan.streams, 'stream')}, each with a spin-up of "
            f"{counted(plan.overlap, 'cycle')}.\n",
            key=f"dry-run-{made.key}",
            description=f"What a backfill of {made.name} would do",
        )
        return ended(f"dry run: {found}", 0)
    if reason := hold_of(made):
        logger.warning("%s: %s", made.name, reason)
        return ended(reason, 0, HELD)
    ingest_observations(made, experiment, available_until(made, plan))
    store = made.open_store()
    times = due_cycles(made, store, plan)
    if not len(times):
        logger.info("%s: up to date", made.name)
        return ended("up to date", 0)
    say_period(times, plan.streams)
    work = Backfill(
        made,
        store,
        prepare_proven(made, store),
        times,
        streams=plan.streams,
        overlap=plan.overlap,
        width=plan.width,
    )
    try:
        job = Job(
            experiment, plan, work, work.open_branch(), {"flow_run": str(runtime.flow_run.id)}
        )
        with (
            track(f"backfill {made.name}", sum(s.length for s in work.plan)) as tracker,
            closing(RUNNERS[plan.runner](job)) as moments,  # type: ignore[type-var]
        ):
            show = _Show(job, tracker)
            for _ in moments:
                show()
                if reason := hold_of(made):
                    logger.warning("%s: %s", made.name, reason)
                    return ended(reason, 0, HELD)
            show()
        _, seams = work.join(job.branch)
    except SupersededError as error:
        logger.warning("%s: superseded: %s", made.name, error)
        return ended("superseded", 0)
    except ImplausibleIncrementError as error:
        logger.warning("%s", error)
        return ended(str(error), 0, HELD)
    first, last = (str(t.astype("datetime64[m]")) for t in times[[0, -1]])
    facts: dict[str, Any] = {"streams": plan.streams, "runner": plan.runner}
    tell(COMMITTED, made, cycles=len(times), first=first, last=last, **facts)
    for seam in seams:
        logger.info(
            "%s: stream %d meets the one before with a difference of %.3g, %.2f of the spread",
            made.name,
            seam.stream,
            seam.difference,
            seam.ratio,
        )
    show_cycles(made, store)
    return ended(f"{counted(len(times), 'cycle')} in {counted(plan.streams, 'stream')}", len(times))


class _Show:
    """How far the streams are, in the terminal and as bars in the run's artifact."""

    def __init__(self, job: Job, tracker: Tracker):
        self._job = job
        self._tracker = tracker
        self._before = sum(job.work.done(job.branch))
        self._begin = time.monotonic()

    def __call__(self) -> None:
        plan, done = self._job.work.plan, self._job.work.done(self._job.branch)
        total, now = sum(stream.length for stream in plan), sum(done)
        rate = (now - self._before) / max(time.monotonic() - self._begin, 1e-9)
        lines = ["| streams | | cycles |", "| --- | --- | --- |"]
        for group in [(s,) for s in plan] if len(plan) <= ROWS else self._job.work.groups:
            names = "-".join(dict.fromkeys(str(s.number + 1) for s in (group[0], group[-1])))
            ran, length = sum(done[s.number] for s in group), sum(s.length for s in group)
            lines.append(f"| {names} | `{bar(ran, length)}` | {ran} of {length} |")
        if rate and now < total:
            end = datetime.now(UTC) + timedelta(seconds=(total - now) / rate)
            lines += ["", f"{rate:.0f} cycles/s; expected end {end:%Y-%m-%d %H:%M:%S} UTC"]
        self._tracker(now, total, {"cycles/s": rate}, "\n".join(lines))
