"""Impacts of observations: exact where a Kalman filter is, and tapered to nothing out of reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.impact import observation_impact
from vardax_core.observations.linear import LinearMatrix
from vardax_core.types import Observations

N, M, P = 6, 9, 4


def linear_case(key):
    """A square-root filter whose members a linear model forecasts."""
    keys = jax.random.split(key, 6)
    background = jax.random.normal(keys[0], (M, N))
    matrix = jax.random.normal(keys[1], (P, N))
    forecast = jax.random.normal(keys[2], (N, N))
    error_sd = jnp.linspace(0.5, 1.5, P)
    values = jax.random.normal(keys[3], (P,))
    window = Observations.from_values(values[None], error_sd[None], jnp.zeros(1, jnp.int32))
    step = ETKF(LinearMatrix(matrix, (N,)), 1.0)
    analysis = step(background, window, key=keys[4]).ensemble
    innovation = values - matrix @ background.mean(axis=0)
    verifying = jax.random.normal(keys[5], (N,))
    errors = [x.mean(axis=0) @ forecast.T - verifying for x in (analysis, background)]
    return analysis, matrix, innovation, error_sd, analysis @ forecast.T, errors


@pytest.mark.slow
def test_impacts_of_a_linear_filter_sum_to_what_the_forecast_gained():
    for seed in range(3):
        analysis, matrix, innovation, sd, later, errors = linear_case(jax.random.key(seed))
        weights = jnp.linspace(0.1, 1.0, N)
        found = observation_impact(
            analysis @ matrix.T, innovation, sd, later, errors[0] + errors[1], weights
        )
        change = jnp.sum(weights * (errors[0] ** 2 - errors[1] ** 2))
        np.testing.assert_allclose(found.sum(), change, rtol=1e-9)
        none = observation_impact(
            analysis @ matrix.T, innovation.at[0].set(0), sd, later, errors[0] + errors[1], weights
        )
        assert none[0] == 0
        np.testing.assert_array_equal(none[1:], found[1:])


def test_a_taper_of_ones_is_none_and_one_of_zeros_takes_everything():
    analysis, matrix, innovation, sd, later, errors = linear_case(jax.random.key(7))
    given = (analysis @ matrix.T, innovation, sd, later, errors[0] + errors[1], jnp.ones(N))
    whole = observation_impact(*given)
    np.testing.assert_allclose(observation_impact(*given, jnp.ones((P, N))), whole, rtol=1e-9)
    halves = [observation_impact(*given, jnp.zeros((P, N)).at[:, part].set(1.0))
              for part in (slice(0, 3), slice(3, None))]  # fmt: skip
    np.testing.assert_allclose(halves[0] + halves[1], whole, rtol=1e-9)
    assert not observation_impact(*given, jnp.zeros((P, N))).any()
