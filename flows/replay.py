"""Flow: early and late analyses as they would have been at a moment."""

from prefect import flow

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.rerunning import run_again, show_page
from flows.watch_parameters import ReplayParameters
from vardax_core.experiments.beside_page import beside_sentence, write_beside
from vardax_core.experiments.replay import Replayed, replayed
from vardax_core.experiments.replay import replay as replay_of
from vardax_core.experiments.validation import prepare_proven


@flow(
    name="replay", flow_run_name=run_name("replay"), persist_result=False, on_failure=[tell_failure]
)
def replay(experiment: ExperimentParameters, at: ReplayParameters) -> Replayed:
    """Make the early and the late analyses of a period as they would have been at a moment, by when
    observations arrived, and show how they differ."""
    tag_run(experiment)
    made = experiment.experiment()
    store = made.open_store()
    first, last = at.cycles(made, store)
    asked = replay_of(
        *(made, store, prepare_proven(made, store)),
        moment=at.moment,
        cut_off=at.early,
        first=first,
        last=last,
    )
    for rerun, name in zip((asked.early, asked.late), asked.names, strict=True):
        run_again(rerun, name)
    found = replayed(made, store, asked)
    digests = "\n".join(
        f"- {name}: `{digest}`" for name, digest in zip(asked.names, found.digests, strict=True)
    )
    path = write_beside(
        made,
        store,
        found.runs,
        f"{made.name} as known at {at.moment:%Y-%m-%dT%H:%M}",
        verdict=beside_sentence(found.runs),
        more=("## Digests of the analyses", digests),
    )
    show_page(path, made, "replay")
    for rerun in (asked.early, asked.late):
        rerun.drop()
    return ended(beside_sentence(found.runs), found)
