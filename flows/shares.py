"""A group of streams of a backfill, run by whatever process is given it; needs no Prefect."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.parameters import ExperimentParameters, ShareParameters
from vardax_core.data.window import cycle_times
from vardax_core.experiments.backfill import Backfill
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.stream_progress import RoundReport
from vardax_core.experiments.validation import prepare_proven
from vardax_core.store import BranchError, SupersededError
from vardax_core.store.hold import held

DONE, HELD, SUPERSEDED = "done", "held", "superseded"


def run_share(
    made: Experiment, share: ShareParameters, metadata: Mapping[str, str]
) -> Iterator[tuple[RoundReport, int, int]]:
    """Go on with a group on the work branch of its backfill; after each commit its report, how many
    commits were made, and of how many.

    Raises:
        SupersededError: the branch is gone, or another process runs the same group.
        UnprovenModelError: the weights have no passing gate report.
    """
    store = made.open_store()
    times = cycle_times(made.recipe)[share.first : share.stop]
    work = Backfill(
        made,
        store,
        prepare_proven(made, store),
        times,
        streams=share.streams,
        overlap=share.overlap,
        width=share.width,
    )
    try:
        branch = store.on_branch(work.branch)
    except BranchError as error:
        raise SupersededError(store.location, f"branch {work.branch}", "no such branch") from error
    rounds = work.pending(branch, [share.group])
    for number, report in enumerate(work.run(branch, rounds, metadata=metadata), 1):
        yield report, number, len(rounds)


def fill_share(
    experiment: Mapping[str, Any], share: Mapping[str, Any], metadata: Mapping[str, str]
) -> str:
    """Run a group to its end and say how it ended; arguments are those of `run_share` in JSON."""
    made = ExperimentParameters.model_validate(experiment).experiment()
    try:
        for _ in run_share(made, ShareParameters.model_validate(share), metadata):
            if held(made.store_location) is not None:
                return HELD
    except SupersededError:
        return SUPERSEDED
    return DONE
