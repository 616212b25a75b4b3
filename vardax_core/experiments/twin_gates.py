"""The gates of a twin's analysis, on twins that its training never met."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.gates.base import run_gates
from vardax_core.calibration.gates.context import collect
from vardax_core.calibration.gates.nulls import Tolerance
from vardax_core.calibration.gates.operators import AdjointGate, Analyse, derivatives
from vardax_core.calibration.gates.report import Judgement
from vardax_core.calibration.gates.sets import gates_for
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.ingest import SIMULATED
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.fallback import FallbackPlan, trial_record, try_fallbacks
from vardax_core.experiments.held_out import HeldOut, HeldOutPlan, pair_scores, twin_pairs
from vardax_core.experiments.learning import prepare_method
from vardax_core.experiments.prepared import experiment_key
from vardax_core.experiments.problem import prior_of
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.training.observing import FixedNetwork

FORGIVEN = Tolerance(bias=0.1, spread=1.1, laid_out=True)
"""Faults of the analysis in a cycle that do not keep it from work."""

MODEL_ERROR = 0.25
"""Largest tendency that the forecast lacks in the trial of the fallbacks, over the usual one."""
CHANGES = 256
"""States of the climate from which the usual tendency is taken."""


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


def typical_change(model: AbstractForecastModel, climatology: Climatology) -> float:
    """Find the root mean square change of a state over one step of a model, from its climate."""
    key, time = jax.random.key(0), jnp.zeros((), jnp.int32)
    none = jnp.zeros((CHANGES, *model.state_shape), climatology.mean.dtype)
    states = climatology.forecast(none, time, key=key)
    ahead = jax.jit(lambda x: model.forecast(x, time, key=key))(states)
    return float(jnp.sqrt(jnp.mean((ahead - states) ** 2)))


def judge_twin(experiment: Experiment, plan: HeldOutPlan | None = None) -> Judgement:
    """Run the gates on pairs from the cycle of a trained analysis.

    Arguments:
        plan: how they are made; by default as is usual for a state of that size.
    """
    settings, recipe, method = experiment.settings, experiment.recipe, experiment.settings.analysis
    prior = prior_of(recipe)
    prepared = prepare_method(
        recipe, settings, experiment.registry, simulated_grid(recipe), data=SIMULATED
    )
    if plan is None:
        plan = HeldOutPlan.usual(math.prod(prepared.climatology.state_shape))
    key = cycle_key(experiment_key(settings.training.seed), 0, Purpose.VALIDATION)
    pair_key, rank_key, adjoint_key = jax.random.split(key, 3)
    trial_key = jax.random.fold_in(key, 3)
    held_out = twin_pairs(
        prepared.program,
        prepared.climatology,
        recipe.error_sd,
        plan._replace(members=settings.members),
        key=pair_key,
    )
    context = collect([held_out.pairs], key=rank_key, strata=held_out.strata)
    gates = gates_for(context, FORGIVEN)
    reference = method.reference(prepared.program.step)
    if reference is not None:
        gates = (*gates, adjoint_gate(prepared.program.step, reference, held_out, key=adjoint_key))
    record = {}
    if fallbacks := method.fallbacks(prior):
        trial = try_fallbacks(
            prepared.program,
            fallbacks,
            prepared.climatology,
            FixedNetwork(recipe.error_sd),
            MODEL_ERROR * typical_change(prior.model, prepared.climatology),
            FallbackPlan(
                streams=max(2, plan.streams // 4),
                settle=plan.settle // 2,
                cycles=plan.per_stream * plan.gap // 2,
                members=settings.members,
            ),
            key=trial_key,
        )
        record = {
            "trial of fallbacks": "cycles in which another method steps in for analyses that are "
            "not trusted; the one named as fallback was best, none: they stay as they are",
            "model error there": f"a constant tendency of up to {100 * MODEL_ERROR:g} % of the "
            "usual one, in half of the twins",
            **trial_record(trial),
        }
    return Judgement(
        run_gates(gates, context),
        pair_scores(held_out.pairs),
        {
            "cases": f"{context.n} of {plan.streams} independent twins, {plan.gap} cycles apart",
            "forgiven": f"a bias of {FORGIVEN.bias:g} of the spread, and a spread that is "
            f"{FORGIVEN.spread:g} times too large or too small",
            **record,
        },
    )
