"""What the flows that make cycles again have in common."""

from prefect import get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact

from flows.assimilate import commit_segment
from flows.links import with_link
from flows.progress import track
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.rerun import Rerun
from vardax_core.store import ExperimentStore


def run_again(rerun: Rerun, what: str) -> ExperimentStore:
    """Make the cycles that a branch lacks; the store on the branch.

    Raises:
        SupersededError: another run makes the same cycles.
    """
    work = rerun.open_branch()
    pending = rerun.pending(work)
    if not len(pending):
        return work
    done, logger = 0, get_run_logger()
    with track(what, len(pending)) as tracker:
        reports = rerun.run(work, metadata={"flow_run": str(runtime.flow_run.id)})
        for segment in rerun.segments(work):
            report = commit_segment(reports, str(segment[-1].astype("datetime64[m]")))
            done += report.cycles
            tracker(done, len(pending), {"cycles/s": report.cycles / max(report.seconds, 1e-9)})
    logger.info("%s: %d cycles on branch %s", what, done, rerun.branch)
    return work


def show_page(path, experiment: Experiment, kind: str) -> None:
    """A page on an experiment as an artifact."""
    create_markdown_artifact(
        with_link(markdown_with_embedded_pictures(path), experiment),
        key=f"{kind}-{experiment.key}",
        description=f"{kind.capitalize()} of {experiment.name}",
    )
