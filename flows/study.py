"""Flow: several experiments of one data set, and what they say beside each other."""

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.backfill import backfill
from flows.failures import tell_failure
from flows.naming import called, ended, run_name, tag_run
from flows.parameters import BackfillParameters, ExperimentParameters, StudyParameters
from flows.progress import track
from flows.train import train
from flows.validate import validate
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.study import Study, compare_study
from vardax_core.experiments.validation import is_gated
from vardax_core.words import counted


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="compare-{experiment.dataset}")
def write_study(cases: tuple[ExperimentParameters, ...], experiment: ExperimentParameters) -> Study:
    """Write the comparison beside the stores and as an artifact."""
    made = [case.experiment() for case in cases]
    primary = next((m for m in made if m.settings.method == experiment.method), made[0])
    study = compare_study(made, primary)
    create_markdown_artifact(
        markdown_with_embedded_pictures(study.markdown),
        key=f"study-{primary.recipe.name}",
        description=f"{counted(len(made), 'experiment')} with {primary.recipe.name}",
    )
    return study


@flow(
    name="study", flow_run_name=run_name("study"), persist_result=False, on_failure=[tell_failure]
)
def study(
    experiment: ExperimentParameters,
    matrix: StudyParameters = StudyParameters(),  # noqa: B008 (frozen)
    plan: BackfillParameters = BackfillParameters(),  # noqa: B008 (frozen)
    override: str | None = None,
) -> Study:
    """Train, validate and backfill every method with every seed and network, and compare them.

    What is done is not done twice: stopped and started again it goes on where it was.
    """
    tag_run(experiment)
    logger = get_run_logger()
    plan.check(experiment.recipe())
    cases = matrix.cases(experiment)
    with track(f"study {experiment.dataset}", len(cases)) as tracker:
        for number, case in enumerate(cases, 1):
            made = case.experiment()
            if made.needs_training:
                called(train, case)
            if is_gated(made):
                called(validate, case, override)
            cycles = called(backfill, case, plan)
            name = f"{made.name}, seed {made.settings.seed}"
            logger.info("%s: %s (%d of %d)", name, counted(cycles, "new cycle"), number, len(cases))
            tracker(number, len(cases), {})
    result = write_study(cases, experiment)
    message = f"{counted(len(cases), 'experiment')}, written to {result.markdown}"
    logger.info("study: %s", message)
    return ended(message, result)
