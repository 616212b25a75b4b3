"""Flow: the calibration report on the methods of one data set."""

import datetime
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

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
def write_comparison(
    experiment: ExperimentParameters,
    methods: tuple[Method, ...],
    recent_days: float | None = None,
) -> Comparison:
    """Write the report beside the stores and as an artifact."""
    made = [experiment.of_method(m).experiment() for m in methods]
    primary = made[methods.index(experiment.method)]
    recent = None
    if recent_days is not None:
        interval = primary.recipe.cycle_interval
        recent = max(1, int(datetime.timedelta(days=recent_days) / interval))
    result = compare(made, primary, recent)
    if result.new:
        create_markdown_artifact(
            markdown_with_embedded_pictures(result.markdown),
            key="-".join(
                filter(None, ("calibration", primary.group_name, primary.settings.variant))
            ),
            description=f"Calibration of {primary.name}",
        )
    return result


@flow(name="report", flow_run_name=run_name("report"), persist_result=False)
def report(
    experiment: ExperimentParameters,
    methods: tuple[Method, ...] | None = None,
    recent_days: Annotated[float, Field(gt=0)] | None = None,
) -> Comparison:
    """Score an experiment, and beside it those of the other methods, and draw the report.

    Arguments:
        experiment: which one the report is about.
        methods: methods of the same data set to set beside it; none by default.
        recent_days: days that are set beside as many before; half of the period by default.
    """
    tag_run(experiment)
    logger = get_run_logger()
    result = write_comparison(experiment, methods or (experiment.method,), recent_days)
    message = f"written to {result.markdown}" if result.new else "up to date"
    logger.info("report: %s", message)
    return ended(message, result)
