"""The gates of an experiment's trained analysis, on twins that its training never met."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

import vardax_core
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.gates.base import run_gates
from vardax_core.calibration.gates.context import collect
from vardax_core.calibration.gates.nulls import Tolerance
from vardax_core.calibration.gates.operators import AdjointGate, Analyse, derivatives
from vardax_core.calibration.gates.report import GateReport, write_gate_report
from vardax_core.calibration.gates.sets import gates_for
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.experiments import twin
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.held_out import HeldOut, HeldOutPlan, pair_scores, twin_pairs
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.settings import Method
from vardax_core.observations.operators import Identity
from vardax_core.store import ExperimentStore
from vardax_core.training.promotion import gates_folder, require_proven
from vardax_core.training.registry import ModelNotFoundError, ModelVersion

FORGIVEN = Tolerance(bias=0.1, spread=1.1)
"""Faults of the analysis in a cycle that do not keep it from work."""
PLAN = HeldOutPlan()


def is_gated(experiment: Experiment) -> bool:
    """Whether the experiment's method has weights that must pass gates before they cycle.

    Those of a twin are, since truths can be simulated for them; the statistics of a classical
    method and what was learned from a single period of real data are not.
    """
    return (
        experiment.settings.method is Method.AMORTIZED and experiment.recipe.source.kind == "twin"
    )


def trained_name(experiment: Experiment) -> str:
    """Name under which the registry holds the experiment's weights.

    Raises:
        ValueError: if they are not gated.
    """
    if not is_gated(experiment):
        raise ValueError(
            f"{experiment.name}: only the weights of an amortized analysis of a twin have a "
            "champion; choose such a data set."
        )
    return twin.model_name(experiment.recipe)


def trained(experiment: Experiment) -> ModelVersion:
    """The version that the experiment would cycle.

    Raises:
        ModelNotFoundError: if it was not trained yet.
    """
    version = experiment.trained_version(None)
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


def adjoint_gate(
    step: AbstractAnalysisStep,
    oracle: AbstractAnalysisStep,
    held_out: HeldOut,
    *,
    key: PRNGKeyArray,
) -> AdjointGate:
    """The gate on the derivative of the analysis mean by the observations at analysis time.

    Arguments:
        step: the analysis.
        oracle: what its derivative is compared with.
        held_out: backgrounds and observations of the analysis' own cycle.
        key: for analyses that draw, and for the starts of the power iterations.
    """

    def mean_of(analysis: AbstractAnalysisStep) -> Analyse:
        def mean(case: PyTree, values: Array) -> Array:
            background, window = case
            told = eqx.tree_at(lambda w: w.values, window, window.values.at[-1].set(values))
            return analysis(background, told, key=key).mean

        return mean

    cases = (held_out.backgrounds, held_out.windows)
    now = held_out.windows.values[:, -1]
    measured = derivatives(mean_of(step), mean_of(oracle), cases, now, key=key)
    return AdjointGate(measured=measured)


def validate(experiment: Experiment, plan: HeldOutPlan = PLAN) -> GateReport:
    """Run the gates on the experiment's weights and write the report beside them.

    Raises:
        ModelNotFoundError: if nothing was trained with these settings.
    """
    version = trained(experiment)
    settings, recipe = experiment.settings, experiment.recipe
    model = twin.forecast_model(recipe)
    prepared = twin.prepare(
        recipe, settings, experiment.registry, Identity(model.state_shape)
    ).in_precision(settings.precision)
    key = cycle_key(experiment_key(settings.training.seed), 0, Purpose.VALIDATION)
    pair_key, rank_key, adjoint_key = jax.random.split(key, 3)
    held_out = twin_pairs(
        prepared.program,
        prepared.climatology,
        recipe.observation.error_sd,
        plan._replace(members=settings.members),
        key=pair_key,
    )
    context = collect([held_out.pairs], key=rank_key, strata=held_out.strata)
    oracle = twin.ensemble_filter(prepared.program.step.operator, None)
    gates = (
        *gates_for(context, FORGIVEN),
        adjoint_gate(prepared.program.step, oracle, held_out, key=adjoint_key),
    )
    results = run_gates(gates, context)
    return write_gate_report(
        gates_folder(version),
        results,
        scores=pair_scores(held_out.pairs),
        title=f"Gates of {version.name}, version {version.version}",
        provenance={
            "weights sha256": version.sha256,
            "model version": version.path.name,
            "pairs": f"{context.n} of {plan.streams} independent twins, {plan.gap} cycles apart",
            "members": str(settings.members),
            "forgiven": f"bias {FORGIVEN.bias} sd, ratio of spreads {FORGIVEN.spread}",
            "observation error sd": str(np.float32(recipe.observation.error_sd)),
            "code version": vardax_core.__version__,
            "seed": str(settings.training.seed),
        },
    )
