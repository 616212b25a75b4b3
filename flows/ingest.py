"""Flow: observations of a recipe into an experiment's store."""

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from vardax_core.data import ingest as make_observations
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import StoreNotFoundError


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="ingest-{experiment.name}")
def ingest_observations(experiment: Experiment, parameters: ExperimentParameters) -> int:
    """Add the observations that the store lacks; the number of new times."""
    recipe = experiment.recipe
    window = (recipe.window.times - 1) * recipe.window.spacing
    try:
        store = experiment.open_store()
    except StoreNotFoundError:
        store = None
    if store is not None and store.tip("observations").last_time == recipe.span[1]:
        return 0
    ingested = make_observations(
        recipe, start=recipe.period.start - window, path=parameters.source_path
    )
    if store is None:
        store = experiment.create_store(ingested)
    return experiment.append_observations(store, ingested)


@flow(name="ingest", flow_run_name=run_name("ingest"), persist_result=False)
def ingest(experiment: ExperimentParameters) -> int:
    """Load a recipe's observations, check them and write them to the experiment's store."""
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    new = ingest_observations(made, experiment)
    message = f"{new} new observation times" if new else "up to date"
    logger.info("%s: %s in %s", made.name, message, made.store_location)
    return ended(message, new)
