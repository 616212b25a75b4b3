"""Flow: what a method must learn before it can be cycled."""

import logging

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.progress import console, track
from flows.training_page import Course, training_page
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.validation import is_gated
from vardax_core.training.convergence import verdicts_of
from vardax_core.training.registry import ModelVersion

NEXT = (
    "These weights make no analyses before they have passed their gates: run `validate` with the "
    "same experiment."
)
READY = "This method learns statistics and has no gates: runs make analyses with them at once."


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="train-{experiment.name}")
def train_method(experiment: Experiment, parameters: ExperimentParameters) -> ModelVersion | None:
    """Train, unless the registry holds the result; the version if it is new."""
    training_run = experiment.training_run(parameters.source_path)
    if experiment.trained_version(training_run) is not None:
        return None
    with track(f"train {experiment.name}", experiment.training_steps) as tracker:
        course = Course(tracker)
        version = experiment.train(training_run, course)
    notes = version.manifest["metadata"].get("notes", [])
    for note in notes:
        get_run_logger().warning("%s: %s", experiment.name, note)
    said = [words for _, words in verdicts_of(version.manifest["metadata"])]
    said += [f"{note[:1].upper()}{note[1:]}" for note in notes]
    said.append(NEXT if is_gated(experiment) else READY)
    about = {"version": version.path.name, "sha256": version.sha256}
    create_markdown_artifact(
        training_page(f"Training of {experiment.name}", course, said, about),
        key=f"training-{experiment.key}",
        description=f"Training of {experiment.name}",
    )
    return version


@flow(
    name="train", flow_run_name=run_name("train"), persist_result=False, on_failure=[tell_failure]
)
def train(experiment: ExperimentParameters) -> str | None:
    """Train the analysis of an experiment and store its weights in the model registry."""
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    if not made.needs_training:
        return ended("nothing to learn", None)
    version = train_method(made, experiment)
    if version is None:
        logger.info("%s: up to date", made.name)
        return ended("up to date: these weights are in the registry", None)
    name, verdicts = version.path.name, verdicts_of(version.manifest["metadata"])
    logger.info("%s: trained version %s", made.name, name)
    for finished, words in verdicts:
        logger.log(logging.INFO if finished else logging.WARNING, "%s: %s", made.name, words)
        console.print(words, style="dim" if finished else "yellow")
    return ended(" ".join([f"trained version {name}.", *(words for _, words in verdicts)]), name)
