"""The gates of an experiment's trained analysis, and what may go to work."""

from pathlib import Path

import numpy as np

import vardax_core
from vardax_core.calibration.gates.report import GateReport, write_gate_report
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.held_out import HeldOutPlan
from vardax_core.experiments.learning import learned_as
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.trial import TrialPlan, judge_trial
from vardax_core.experiments.twin_gates import judge_twin
from vardax_core.experiments.withheld_gates import HELD_OUT, judge_withheld
from vardax_core.methods.priors import Progress
from vardax_core.store import ExperimentStore
from vardax_core.training.promotion import gates_folder, require_proven
from vardax_core.training.registry import ModelNotFoundError, ModelVersion
from vardax_core.words import unit_label


def is_gated(experiment: Experiment) -> bool:
    """Whether the experiment's method has weights that must pass gates before they cycle.

    The statistics of a classical method need not.
    """
    return experiment.settings.analysis.learns


def trained_name(experiment: Experiment) -> str:
    """Name under which the registry holds the experiment's weights.

    Raises:
        ValueError: if they are not gated.
    """
    names = learned_as(experiment.recipe, experiment.settings)
    if not is_gated(experiment):
        raise ValueError(
            f"{experiment.name}: only the weights of a method that learns have a champion; choose "
            "such a method."
        )
    return names[0]


def trained(experiment: Experiment, *, path: str | Path | None = None) -> ModelVersion:
    """The version that the experiment would cycle.

    Arguments:
        path: where the file of the nature run is; see `open_nature_run`.

    Raises:
        ModelNotFoundError: if it was not trained yet.
    """
    version = experiment.trained_version(experiment.training_run(path))
    if version is None:
        raise ModelNotFoundError(
            f"{experiment.name}: nothing was trained with these settings; train it first: "
            "vardax train, with the same options."
        )
    return version


def prepare_proven(experiment: Experiment, store: ExperimentStore) -> Prepared:
    """The experiment's method, if its weights may go to work.

    Raises:
        ModelNotFoundError: if the method was not trained yet.
        UnprovenModelError: if gates are asked for and the weights have no passing report.
    """
    prepared = experiment.prepare(store)
    if is_gated(experiment):
        for version in prepared.versions.values():
            require_proven(experiment.registry, version)
    return prepared


def validate(
    experiment: Experiment,
    *,
    twins: HeldOutPlan | None = None,
    trial: TrialPlan = TrialPlan(),  # noqa: B008 (a tuple)
    path: str | Path | None = None,
    progress: Progress = lambda *_: None,
) -> GateReport:
    """Run the gates on the experiment's weights and write the report beside them.

    Arguments:
        twins: the pairs that the gates of a twin look at; by default as many as are usual.
        trial: the cycles that those of real data look at.
        path: where the file of the nature run is; see `open_nature_run`.
        progress: called while a trial trains.

    Raises:
        ModelNotFoundError: if nothing was trained with these settings.
    """
    version = trained(experiment, path=path)
    if prior_of(experiment.recipe).simulates:
        found = judge_twin(experiment, twins)
    elif experiment.recipe.reported or HELD_OUT in version.manifest["metadata"]:
        found = judge_withheld(version)
    else:
        found = judge_trial(experiment, path, trial, progress)
    settings, recipe = experiment.settings, experiment.recipe
    return write_gate_report(
        gates_folder(version),
        found.results,
        scores=found.scores,
        explained=found.explained,
        title=f"Gates of {version.name}, version {version.version}",
        provenance={
            "weights sha256": version.sha256,
            "model version": version.path.name,
            **found.provenance,
            "members": str(settings.members),
            unit_label(
                "observation error sd", "" if recipe.channels else recipe.variable.units
            ): str(np.float32(recipe.error_sd)),
            "code version": vardax_core.__version__,
            "seed of the training": str(settings.training.seed),
        },
    )
