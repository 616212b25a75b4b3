"""Flow: the gates that weights must pass before they go to work."""

from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.events import PROMOTED, tell
from flows.failures import tell_failure
from flows.fields import is_empty
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.progress import track
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.validation import is_gated, trained
from vardax_core.experiments.validation import validate as run_gates
from vardax_core.training.promotion import UnprovenModelError, promote, require_proven


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="gates-{experiment.name}")
def check_gates(experiment: Experiment, path: str | Path | None, override: str | None) -> str:
    """Run the gates; the report lies beside the weights and is an artifact."""
    steps = experiment.training_steps
    with track(f"validate {experiment.name}", steps) as tracker:
        report = run_gates(experiment, path=path, progress=tracker)
        tracker(steps, steps, {})
    text = markdown_with_embedded_pictures(report.markdown)
    if override is not None and not report.passed:
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n**Used all the same**, because: {override}\n{rest}"
    create_markdown_artifact(
        text,
        key=f"gates-{experiment.group_name}",
        description=f"Gates of {experiment.name}",
    )
    return str(report.markdown)


@flow(
    name="validate",
    flow_run_name=run_name("validate"),
    persist_result=False,
    on_failure=[tell_failure],
)
def validate(experiment: ExperimentParameters, override: str | None = None) -> str | None:
    """Check the gates and make the weights the champion; refuse if one fails and no reason is given
    for going on.

    Arguments:
        experiment: whose weights.
        override: why they may go to work although a gate fails; empty: they may not.
    """
    tag_run(experiment)
    override = None if is_empty(override) else override
    logger = get_run_logger()
    made = experiment.experiment()
    if not is_gated(made):
        return ended("nothing to validate", None)
    version = trained(made, path=experiment.source_path)
    try:
        require_proven(made.registry, version)
        return ended("up to date: these weights may make analyses", None)
    except UnprovenModelError as missing:
        logger.info("%s", missing)
    page = check_gates(made, experiment.source_path, override)
    entry = promote(made.registry, version, override=override)
    message = f"champion {entry.version}: runs of this experiment make their analyses with it"
    message += f", override: {override}" if override else ""
    tell(PROMOTED, made, version=entry.version, sha256=entry.sha256, override=entry.override)
    logger.info("%s: %s; report %s", made.name, message, page)
    return ended(message, entry.version)
