"""Flow: observations of a recipe into an experiment's store."""

from datetime import datetime

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from vardax_core.data import ingest as make_observations
from vardax_core.data.timeaxis import instant_to_minutes, minutes_to_instant
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import StoreNotFoundError
from vardax_core.words import counted


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="ingest-{experiment.name}")
def ingest_observations(
    experiment: Experiment, parameters: ExperimentParameters, until: datetime | None = None
) -> int:
    """Add the observations that the store lacks, up to a valid time; the number of new times.

    A store that has some is asked for its last time, from which on the source is read: that one
    time says whether a source that has grown since is still the same.
    """
    recipe = experiment.recipe
    start = recipe.period.start - (recipe.window.times - 1) * recipe.window.spacing
    end = recipe.period.end if until is None else max(until, recipe.period.start)
    try:
        store = experiment.open_store()
    except StoreNotFoundError:
        store = None
    last = None if store is None else store.tip("observations").last_time
    if last is not None:
        if last >= instant_to_minutes(end):
            return 0
        start = minutes_to_instant(last)
    ingested = make_observations(recipe, start=start, end=end, path=parameters.source_path)
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
    message = counted(new, "new observation time") if new else "up to date"
    logger.info("%s: %s in %s", made.name, message, made.store_location)
    return ended(message, new)
