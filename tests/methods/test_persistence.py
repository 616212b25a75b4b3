"""Damped persistence: how fast a state is forgotten, and what that leaves to be interpolated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.methods import runs
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.problem import prior_of
from vardax_core.methods.persistence import (
    autocorrelation,
    met_covariance,
    settled_covariance,
    truths,
)
from vardax_core.models.climatology import Climatology
from vardax_core.models.persistence import DampedPersistence

KEPT = 0.8


def damped_recipe(correlation=KEPT, **changes):
    """A truth that is damped persistence itself."""
    values = runs.recipe(**changes).model_dump(mode="json")
    source = {k: values["source"][k] for k in ("kind", "step_interval", "spin_up_steps", "seed")}
    values["source"] = {
        **source,
        "model": "damped-persistence",
        "size": 12,
        "correlation": correlation,
        "sd": 2.0,
    }
    values["cycle_interval"] = "PT12H"
    values["period"]["end"] = "2000-01-16T00:00:00Z"
    return validate_recipe(values, "here")


def fine_recipe():
    """A Lorenz-96 ring that is analysed every 90 minutes."""
    values = runs.recipe(cycles=20, times=2).model_dump(mode="json")
    values |= {"cycle_interval": "PT1H30M", "window": {"times": 1, "spacing": "PT1H30M"}}
    return validate_recipe(values, "here")


def test_damped_persistence_keeps_its_climate(key):
    """Over 4000 members, whose sample variance errs by sqrt(2 / 4000) of it, 2.2 %."""
    root = jax.random.normal(key, (3, 3))
    climate = Climatology(jnp.array([[1.0, -2.0, 0.5]]), root, 60, (3,))
    model = DampedPersistence(climate, jnp.asarray(0.7), 60)
    time = jnp.zeros((), jnp.int32)
    drawn = climate.forecast(jnp.zeros((4000, 3)), time, key=key)
    later = model.forecast(drawn, time, key=jax.random.fold_in(key, 1))
    expected = np.asarray(root @ root.T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(np.cov(later.T) - expected).max() < 0.1 * scale.max()
    lagged = np.cov(drawn.T, later.T)[:3, 3:]
    assert np.abs(lagged - 0.7 * expected).max() < 0.1 * scale.max()


def test_the_autocorrelation_of_a_known_truth_is_found():
    """0.8 over a step is 0.64 over a cycle of two; 256 states of 12 points err by about 0.01."""
    prior = prior_of(damped_recipe())
    assert autocorrelation(truths(prior, 360)) == pytest.approx(KEPT, abs=0.02)
    assert autocorrelation(truths(prior, 720)) == pytest.approx(KEPT**2, abs=0.02)


def test_the_filters_own_covariance_is_kept_where_it_is_right():
    anomalies = truths(prior_of(damped_recipe()), 720)
    stations = np.arange(0, 12, 2)
    own = settled_covariance(4 * np.eye(12), KEPT**2, stations, 1.0)
    met = met_covariance(own, KEPT**2, stations, 1.0, anomalies)
    np.testing.assert_allclose(met, own, rtol=0.05, atol=1e-12)


def test_a_state_that_goes_on_as_it_began_is_believed_less():
    """A ring of Lorenz-96, seen every 90 minutes, moves on as it moved before: errors of a filter
    that expects it to forget are larger than it thinks."""
    made = fine_recipe()
    prior, stations = prior_of(made), np.arange(12)
    anomalies = truths(prior, 90)
    kept = autocorrelation(anomalies)
    own = settled_covariance(np.asarray(prior.covariance, float), kept, stations, 1.0)
    met = met_covariance(own, kept, stations, 1.0, anomalies)
    assert np.trace(met) > 1.5 * np.trace(own)


def test_the_background_covariance_is_that_of_the_settled_kalman_filter():
    """One point: b solves b = a^2 b r / (b + r) + (1 - a^2) c, a quadratic."""
    a, c, r = 0.9, 4.0, 1.0
    found = settled_covariance(np.array([[c]]), a, np.array([0]), r**0.5)[0, 0]
    lost = (1 - a**2) * c
    half = (r - a**2 * r - lost) / 2
    assert found == pytest.approx(-half + np.sqrt(half**2 + lost * r), rel=1e-3)


def test_what_is_not_observed_keeps_the_covariance_of_the_climate():
    covariance = np.diag([1.0, 2.0, 3.0])
    found = settled_covariance(covariance, 0.9, np.array([0]), 0.5)
    np.testing.assert_allclose(found[1:, 1:], covariance[1:, 1:], atol=1e-12)
    assert found[0, 0] < 1.0


@pytest.mark.ladder
def test_it_is_calibrated_where_the_truth_is_damped_persistence(tmp_path):
    """The filter is then exact; 19 scored cycles of 12 points, correlated in time over two."""
    found = runs.cycle(tmp_path, damped_recipe(), "persistence").isel(
        time=slice(runs.SETTLED, None)
    )
    ratio = float(np.sqrt(found["variance"].sum() / found["squared_error"].sum()))
    assert 0.75 < ratio < 1.33


@pytest.mark.ladder
def test_remembering_is_worth_more_than_the_climatology(tmp_path):
    made = fine_recipe()
    interpolated = runs.cycle(tmp_path / "oi", made, "oi")
    found = runs.cycle(tmp_path / "persistence", made, "persistence")
    assert runs.rmse(found) < 0.95 * runs.rmse(interpolated)
