"""Flow: one group of streams of a backfill, submitted by the backfill to a work pool."""

from prefect import flow, get_run_logger, runtime

from flows.failures import tell_failure
from flows.hold import HELD, hold_of
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters, ShareParameters
from flows.progress import track
from flows.shares import SUPERSEDED, run_share
from vardax_core.store import SupersededError
from vardax_core.words import counted


@flow(name="fill", flow_run_name=run_name("fill"), persist_result=False, on_failure=[tell_failure])
def fill(experiment: ExperimentParameters, share: ShareParameters) -> int:
    """Run a group of streams on the work branch of its backfill, from where it stands."""
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    cycles = 0
    if reason := hold_of(made):
        return ended(reason, cycles, HELD)
    metadata = {"flow_run": str(runtime.flow_run.id)}
    try:
        with track(f"streams of {made.name}, group {share.group + 1}", 1) as tracker:
            for report, number, total in run_share(made, share, metadata):
                cycles += report.cycles + report.spin_up
                rate = (report.cycles + report.spin_up) / max(report.seconds, 1e-9)
                tracker(number, total, {"cycles/s": rate})
                logger.info(
                    "%s: group %d, commit %d of %d: %s and %d of spin-up (%.0f cycles/s)",
                    made.name,
                    share.group + 1,
                    number,
                    total,
                    counted(report.cycles, "cycle"),
                    report.spin_up,
                    rate,
                )
                if reason := hold_of(made):
                    logger.warning("%s: %s", made.name, reason)
                    return ended(reason, cycles, HELD)
    except SupersededError as error:
        logger.warning("%s: superseded: %s", made.name, error)
        return ended(SUPERSEDED, cycles)
    done = f"{counted(cycles, 'cycle')} of group {share.group + 1}"
    return ended(done if cycles else "up to date", cycles)
