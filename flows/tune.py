"""Flow: the settings with which a method errs least in trial cycles."""

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.progress import track
from vardax_core.calibration.page import table
from vardax_core.experiments.tuning import Tuned, tuned_path
from vardax_core.experiments.tuning import tune as find_settings
from vardax_core.words import unit_label


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="tune-{experiment.dataset}")
def try_candidates(experiment: ExperimentParameters) -> Tuned:
    """Cycle all candidates; the table of their scores is an artifact."""
    made = experiment.experiment(tuned=False)
    tried = 1 + len(made.settings.analysis.candidates(None))
    total = tried + min(FINALISTS, tried)
    logger = get_run_logger()
    done = 0
    with track(f"tune {made.name}", total) as tracker:

        def say(text: str) -> None:
            nonlocal done
            done += 1
            logger.info("%s: %s", made.name, text)
            tracker(min(done, total), total, {})

        found = find_settings(made, path=experiment.source_path, say=say)
    rows = sorted(found.record["scores"].items(), key=lambda row: row[1])
    rmse = "RMSE" if made.recipe.channels else unit_label("RMSE", made.recipe.variable.units)
    create_markdown_artifact(
        f"# Settings of {made.name}\n\n{SCORES} Kept for the runs under this root: "
        f"{_said(found)}.\n\n" + table(["settings", rmse], [[n, f"{v:.4g}"] for n, v in rows]),
        key=f"tuned-{made.recipe.name}-{made.settings.method}",
        description=f"Trial cycles of {made.settings.method} with {made.recipe.name}",
    )
    return found


FINALISTS = 4
SCORES = (
    "RMSE of the analyses in trial cycles with each of the settings; it is low where they are good."
)


def _said(found: Tuned) -> str:
    """The settings that were kept, in words."""
    return ", ".join(f"{key}={value}" for key, value in found.options.items()) or "the usual ones"


@flow(name="tune", flow_run_name=run_name("tune"), persist_result=False, on_failure=[tell_failure])
def tune(experiment: ExperimentParameters) -> Tuned:
    """Find the settings with which a method errs least in trial cycles, and keep them for its
    runs under this root."""
    tag_run(experiment)
    found = try_candidates(experiment)
    where = tuned_path(experiment.experiment())
    return ended(f"{_said(found)}, RMSE {found.record['rmse']:.4g}; kept in {where}", found)
