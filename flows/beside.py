"""Flow: two experiments on one data set side by side."""

from prefect import flow

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.rerunning import show_page
from flows.watch_parameters import PeriodParameters
from vardax_core.experiments.beside import Beside
from vardax_core.experiments.beside import beside as set_beside
from vardax_core.experiments.beside_page import beside_sentence, write_beside


@flow(
    name="beside", flow_run_name=run_name("beside"), persist_result=False, on_failure=[tell_failure]
)
def beside(
    experiment: ExperimentParameters,
    other: ExperimentParameters,
    period: PeriodParameters = PeriodParameters(),  # noqa: B008 (frozen)
) -> Beside:
    """Set the cycles that two experiments have in common side by side.

    Arguments:
        experiment: the first.
        other: the second, on the same data set.
        period: which cycles; empty: all that both have after the burn-in.
    """
    tag_run(experiment)
    made, beside_it = experiment.experiment(), other.experiment()
    store, second = made.open_store(), beside_it.open_store()
    names = (made.label, beside_it.label)
    found = set_beside(made, store, second, names, *period.cycles(made, store))
    said = beside_sentence(found)
    title = f"{beside_it.name} beside {made.name}"
    show_page(write_beside(made, store, found, title, verdict=said), made, "beside")
    return ended(said, found)
