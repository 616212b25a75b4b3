"""The amortized posterior in the cycle, with every head."""

import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.methods import runs
from tests.methods.test_persistence import damped_recipe
from vardax_core.analysis.amortized.background_encoder import BesideBackground
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder
from vardax_core.data import load_recipe
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.posterior import learning
from vardax_core.methods.posterior.shape import PosteriorShape, posterior_like, untrained
from vardax_core.methods.registry import method_of
from vardax_core.types import Batch1D

HEADS = ("regression", "low-rank", "flow", "score")
SLOW_TO_COMPILE = ("flow", "score")


@pytest.fixture(autouse=True)
def _few_cycles(monkeypatch):
    monkeypatch.setattr(learning, "STREAMS", 24)
    monkeypatch.setattr(learning, "CYCLES", 24)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(head, marks=pytest.mark.ladder if head in SLOW_TO_COMPILE else ())
        for head in HEADS
    ],
)
def test_it_is_trained_and_cycled_with_every_head(head, tmp_path):
    """After next to no training it is about a regression on observations and background, which
    errs by less than the climate's standard deviation of 3.6."""
    made = runs.recipe(cycles=16, size=6)
    experiment = runs.experiment(tmp_path, made, "posterior", steps=30, head=head, width=16)
    found = runs.run(experiment)
    assert np.isfinite(found["rmse"]).all()
    assert runs.rmse(found) < 3.0
    metadata = experiment.trained_version(None).manifest["metadata"]
    assert metadata["loss_curve"][-1][0] == 30
    assert 0 < runs.judged_scores(experiment)["rmse"] < 3.0


@pytest.mark.ladder
def test_an_encoder_can_be_chosen(tmp_path):
    made = runs.recipe(cycles=13, size=6, times=2)
    found = runs.cycle(tmp_path, made, "posterior", steps=30, encoder="mlp", width=16)
    assert np.isfinite(found["rmse"]).all()


@pytest.mark.ladder
def test_where_all_is_linear_and_gaussian_it_is_nearly_the_kalman_filter(tmp_path):
    """The truth is damped persistence, for which the method `persistence` is the exact filter."""
    made = damped_recipe()
    exact = runs.rmse(runs.cycle(tmp_path / "exact", made, "persistence"))
    found = runs.cycle(tmp_path / "found", made, "posterior", steps=600, head="regression")
    assert runs.rmse(found) < 1.1 * exact
    settled = found.isel(time=slice(runs.SETTLED, None))
    ratio = float(np.sqrt(settled["variance"].sum() / settled["squared_error"].sum()))
    assert 0.75 < ratio < 1.33


@pytest.mark.slow
def test_pairs_are_of_cold_starts_and_of_settled_cycles():
    made = runs.recipe(size=6)
    problem = problem_of(made, prior_of(made), simulated_grid(made), 8)
    step = finite_size_filter(problem.operator)
    seen, unseen = learning.pairs(problem, step, key=jax.random.key(0))
    cycles = learning.CYCLES
    assert seen.input.shape == ((learning.STREAMS - learning.VALIDATION) * cycles, 1, 6)
    assert unseen.target.shape == (learning.VALIDATION * cycles, 6)
    error = np.sqrt(np.mean((seen.background_mean - seen.target) ** 2, axis=1))
    error = error.reshape(-1, cycles).mean(axis=0)
    assert error[0] > 2 * error[-6:].mean()
    departure = np.asarray(seen.input[:, 0] - seen.target)
    assert np.std(departure) == pytest.approx(1.0, abs=0.05)


def test_the_background_stands_beside_the_observations():
    encoder = BesideBackground(IdentityObsEncoder())
    ones = jnp.ones((1, 2))
    context = encoder(3 * ones, ones, jnp.full((2, 2), 5.0), jnp.full((2, 2), 7.0))
    np.testing.assert_array_equal(context, [3, 3, 1, 1, 5, 5, 5, 5, 7, 7, 7, 7])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["identity", "mlp"])
def test_the_registrys_posterior_has_the_size_of_the_trained_one(head, encoder):
    shape = PosteriorShape(head, encoder, 8, 3, (5,))
    fresh = untrained(shape, key=jax.random.key(1))
    like = posterior_like(**shape.numbers)
    assert jax.tree.structure(like.encoder) == jax.tree.structure(fresh.encoder)
    assert all(
        leaf.dtype == jnp.float32
        for leaf in jax.tree.leaves(eqx.filter(like, eqx.is_inexact_array))
    )
    assert like.head.scaling.shift.shape == (5,)
    assert like.input_scaling.shift.shape == (1, 3)


@pytest.mark.parametrize(
    ("bounds", "written"),
    [((0.0, 1.0), [0.0, 1.0]), ((0.0, math.inf), [0.0, None]), (None, None)],
)
def test_a_density_that_knows_the_bounds_draws_nothing_outside(bounds, written):
    shape = PosteriorShape("flow", "identity", 8, 3, (5,), bounds)
    assert json.loads(json.dumps(shape.numbers)).get("bounds") == written
    posterior = posterior_like(**shape.numbers)
    fields = jnp.full((1, 5), 0.4, jnp.float32)
    window = jnp.ones((1, 1, 3), jnp.float32)
    batch = Batch1D(window, window, background_mean=fields, background_spread=0.1 * fields)
    draws = np.asarray(posterior.sample(batch, jax.random.key(2), 500))
    low, high = bounds or (-math.inf, math.inf)
    assert draws.min() >= low
    assert draws.max() <= high
    assert (bounds is None) == (draws.min() < 0)


@pytest.mark.slow
def test_bounds_are_a_setting_of_the_method(tmp_path):
    """Bounds that the truth never comes near: the state is as good, and all members are inside."""
    made = runs.recipe(cycles=16, size=6)
    found = runs.cycle(
        tmp_path, made, "posterior", steps=30, head="regression", width=16, bounded=True
    )
    assert np.isfinite(found["rmse"]).all()
    assert runs.rmse(found) < 3.0


def test_fields_alone_are_refused():
    lack = method_of("posterior").lacks(prior_of(load_recipe("era5-t2m-uk")))
    assert lack is not None
    assert "a model that simulates" in lack
