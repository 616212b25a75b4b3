"""Flow: what a recipe finds in its files."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.data_parameters import CheckParameters
from flows.failures import tell_failure
from flows.naming import begin_run, ended
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.experiments.checkup import check_up


@flow(
    name="check",
    flow_run_name="check-{about.dataset}",
    persist_result=False,
    on_failure=[tell_failure],
)
def check(about: CheckParameters) -> str:
    """Say in words and pictures what a data set's files hold; fail if it cannot be run.

    Arguments:
        about: the data set.
    """
    begin_run([f"dataset:{about.dataset}"])
    logger = get_run_logger()
    found = check_up(about.recipe(), about.root)
    for section in found.sections:
        for line in section.lines:
            logger.info("%s: %s: %s", about.dataset, section.title, line)
    create_markdown_artifact(
        markdown_with_embedded_pictures(found.page),
        key=f"check-{about.dataset}",
        description=f"Check of {about.dataset}",
    )
    found.require_ready()
    return ended(found.verdict, str(found.page))
