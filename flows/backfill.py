"""Flow: a period of an experiment in streams that run side by side."""

from collections.abc import Iterator

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.assimilate import available_until, due_cycles
from flows.events import COMMITTED, tell
from flows.hold import HELD, hold_of
from flows.ingest import ingest_observations
from flows.naming import ended, run_name, tag_run
from flows.parameters import BackfillParameters, ExperimentParameters
from flows.progress import track
from vardax_core.experiments.backfill import Backfill, RoundReport
from vardax_core.experiments.validation import prepare_proven
from vardax_core.store import SupersededError


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="round-{number}")
def commit_round(reports: Iterator[RoundReport], number: int) -> RoundReport:
    """Go on until the next segment of all streams is committed."""
    return next(reports)


@flow(name="backfill", flow_run_name=run_name("backfill"), persist_result=False)
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
    if reason := hold_of(made):
        logger.warning("%s: %s", made.name, reason)
        return ended(reason, 0, HELD)
    ingest_observations(made, experiment, available_until(made, plan))
    store = made.open_store()
    times = due_cycles(made, store, plan)
    if not len(times):
        logger.info("%s: up to date", made.name)
        return ended("up to date", 0)
    work = Backfill(
        made, store, prepare_proven(made, store), times, streams=plan.streams, overlap=plan.overlap
    )
    try:
        branch = work.open_branch()
        rounds = work.pending(branch)
        reports = work.run(branch, rounds, metadata={"flow_run": str(runtime.flow_run.id)})
        with track(f"backfill {made.name}", max(1, len(rounds))) as tracker:
            for number in range(len(rounds)):
                report = commit_round(reports, number + 1)
                rate = (report.cycles + report.spin_up) / max(report.seconds, 1e-9)
                tracker(number + 1, len(rounds), {"cycles/s": rate})
                if reason := hold_of(made):
                    logger.warning("%s: %s", made.name, reason)
                    return ended(reason, 0, HELD)
        _, seams = work.join(branch)
    except SupersededError as error:
        logger.warning("%s: superseded: %s", made.name, error)
        return ended("superseded", 0)
    first, last = (str(t.astype("datetime64[m]")) for t in times[[0, -1]])
    tell(COMMITTED, made, cycles=len(times), first=first, last=last, streams=plan.streams)
    for seam in seams:
        logger.info(
            "%s: stream %d meets the one before with a difference of %.3g, %.2f of the spread",
            made.name,
            seam.stream,
            seam.difference,
            seam.ratio,
        )
    return ended(f"{len(times)} cycles in {plan.streams} streams", len(times))
