"""The fixed-lag smoother against the smoother that is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.smoother import FixedLagSmoother
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

N, MEMBERS = 3, 12


@pytest.fixture
def forecast(key):
    """A rotating, growing linear model and an ensemble that spans its state."""
    model_key, start_key = jax.random.split(key)
    turn = jnp.linalg.qr(jax.random.normal(model_key, (N, N)))[0]
    return 1.1 * turn, 2 * jax.random.normal(start_key, (MEMBERS, N))


def analysed(ensemble, values, key):
    one = jnp.ones((1, N))
    window = Observations(values[None], one > 0, one, jnp.zeros(1, jnp.int32))
    return ETKF(Identity((N,)))(ensemble, window, key=key).ensemble


@pytest.mark.slow
def test_it_is_the_rauch_tung_striebel_smoother(forecast, key):
    """Mean and covariance of the first state given three later observations."""
    matrix, ensemble = forecast
    smoother = FixedLagSmoother(lag=3, ridge=1e-12)
    values = jax.random.normal(key, (3, N))
    mean, covariance = np.mean(ensemble, axis=0), np.cov(ensemble.T)
    # In the space of the first state the later observations are of H = M^k, with R = I.
    precision, information = np.linalg.inv(covariance), np.linalg.solve(covariance, mean)
    history = smoother.init(ensemble)
    for k in range(3):
        background = history[0] @ matrix.T
        analysis = analysed(background, values[k], jax.random.fold_in(key, k))
        history = smoother.update(history, background, analysis)
        power = np.linalg.matrix_power(matrix, k + 1)
        precision, information = precision + power.T @ power, information + power.T @ values[k]
    exact = np.linalg.inv(precision)
    np.testing.assert_allclose(np.mean(history[3], axis=0), exact @ information, atol=1e-6)
    np.testing.assert_allclose(np.cov(history[3].T), exact, atol=1e-6)


def test_without_a_change_the_past_stays_bit_for_bit(forecast):
    _, ensemble = forecast
    smoother = FixedLagSmoother(lag=2)
    history = smoother.update(smoother.init(ensemble), ensemble, ensemble)
    assert np.array_equal(history, smoother.init(ensemble))


def test_members_without_spread_change_nothing_and_stay_finite(forecast):
    _, ensemble = forecast
    smoother = FixedLagSmoother(lag=1)
    equal = jnp.ones((MEMBERS, N))
    history = smoother.update(smoother.init(ensemble), equal, equal + 1.0)
    assert np.array_equal(history[1], ensemble)
    assert np.array_equal(history[0], equal + 1.0)


@pytest.mark.parametrize("wrong", [{"lag": 0}, {"lag": 2, "ridge": 0.0}])
def test_a_lag_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="lag must be >= 1 and ridge > 0"):
        FixedLagSmoother(**wrong)
