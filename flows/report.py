"""Flow: the calibration report on the methods of one data set."""

import dataclasses
import datetime
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.failures import tell_failure
from flows.fields import MethodName
from flows.links import with_link
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.comparable import comparable
from vardax_core.experiments.comparison import Comparison, compare


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="report-{experiment.dataset}-{experiment.method}",
)
def write_comparison(
    experiment: ExperimentParameters,
    methods: tuple[MethodName, ...],
    recent_days: float | None = None,
) -> Comparison:
    """Write the report beside the stores and as an artifact."""
    chosen = experiment.beside(methods)
    made = [experiment.of_method(m).experiment() for m in chosen]
    primary = made[chosen.index(experiment.method)]
    made, left_out = comparable(made, primary)
    recent = None
    if recent_days is not None:
        interval = primary.recipe.cycle_interval
        recent = max(1, int(datetime.timedelta(days=recent_days) / interval))
    result = dataclasses.replace(compare(made, primary, recent), left_out=left_out)
    if result.new:
        create_markdown_artifact(
            with_link(markdown_with_embedded_pictures(result.markdown), primary),
            key="-".join(
                filter(None, ("calibration", primary.group_name, primary.settings.variant))
            ),
            description=f"Calibration of {primary.name}",
        )
    return result


@flow(
    name="report", flow_run_name=run_name("report"), persist_result=False, on_failure=[tell_failure]
)
def report(
    experiment: ExperimentParameters,
    methods: tuple[MethodName, ...] | None = None,
    recent_days: Annotated[float, Field(gt=0)] | None = None,
) -> Comparison:
    """Score an experiment, and beside it those of the other methods, and draw the report.

    Arguments:
        experiment: which one the report is about.
        methods: methods of the same data set to set beside it; empty: none. What has no cycle, or
            others than the experiment, is left out, and the run says so.
        recent_days: days that are set beside as many before; empty: half of the period.
    """
    tag_run(experiment)
    logger = get_run_logger()
    result = write_comparison(experiment, methods or (), recent_days)
    message = f"written to {result.markdown}" if result.new else "up to date"
    for method, reason in result.left_out.items():
        logger.warning("report: %s is left out: %s", method, reason)
        message += f"; without {method}: {reason}"
    logger.info("report: %s", message)
    return ended(message, result)
