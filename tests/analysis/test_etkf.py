"""What is particular to the ensemble transform Kalman filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.transform import mean_preserving_rotation

MEAN = jnp.zeros(lg.STATE_SHAPE)


@pytest.mark.parametrize("members", [2, 3, 7, 24])
def test_the_rotation_is_orthogonal_and_keeps_the_mean(members, key):
    rotation = mean_preserving_rotation(members, jnp.zeros(()).dtype, key=key)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(members), atol=1e-13)
    np.testing.assert_allclose(rotation @ np.ones(members), np.ones(members), atol=1e-13)


def test_rotations_are_spread_evenly(key):
    """Of three members, the plane orthogonal to the mean turns by a uniform angle or mirror:
    the average over many rotations is the projection on the mean, and both signs of the
    determinant come up."""
    keys = jax.random.split(key, 4000)
    rotations = jax.vmap(lambda k: mean_preserving_rotation(3, jnp.zeros(()).dtype, key=k))(keys)
    np.testing.assert_allclose(jnp.mean(rotations, axis=0), np.full((3, 3), 1 / 3), atol=0.05)
    share = float(jnp.mean(jnp.linalg.det(rotations) > 0))
    assert 0.45 < share < 0.55


def test_one_observation_of_one_variable_by_hand(key):
    """Background variance 2, error variance 1, innovation 3: mean + 2, variance 2 / 3."""
    ensemble = lg.exact_ensemble(MEAN, np.diag([2.0, 1, 1, 1, 1, 1]), 12)
    mask = jnp.array([True, False, False, False])
    window = lg.window(jnp.array([3.0, 0, 0, 0]), mask=mask, error_sd=jnp.ones(4))
    analysis = ETKF(lg.operator())(ensemble, window, key=key)
    np.testing.assert_allclose(analysis.mean.ravel(), [2.0, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(analysis.spread.ravel() ** 2, [2 / 3, 1, 1, 1, 1, 1], rtol=1e-12)
    signal = analysis.diagnostics["degrees_of_freedom_for_signal"]
    assert float(signal) == pytest.approx(2 / 3)


def test_inflation_scales_the_anomalies_and_nothing_else(key):
    ensemble = lg.exact_ensemble(MEAN, lg.background_covariance().matrix, 12)
    window = lg.window(jnp.array([1.0, 2, 3, 4]))
    plain = ETKF(lg.operator(), rotate=False)(ensemble, window, key=key)
    inflated = ETKF(lg.operator(), inflation=1.5, rotate=False)(ensemble, window, key=key)
    np.testing.assert_allclose(inflated.mean, plain.mean, atol=1e-13)
    np.testing.assert_allclose(inflated.spread, 1.5 * plain.spread, rtol=1e-12)


@pytest.mark.parametrize("inflation", [0.0, -1.0, float("nan")])
def test_inflation_must_be_positive(inflation):
    with pytest.raises(ValueError, match="inflation must be positive"):
        ETKF(lg.operator(), inflation=inflation)
