"""Flow: what a stream of observations is worth to an experiment."""

from prefect import flow

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.rerunning import run_again, show_page
from flows.watch_parameters import WithheldParameters
from vardax_core.experiments.beside_page import sentence, write_worth
from vardax_core.experiments.validation import prepare_proven
from vardax_core.experiments.worth import Worth, entries_of, rerun_without
from vardax_core.experiments.worth import worth as worth_of


@flow(
    name="worth", flow_run_name=run_name("worth"), persist_result=False, on_failure=[tell_failure]
)
def worth(experiment: ExperimentParameters, withheld: WithheldParameters) -> Worth:
    """Make the cycles of a period again without some observations, beside those that readers have,
    and say what these are worth."""
    tag_run(experiment)
    made = experiment.experiment()
    store = made.open_store()
    first, last = withheld.cycles(made, store)
    prepared = prepare_proven(made, store)
    entries = entries_of(made.recipe, withheld.streams, withheld.names(made), first)
    rerun = rerun_without(made, store, prepared, entries, first, last)
    run_again(rerun, f"without {', '.join(withheld.streams + withheld.platforms)}")
    found = worth_of(made, store, prepared, entries, rerun, first, last)
    show_page(write_worth(made, store, found), made, "worth")
    if not withheld.keep:
        rerun.drop()
    return ended(sentence(found), found)
