"""Flow: observations of a recipe into an experiment's store."""

import functools
import logging
from datetime import datetime

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.logging.loggers import LoggingAdapter

from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.progress import console
from vardax_core.data import ingest as make_observations
from vardax_core.data.timeaxis import instant_to_minutes, minutes_to_instant
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import StoreNotFoundError
from vardax_core.words import counted


def _log() -> LoggingAdapter | logging.Logger:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def warn(text: str) -> None:
    """Warn in the log of the run; on the terminal, once, where that log is not shown."""
    log = _log()
    log.warning(text)
    if not log.isEnabledFor(logging.WARNING):
        _print_once(text)


@functools.cache
def _print_once(text: str) -> None:
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="ingest-{experiment.name}")
def ingest_observations(
    experiment: Experiment, parameters: ExperimentParameters, until: datetime | None = None
) -> int:
    """Add the observations that the store lacks, up to a valid time; the number of new times.

    A source that ends before is taken as far as it goes. A store that has observations is asked
    for its last time, from which on new ones are made; the source itself is compared with the
    store at all times that both have, also where it brings nothing new. Real observations are read
    again for some days before, so that it is said what came too late for the store.
    """
    recipe, window = experiment.recipe, experiment.recipe.window
    start = recipe.period.start - (window.times - 1) * window.spacing
    last_cycle = recipe.period.end if until is None else max(until, recipe.period.start)
    end = last_cycle + (window.after or 0) * window.spacing
    try:
        store = experiment.open_store()
    except StoreNotFoundError:
        store = None
    last = None if store is None else store.tip("observations").last_time
    known = () if store is None else experiment.platforms(store)
    if last is not None:
        start = max(start, minutes_to_instant(last) - experiment.look_back)
        if last >= instant_to_minutes(end):
            if parameters.source_path is None:
                return 0  # the recipe's own file is known by its checksum
            end = minutes_to_instant(last)
    ingested = make_observations(
        recipe, start=start, end=end, path=parameters.source_path, partly=True, known=known
    )
    if store is None:
        store = experiment.create_store(ingested)
    new = experiment.append_observations(
        store, ingested, lambda text: warn(f"{experiment.name}: {text}")
    )
    if new:
        for text in ingested.account.sentences():
            _log().info("%s: %s", experiment.name, text)
    for text in ingested.account.warnings():
        warn(f"{experiment.name}: {text}")
    return new


@flow(name="ingest", flow_run_name=run_name("ingest"), persist_result=False)
def ingest(experiment: ExperimentParameters) -> int:
    """Load a recipe's observations, check them and write them to the experiment's store."""
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    new = ingest_observations(made, experiment)
    kind = "real" if made.recipe.reported else "simulated"
    message = f"{counted(new, 'new observation time')} ({kind})" if new else "up to date"
    logger.info("%s: %s in %s", made.name, message, made.store_location)
    return ended(message, new)
