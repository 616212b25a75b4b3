"""What the network of a transform on a ring corrects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.methods import runs
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.inflation import Inflated
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.methods.amortized import first_guess as module
from vardax_core.methods.amortized.first_guess import (
    FINITE_SIZE,
    Guess,
    chosen_guess,
    first_guess,
    local_filter,
)
from vardax_core.training.tuning import AllLostError
from vardax_core.training.twin_cycles import TwinPlan
from vardax_core.types import Observations, ensemble_mean


def small_problem():
    recipe = runs.recipe()
    return problem_of(recipe, prior_of(recipe), simulated_grid(recipe), 8)


def window(problem, key):
    n = problem.operator.obs_size
    values = jax.random.normal(key, (1, n))
    return Observations(values, jnp.ones((1, n), bool), jnp.ones((1, n)), jnp.zeros(1, jnp.int32))


def test_what_is_corrected_is_what_was_chosen():
    problem = small_problem()
    local = Guess("letkf", 2.0, 1.1, 0.3).numbers()
    for kind in ("best", "letkf"):
        step = first_guess(problem, kind, local)
        assert isinstance(step, LETKF)
        assert step.inflation == 1.1
    finite = Guess("filter", rmse=0.3)
    assert "finite-size" in finite.words
    assert isinstance(first_guess(problem, "best", finite.numbers()), FiniteSizeETKF)
    assert isinstance(first_guess(problem, "filter", None), FiniteSizeETKF)
    for kind, found in (("none", None), ("best", Guess("none").numbers())):
        assert first_guess(problem, kind, found) is None


def test_weights_of_before_there_was_a_choice_correct_what_they_did():
    """Nothing was recorded of the finite-size filter, and of a local one no kind."""
    problem = small_problem()
    assert isinstance(first_guess(problem, "best", None), FiniteSizeETKF)
    step = first_guess(problem, "letkf", {"radius": 2.0, "inflation": 1.1, "rmse": 0.3})
    assert isinstance(step, LETKF)


def test_an_inflation_that_is_looked_for_is_that_of_the_filter(key):
    """A factor outside of the filter does what its own does."""
    problem = small_problem()
    background = jax.random.normal(key, (8, 12))
    outside = Inflated(local_filter(problem, 2.0, 1.0), jnp.asarray(1.2))
    inside = local_filter(problem, 2.0, 1.2)
    found = [step(background, window(problem, key), key=key) for step in (outside, inside)]
    np.testing.assert_allclose(found[0].ensemble, found[1].ensemble, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[0].spread, found[1].spread, rtol=1e-10)
    mean = ensemble_mean(found[0].ensemble)
    np.testing.assert_allclose(mean, found[0].mean, rtol=1e-10, atol=1e-12)


def test_nothing_is_corrected_where_every_filter_loses_its_truth(monkeypatch, key):
    problem = small_problem()
    lost = lambda *_, **__: jnp.full((2, 3), jnp.nan)  # noqa: E731
    monkeypatch.setattr(module, "errors_of_cycles", lost)
    assert chosen_guess(problem, "best", 1.0, key=key).kind == "none"
    with pytest.raises(AllLostError, match="every one loses its truth"):
        chosen_guess(problem, "letkf", 1.0, key=key)


@pytest.mark.slow
def test_a_filter_with_room_for_more_observations_is_the_same(key):
    problem = small_problem()
    own, wide = local_filter(problem, 1.5, 1.0), local_filter(problem, 4.0, 1.0)
    padded = module._as_wide(own, wide)
    assert padded.network.indices.shape == wide.network.indices.shape
    background = jax.random.normal(key, (8, 12))
    found = [step(background, window(problem, key), key=key) for step in (own, padded)]
    np.testing.assert_allclose(found[0].ensemble, found[1].ensemble, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("members", [4, 24])
def test_the_best_of_all_is_the_local_filter_where_members_are_few(monkeypatch, key, members):
    """A global filter of four members loses forty variables; of 24 it is the better one."""
    monkeypatch.setattr(module, "ROUNDS", (TwinPlan(4, 120, 60), TwinPlan(4, 200, 100)))
    recipe = runs.recipe(size=40)
    problem = problem_of(recipe, prior_of(recipe), simulated_grid(recipe), members)
    found = chosen_guess(problem, "best", 1.0, key=key)
    assert found.kind == ("letkf" if members == 4 else "filter")


@pytest.mark.slow
def test_the_candidate_that_errs_least_is_found(monkeypatch, key):
    """Each candidate is measured on the same truths, and the best of the last round is taken."""
    monkeypatch.setattr(module, "ROUNDS", (TwinPlan(2, 40, 20), TwinPlan(2, 60, 20)))
    problem, said = small_problem(), {}
    choose = module.choose

    def watched(candidates, errors, climate_sd):
        best = choose(candidates, errors, climate_sd, say=lambda text: said.update({text: 0}))
        said["best"] = best
        return best

    monkeypatch.setattr(module, "choose", watched)
    found = chosen_guess(problem, "best", 1.0, key=key)
    best = said["best"]
    local = f"radius {found.radius:g}, inflation {found.inflation:g}" if found.radius else ""
    assert best.name == (local or FINITE_SIZE)
    assert found.rmse == best.score
    assert found.rmse < 1.0
    assert len(said) == 26 + 4 + 1
    assert (f"radius {found.radius:g}" if found.radius else "finite-size") in found.words
    # Twelve points, eight members: no inflation at all loses them or is worse than the best.
    worst = max(v for name, v in best.scores.items() if name.endswith("inflation 1"))
    assert found.rmse < worst


@pytest.mark.slow
def test_a_network_corrects_the_filter_that_was_tuned_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ROUNDS", (TwinPlan(2, 40, 20), TwinPlan(2, 60, 20)))
    made = runs.experiment(
        tmp_path, runs.recipe(cycles=40), "amortized", members=8, steps=40, first_guess="letkf"
    )
    found = runs.run(made)
    assert np.isfinite(found["rmse"]).all()
    kept = made.trained_version(None).manifest["metadata"]["first_guess"]
    step = made.prepare(made.open_store()).program.step
    assert isinstance(step.first_guess, LETKF)
    assert step.first_guess.inflation == kept["inflation"]
    problem = problem_of(made.recipe, prior_of(made.recipe), simulated_grid(made.recipe), 8)
    expected = local_filter(problem, kept["radius"], kept["inflation"])
    # The experiment is in single precision.
    np.testing.assert_allclose(
        step.first_guess.network.weights, expected.network.weights, rtol=1e-6, atol=1e-7
    )
