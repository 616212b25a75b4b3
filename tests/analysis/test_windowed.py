"""A 4D-Var in a cycle: from the last analysis to the window, and to its end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.origin import Origin, needs_origin, with_origin
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.four_dvar import StrongFourDVar
from vardax_core.analysis.variational.minimisers import GaussNewtonCG, QuasiNewton
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.analysis.variational.windowed import WindowedFourDVar
from vardax_core.models.linear import LinearModel
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations, ResultCode

N, MEMBERS, STEPS, ROWS, PER_ROW = 5, 8, 7, 3, 2
SITES = np.array([0, 3])
H = np.eye(N)[SITES]
EVERYWHERE = (-np.inf, np.inf)
MATRIX = np.asarray(jax.random.normal(jax.random.key(3), (N, N))) / np.sqrt(N)
MODEL = LinearModel(matrix=jnp.asarray(MATRIX), state_shape=(N,), interval=60)
OPERATOR = PointSampling(indices=jnp.asarray(SITES), state_shape=(N,))
B, Q = (
    DenseCovariance.from_matrix(
        jnp.asarray(s * np.exp(-np.abs(np.subtract.outer(np.arange(N), np.arange(N))))), (N,)
    )
    for s in (1.0, 0.3)
)
CLOSE = QuasiNewton(tolerance=1e-10)
THREE_DVAR = eqx.filter_jit(ThreeDVar(OPERATOR, B, CLOSE))


def origin_of(model, steps=STEPS):
    ensemble = jax.random.normal(jax.random.key(1), (MEMBERS, *model.state_shape))
    return Origin(ensemble, jnp.zeros((), jnp.int32), jax.random.key(2), model, steps, EVERYWHERE)


def window(rows=ROWS, values=None):
    if values is None:
        values = jnp.linspace(-1.0, 2.0, rows * len(SITES)).reshape(rows, -1)
    times = MODEL.interval * (STEPS - PER_ROW * np.arange(rows)[::-1])
    return Observations.from_values(
        values, jnp.full_like(values, 0.5), jnp.asarray(times, jnp.int32)
    )


def step_of(name, model=MODEL):
    if name == "weak":
        return WeakFourDVar(OPERATOR, model, B, Q, steps_per_row=PER_ROW, minimiser=CLOSE)
    if name == "incremental":
        return StrongFourDVar(OPERATOR, model, B, steps_per_row=PER_ROW, minimiser=GaussNewtonCG())
    return StrongFourDVar(OPERATOR, model, B, steps_per_row=PER_ROW, minimiser=CLOSE)


@pytest.mark.parametrize("name", ["strong", "incremental", "weak"])
def test_it_is_the_kalman_filter_from_the_first_row_on(name, key):
    """The background at the first row is the forecast of the last analysis, with covariance B;
    then the rows are assimilated one after another by the filter's own formulas."""
    origin, observations = origin_of(MODEL), window()
    power = np.linalg.matrix_power
    mean = power(MATRIX, STEPS - PER_ROW * (ROWS - 1)) @ np.mean(origin.ensemble, axis=0)
    covariance = np.asarray(B.matrix)
    between = power(MATRIX, PER_ROW)
    for row in range(ROWS):
        if row:
            mean, covariance = between @ mean, between @ covariance @ between.T
            if name == "weak":
                covariance = covariance + np.asarray(Q.matrix)
        total = H @ covariance @ H.T + 0.25 * np.eye(len(SITES))
        gain = np.linalg.solve(total, H @ covariance).T
        mean = mean + gain @ (np.asarray(observations.values[row]) - H @ mean)
        covariance = covariance - gain @ H @ covariance
    step = eqx.filter_jit(with_origin(WindowedFourDVar(step_of(name)), origin))
    background, _ = origin.forecast(origin.ensemble)
    analysis = step(background, observations, key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(analysis.mean, mean, atol=1e-6)
    np.testing.assert_allclose(analysis.spread**2, np.diag(covariance), atol=1e-6)
    np.testing.assert_allclose(jnp.mean(analysis.ensemble, 0), mean, atol=1e-6)


@pytest.mark.parametrize("name", ["strong", "incremental", "weak"])
def test_with_one_row_it_is_the_three_dvar_of_the_background(name, key):
    origin, observations = origin_of(MODEL), window(rows=1)
    background, _ = origin.forecast(origin.ensemble)
    step = eqx.filter_jit(with_origin(WindowedFourDVar(step_of(name)), origin))
    found = step(background, observations, key=key)
    expected = THREE_DVAR(background, observations, key=key)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(found.spread, expected.spread, atol=1e-6)


def test_it_is_given_its_origin_and_without_one_sees_the_last_row_alone(key):
    step, observations = WindowedFourDVar(step_of("strong")), window()
    assert needs_origin(step)
    background = origin_of(MODEL).ensemble
    expected = THREE_DVAR(background, observations, key=key)
    found = eqx.filter_jit(step)(background, observations, key=key)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)


@pytest.mark.slow
def test_without_an_observation_the_analysis_is_the_background(key):
    origin = origin_of(MODEL)
    background, _ = origin.forecast(origin.ensemble)
    observations = window(values=jnp.full((ROWS, len(SITES)), jnp.nan))
    found = with_origin(WindowedFourDVar(step_of("strong")), origin)(
        background, observations, key=key
    )
    assert int(found.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(found.ensemble, background)


def test_a_minimisation_that_fails_leaves_the_background_of_the_cycle(key):
    """The model of the window leaves what numbers can hold, as that of the cycle did not."""
    origin = origin_of(MODEL)
    background, _ = origin.forecast(origin.ensemble)
    wild = LinearModel(matrix=1e200 * jnp.eye(N), state_shape=(N,), interval=60)
    step = with_origin(WindowedFourDVar(step_of("strong", wild)), origin)
    found = step(background, window(), key=key)
    assert int(found.result) == ResultCode.NON_FINITE
    np.testing.assert_array_equal(found.ensemble, background)
    np.testing.assert_array_equal(found.mean, jnp.mean(background, axis=0))


def test_a_window_longer_than_the_cycle_is_refused(key):
    step = with_origin(WindowedFourDVar(step_of("strong")), origin_of(MODEL, steps=3))
    with pytest.raises(ValueError, match="a window of 4 model steps begins before the analysis"):
        step(origin_of(MODEL).ensemble, window(), key=key)
