"""The gates of a twin's analysis: its own passes, one that is too sure of itself does not."""

from dataclasses import replace

import equinox as eqx
import jax
import pytest

from tests.experiments import small
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.gates.base import run_gates
from vardax_core.calibration.gates.context import collect
from vardax_core.calibration.gates.sets import gates_for
from vardax_core.data.ingest import SIMULATED
from vardax_core.data.space import simulated_grid
from vardax_core.experiments import validation
from vardax_core.experiments.held_out import HeldOutPlan, twin_pairs
from vardax_core.experiments.learning import prepare_method
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.twin_gates import FORGIVEN, adjoint_gate
from vardax_core.observations.operators import Identity
from vardax_core.training.promotion import UnprovenModelError, require_proven
from vardax_core.training.registry import ModelNotFoundError, ModelRegistry

PLAN = HeldOutPlan(streams=40, per_stream=3, settle=40, gap=20, members=12)


class Sure(AbstractAnalysisStep):
    """A method that takes observations for twice as good as they are."""

    operator: Identity
    inner: AbstractAnalysisStep

    def analyse(self, background, observations, *, key):
        halved = eqx.tree_at(lambda o: o.error_sd, observations, observations.error_sd / 2)
        return self.inner.analyse(background, halved, key=key)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    recipe = small.recipe()
    settings = ExperimentSettings(method="etkf", members=12)
    registry = ModelRegistry(tmp_path_factory.mktemp("models"))
    return prepare_method(recipe, settings, registry, simulated_grid(recipe), data=SIMULATED)


def judged(made, program, seed=0):
    key = jax.random.key(seed)
    held_out = twin_pairs(program, made.climatology, 1.0, PLAN, key=key)
    context = collect([held_out.pairs], key=key, strata=held_out.strata)
    adjoint = adjoint_gate(program.step, made.program.step, held_out, key=key)
    return run_gates((*gates_for(context, FORGIVEN), adjoint), context)


@pytest.mark.slow
def test_a_filter_in_its_cycle_passes(made):
    assert all(result.passed for result in judged(made, made.program))


@pytest.mark.slow
def test_an_analysis_that_was_told_too_small_an_error_fails(made):
    inner = made.program.step
    program = replace(made.program, step=Sure(inner.operator, inner))
    results = {r.name: r for r in judged(made, program)}
    assert not results["coordinates"].passed
    assert not results["adjoint"].passed
    assert "narrow" in results["coordinates"].message


@pytest.mark.slow
def test_the_report_of_an_experiment_lies_beside_its_weights(trained_root):
    made = small.experiment_of(trained_root, "amortized")
    version = validation.trained(made)
    with pytest.raises(UnprovenModelError, match="no gate report"):
        require_proven(made.registry, version)
    report = validation.validate(made, twins=small.FEW_TWINS)
    assert report.path.parent.parent == version.path
    assert version.sha256 in report.markdown.read_text()
    if report.passed:
        require_proven(made.registry, version)


def test_only_weights_that_can_be_tested_are_gated(tmp_path):
    assert validation.is_gated(small.experiment_of(tmp_path, "amortized"))
    classical = small.experiment_of(tmp_path, "etkf")
    assert not validation.is_gated(classical)
    with pytest.raises(ValueError, match="champion"):
        validation.trained_name(classical)
    with pytest.raises(ModelNotFoundError, match="vardax train"):
        validation.validate(small.experiment_of(tmp_path, "amortized"))
