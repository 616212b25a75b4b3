"""Flow: the calibration report on the methods of one data set."""

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.comparison import Comparison, compare
from vardax_core.experiments.settings import Method


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="report-{experiment.dataset}-{experiment.method.value}",
)
def write_comparison(experiment: ExperimentParameters, methods: tuple[Method, ...]) -> Comparison:
    """Write the report beside the stores and as an artifact."""
    made = [experiment.of_method(m).experiment() for m in methods]
    primary = made[methods.index(experiment.method)]
    result = compare(made, primary)
    if result.new:
        create_markdown_artifact(
            markdown_with_embedded_pictures(result.markdown),
            key=f"calibration-{primary.group_name}",
            description=f"Calibration of {primary.name}",
        )
    return result


@flow(name="report", flow_run_name=run_name("report"), persist_result=False)
def report(
    experiment: ExperimentParameters, methods: tuple[Method, ...] | None = None
) -> Comparison:
    """Score an experiment, and beside it those of the other methods, and draw the report."""
    tag_run(experiment)
    logger = get_run_logger()
    result = write_comparison(experiment, methods or (experiment.method,))
    message = f"written to {result.markdown}" if result.new else "up to date"
    logger.info("report: %s", message)
    return ended(message, result)
