"""Flow: observations of a recipe into their store."""

import functools
import logging
from datetime import datetime

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.logging.loggers import LoggingAdapter

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.progress import console
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.ingesting import take_observations
from vardax_core.experiments.outdated import outdated_sentence, relisted_sentence
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
    """Add the observations that their store lacks, up to a valid time; the number of new times.

    Cycles that would differ because of what came since are counted.
    """
    new = take_observations(
        experiment,
        until=until,
        path=parameters.source_path,
        say=lambda text: _log().info("%s: %s", experiment.name, text),
        warn=lambda text: warn(f"{experiment.name}: {text}"),
    )
    store = experiment.open_store()
    for sentence in (outdated_sentence(experiment, store), relisted_sentence(experiment, store)):
        if sentence:
            warn(f"{experiment.name}: {sentence}")
    return new


@flow(
    name="ingest", flow_run_name=run_name("ingest"), persist_result=False, on_failure=[tell_failure]
)
def ingest(experiment: ExperimentParameters) -> int:
    """Load a recipe's observations, check them and write them to the store that all its methods
    read."""
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    new = ingest_observations(made, experiment)
    kind = "real" if made.recipe.reported else "simulated"
    message = f"{counted(new, 'new observation time')} ({kind})" if new else "up to date"
    logger.info("%s: %s in %s", made.group_name, message, made.open_observations().location)
    return ended(message, new)
