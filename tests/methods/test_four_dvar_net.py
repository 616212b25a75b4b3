"""4DVarNet in the cycle: the window alone, reconstructed by what was learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.methods import runs
from vardax_core.analysis.amortized.step import PosteriorAnalysisStep, last_rows
from vardax_core.analysis.variational.four_dvar_net import last_row
from vardax_core.data import load_recipe
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.methods import four_dvar_net
from vardax_core.methods.four_dvar_net import NetShape, Windows, nature_runs, network_like
from vardax_core.methods.registry import method_of
from vardax_core.observations.operators import PointSampling
from vardax_core.training.observing import FixedNetwork
from vardax_core.types import Observations

SMALL = {"hidden": 8, "iterations": 4}


@pytest.fixture(autouse=True)
def _few_runs(monkeypatch):
    monkeypatch.setattr(four_dvar_net, "RUNS", 8)
    monkeypatch.setattr(four_dvar_net, "SPIN_UP", 400)


@pytest.mark.ladder
def test_it_is_trained_and_cycled(tmp_path):
    """Better than the observations, whose error is 1, after a short training; the gates see the
    last row alone, and their error may be the climate's half of 3.6."""
    made = runs.recipe(cycles=24, times=3, size=8)
    experiment = runs.experiment(tmp_path, made, "4dvarnet", steps=600, **SMALL)
    found = runs.run(experiment)
    assert np.isfinite(found["rmse"]).all()
    assert runs.rmse(found) < 1.0
    assert 0 < runs.judged_scores(experiment)["rmse"] < 1.8


def test_windows_are_observed_as_the_network_observes():
    truth = jax.random.normal(jax.random.key(0), (3, 20, 5))
    windows = Windows(truth, jnp.array([0, 2, 3]), FixedNetwork(0.5), window=4, size=400)
    batch = windows(jax.random.key(1))
    seen = np.asarray(batch.mask)
    assert not seen[:, :, [1, 4]].any()
    assert seen[:, -1, [0, 2, 3]].all()
    complete = seen[:, :, 0].all(axis=1)
    np.testing.assert_array_equal(seen[:, 0, 0] > 0, complete)
    # A share of 1/4 of 400, within 4.5 standard deviations.
    assert abs(complete.mean() - 0.75) < 4.5 * np.sqrt(0.25 * 0.75 / 400)
    errors = np.asarray(batch.input - batch.target)[seen > 0]
    assert np.std(errors) == pytest.approx(0.5, rel=0.05)
    assert not np.asarray(batch.input)[seen == 0].any()
    rows = {tuple(row) for run in np.asarray(truth) for row in run}
    assert all(tuple(row) in rows for row in np.asarray(batch.target[0]))


def test_rows_of_a_nature_run_are_observation_times():
    made = runs.recipe(times=2, size=6)
    problem = problem_of(made, prior_of(made), simulated_grid(made), 4)
    states = nature_runs(problem, key=jax.random.key(0))
    assert states.shape == (four_dvar_net.RUNS, four_dvar_net.ROWS, 6)
    again = problem.prior.model.step(states[0, 5], jnp.zeros((), jnp.int32), key=jax.random.key(0))
    np.testing.assert_allclose(again, states[0, 6], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_window_of_too_few_rows_is_one_whose_first_rows_are_not_observed(key):
    posterior = network_like(**NetShape(3, 8, 4, 2)._asdict())
    operator = PointSampling(jnp.arange(0, 8, 2), (8,))
    step = PosteriorAnalysisStep(last_row(posterior), operator, on_grid=True, rows=3)
    background = jax.random.normal(key, (5, 8), jnp.float32)
    values = jax.random.normal(jax.random.key(4), (3, 4), jnp.float32)
    whole = Observations.from_values(
        values.at[:2].set(jnp.nan), jnp.ones_like(values), jnp.arange(3, dtype=jnp.int32)
    )
    expected = step(background, whole, key=key)
    found = step(background, whole.at_analysis_time(), key=key)
    np.testing.assert_array_equal(found.ensemble, expected.ensemble)
    longer = jax.tree.map(lambda x: jnp.concatenate([x, x]), whole)
    np.testing.assert_array_equal(step(background, longer, key=key).mean, expected.mean)
    assert last_rows(whole, 1).values.shape == (1, 4)


def test_what_it_lacks_is_said():
    method = method_of("4dvarnet")
    assert "two observation times or more" in method.lacks(prior_of(runs.recipe()))
    assert "nature runs" in method.lacks(prior_of(load_recipe("era5-t2m-uk")))
    assert method.lacks(prior_of(runs.recipe(times=2))) is None
