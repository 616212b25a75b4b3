"""What is particular to the variational analyses: windows, nonlinearity, failure in words."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.four_dvar import StrongFourDVar
from vardax_core.analysis.variational.minimisers import (
    GaussNewtonCG,
    MinimiserEnd,
    QuasiNewton,
    explain,
)
from vardax_core.analysis.variational.posterior import exact_root, lanczos_root
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.models.linear import LinearModel
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.errors import AlongTrackErrorModel
from vardax_core.observations.nonlinear import square
from vardax_core.types import Observations, ResultCode

pytestmark = pytest.mark.ladder

ROWS = 4
MEAN = jnp.arange(6.0).reshape(lg.STATE_SHAPE)
PRECISE = QuasiNewton(tolerance=1e-10, max_iterations=300)


def dynamics():
    matrix = np.random.default_rng(11).normal(size=(6, 6))
    return 1.1 * np.linalg.qr(matrix)[0]


def model():
    return LinearModel(jnp.asarray(dynamics()), lg.STATE_SHAPE)


def model_error():
    return DenseCovariance.from_matrix(0.2 * jnp.eye(6), lg.STATE_SHAPE)


def rows_of_observations():
    rng = np.random.default_rng(12)
    mask = np.ones((ROWS, 4), bool)
    mask[1, 2] = mask[3, :] = False
    return Observations(
        values=jnp.asarray(rng.normal(size=(ROWS, 4))),
        mask=jnp.asarray(mask),
        error_sd=jnp.tile(lg.ERROR_SD[None], (ROWS, 1)),
        times=60 * jnp.arange(ROWS, dtype=jnp.int32),
    )


def kalman_over_rows(model_error_matrix):
    """Filter row by row; at the last row it is what a smoother over the window would give."""
    mean, matrix = np.asarray(MEAN).ravel(), np.asarray(lg.background_covariance().matrix)
    observations = rows_of_observations()
    for row in range(ROWS):
        if row:
            mean, matrix = dynamics() @ mean, dynamics() @ matrix @ dynamics().T
            matrix = matrix + model_error_matrix
        kept = np.asarray(observations.mask[row])
        mean, matrix = lg.kalman(
            mean, matrix, observations.values[row][kept], lg.ERROR_SD[kept], lg.H[kept]
        )
    return mean, matrix


STEPS = {
    "strong": lambda: StrongFourDVar(
        lg.operator(), model(), lg.background_covariance(), minimiser=PRECISE
    ),
    "incremental": lambda: StrongFourDVar(
        lg.operator(), model(), lg.background_covariance(), minimiser=GaussNewtonCG(tolerance=1e-12)
    ),
    "weak": lambda: WeakFourDVar(
        lg.operator(), model(), lg.background_covariance(), model_error(), minimiser=PRECISE
    ),
}


@functools.cache
def make(name):
    return eqx.filter_jit(STEPS[name]())


@functools.cache
def background():
    return lg.exact_ensemble(MEAN, lg.background_covariance().matrix, 500)


@pytest.mark.parametrize("name", STEPS)
def test_a_linear_window_ends_at_the_kalman_filter(name, key):
    error = 0.2 * np.eye(6) if name == "weak" else 0.0
    expected, covariance = kalman_over_rows(error)
    analysis = make(name)(background(), rows_of_observations(), key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-5)
    np.testing.assert_allclose(analysis.spread.ravel() ** 2, np.diag(covariance), atol=1e-8)
    sample = np.cov(np.asarray(analysis.ensemble).reshape(500, -1).T)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.max(np.abs(sample - covariance) / scale) < 4.5 * np.sqrt(2 / 500)


def test_all_rows_of_a_weak_window_are_the_smoothers(key):
    """The joint Gaussian of the four rows, conditioned on all observations at once."""
    matrix, error = np.asarray(lg.background_covariance().matrix), 0.2 * np.eye(6)
    mean, powers = [np.asarray(MEAN).ravel()], np.eye(6 * ROWS)
    for row in range(1, ROWS):
        mean.append(dynamics() @ mean[-1])
        # Row k of x = powers @ (x_0, w_1, ..., w_3).
        powers[6 * row : 6 * row + 6] += np.kron(np.eye(ROWS)[row - 1], dynamics()) @ powers
    sources = np.kron(np.diag([1.0, 0, 0, 0]), matrix) + np.kron(np.diag([0, 1.0, 1, 1]), error)
    joint, flat = powers @ sources @ powers.T, np.concatenate(mean)
    observations = rows_of_observations()
    kept = np.asarray(observations.mask).ravel()
    h = np.kron(np.eye(ROWS), lg.H)[kept]
    sd, y = np.tile(lg.ERROR_SD, ROWS)[kept], np.asarray(observations.values).ravel()[kept]
    gain = np.linalg.solve(h @ joint @ h.T + np.diag(sd**2), h @ joint).T
    states, minimum = eqx.filter_jit(STEPS["weak"]().window)(background(), observations, key=key)
    assert int(minimum.end) == MinimiserEnd.CONVERGED
    np.testing.assert_allclose(states.ravel(), flat + gain @ (y - h @ flat), atol=1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_a_window_without_observations_ends_at_the_forecast(name, key):
    observations = rows_of_observations()
    empty = eqx.tree_at(lambda o: o.mask, observations, jnp.zeros((ROWS, 4), bool))
    analysis = make(name)(background(), empty, key=key)
    forecast = background()
    for row in range(ROWS - 1):
        forecast = model().forecast(forecast, observations.times[row], key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_allclose(analysis.ensemble, forecast, rtol=1e-12)
    np.testing.assert_array_equal(analysis.ensemble, analysis.background)


def observe(control):
    matrix = jnp.asarray(np.random.default_rng(5).normal(size=(5, 12)))
    return matrix @ control


def test_the_exact_root_is_that_of_the_inverse_hessian():
    jacobian = np.asarray(jax.jacfwd(observe)(jnp.zeros(12)))
    root = jax.vmap(exact_root(observe, jnp.zeros(12)))(jnp.eye(12))
    np.testing.assert_allclose(
        root @ root.T, np.linalg.inv(np.eye(12) + jacobian.T @ jacobian), atol=1e-10
    )


@pytest.mark.parametrize("n_modes", [5, 8, 12, 40])
def test_lanczos_finds_all_that_five_observations_see(n_modes, key):
    """More modes than the rank exhaust the Krylov space; the result must not suffer."""
    exact = jax.vmap(exact_root(observe, jnp.zeros(12)))(jnp.eye(12))
    lanczos = jax.vmap(lanczos_root(observe, jnp.zeros(12), n_modes, key=key))(jnp.eye(12))
    np.testing.assert_allclose(lanczos, exact, atol=1e-6)


def test_few_lanczos_modes_are_the_best_seen_ones(key):
    """Two well observed directions of ten, and a rest that is hardly seen."""
    gains = jnp.array([30.0, 20.0, *[0.05] * 8])
    lanczos = jax.vmap(lanczos_root(lambda v: gains * v, jnp.zeros(10), 4, key=key))(jnp.eye(10))
    np.testing.assert_allclose(lanczos, np.diag(1 / np.sqrt(1 + gains**2)), atol=2e-3)


def test_lanczos_draws_carry_the_kalman_covariance(key):
    """Four modes for four observations; 500 draws err by at most sqrt(2 / 500) of a variance."""
    values = jnp.ones(4)
    mean, covariance = lg.kalman(MEAN, lg.background_covariance().matrix, values)
    step = ThreeDVar(lg.operator(), lg.background_covariance(), PRECISE, n_modes=4)
    analysis = eqx.filter_jit(step)(background(), lg.window(values), key=key)
    np.testing.assert_allclose(analysis.mean.ravel(), mean, atol=1e-5)
    sample = np.cov(np.asarray(analysis.ensemble).reshape(500, -1).T)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.max(np.abs(sample - covariance) / scale) < 4.5 * np.sqrt(2 / 500)


def test_a_square_is_observed_on_the_side_of_the_background(key):
    """One variable, xb = 1, B = 1, y = x^2 = 4 with error 0.1: the minimum of
    (x - 1)^2 / 2 + 50 (4 - x^2)^2, found by hand as the root of its derivative near 2."""
    derivative = lambda x: (x - 1) - 200 * x * (4 - x**2)  # noqa: E731
    low, high = 1.5, 2.5
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    step = ThreeDVar(
        square((1,)), DenseCovariance.from_matrix(jnp.eye(1), (1,)), QuasiNewton(tolerance=1e-10)
    )
    window = lg.window(jnp.array([4.0]), error_sd=jnp.full(1, 0.1))
    analysis = eqx.filter_jit(step)(jnp.ones((1, 1)), window, key=key)
    assert float(analysis.mean[0]) == pytest.approx(low, abs=1e-6)
    assert float(analysis.ensemble[0, 0]) == pytest.approx(low, abs=1e-6)
    slope = 2 * low / 0.1
    assert float(analysis.spread[0]) == pytest.approx((1 + slope**2) ** -0.5, rel=1e-5)


def test_any_minimiser_of_optimistix_serves(key):
    expected, _ = lg.kalman(MEAN, lg.background_covariance().matrix, jnp.ones(4))
    for solver in (optx.BFGS(1e-10, 1e-10), optx.NonlinearCG(1e-10, 1e-10)):
        step = ThreeDVar(
            lg.operator(),
            lg.background_covariance(),
            QuasiNewton(solver, max_iterations=300),
        )
        analysis = eqx.filter_jit(step)(MEAN[None], lg.window(jnp.ones(4)), key=key)
        np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-5)


def test_correlated_errors_enter_the_analysis(key):
    positions, length = jnp.array([0.0, 1.0, 1.5, 4.0]), 2.0
    step = ThreeDVar(
        lg.operator(),
        lg.background_covariance(),
        PRECISE,
        errors=AlongTrackErrorModel.along(positions, length),
    )
    values = jnp.array([1.0, -1.0, 2.0, 0.5])
    analysis = eqx.filter_jit(step)(MEAN[None], lg.window(values), key=key)
    matrix = np.asarray(lg.background_covariance().matrix)
    sd = np.asarray(lg.ERROR_SD)
    distance = np.abs(np.subtract.outer(np.asarray(positions), np.asarray(positions)))
    total = lg.H @ matrix @ lg.H.T + np.outer(sd, sd) * np.exp(-distance / length)
    flat = np.asarray(MEAN).ravel()
    expected = flat + matrix @ lg.H.T @ np.linalg.solve(total, np.asarray(values) - lg.H @ flat)
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-5)


def test_an_early_stop_is_told(key):
    step = StrongFourDVar(
        lg.operator(),
        model(),
        lg.background_covariance(),
        minimiser=QuasiNewton(max_iterations=2),
    )
    analysis = eqx.filter_jit(step)(MEAN[None], rows_of_observations(), key=key)
    assert int(analysis.result) == ResultCode.NOT_CONVERGED
    told = explain(analysis)
    assert told.startswith("Stopped at the limit of iterations, not converged, after 2 iterations")
    costs = np.asarray(analysis.diagnostics["cost"])
    assert f"{costs[0]:.6g}" in told
    assert np.all(np.isfinite(costs))
    assert costs.shape == (3,)


def test_a_divergence_is_told(key):
    """Near x = 0 a square seems to need a step of 8 / 1.04 to reach 4, and overshoots."""
    step = StrongFourDVar(
        square((1,)),
        LinearModel(jnp.eye(1), (1,)),
        DenseCovariance.from_matrix(jnp.eye(1), (1,)),
        minimiser=GaussNewtonCG(outer=1),
    )
    window = lg.window(jnp.array([4.0]), error_sd=jnp.full(1, 0.1))
    analysis = eqx.filter_jit(step)(jnp.full((1, 1), 0.01), window, key=key)
    assert int(analysis.result) == ResultCode.FAILED
    assert explain(analysis).startswith("Diverged: the background is returned after 1 iterations")
    np.testing.assert_array_equal(analysis.ensemble, analysis.background)


def test_a_model_that_blows_up_is_told(key):
    step = StrongFourDVar(
        lg.operator(),
        LinearModel(1e200 * jnp.eye(6), lg.STATE_SHAPE),
        lg.background_covariance(),
    )
    analysis = eqx.filter_jit(step)(MEAN[None], rows_of_observations(), key=key)
    assert int(analysis.result) == ResultCode.FAILED
    assert "not finite" in explain(analysis)


def test_a_converged_minimisation_is_told(key):
    analysis = make("strong")(background(), rows_of_observations(), key=key)
    told = explain(analysis)
    costs = np.asarray(analysis.diagnostics["cost"])
    costs = costs[np.isfinite(costs)]
    assert told.startswith("Converged after")
    assert f"{costs[-1]:.6g}" in told
    assert costs[-1] < costs[0]


def test_parts_that_do_not_fit_are_refused():
    other = DenseCovariance.from_matrix(jnp.eye(5), (5,))
    good = lg.background_covariance()
    with pytest.raises(ValueError, match="B acts on states of shape"):
        ThreeDVar(lg.operator(), other)
    with pytest.raises(ValueError, match="the model steps states of shape"):
        StrongFourDVar(lg.operator(), Lorenz96(), good)
    with pytest.raises(ValueError, match="steps_per_row must be >= 1"):
        StrongFourDVar(lg.operator(), model(), good, steps_per_row=0)
    with pytest.raises(ValueError, match="Q acts on states of shape"):
        WeakFourDVar(lg.operator(), model(), good, other)
    with pytest.raises(ValueError, match="n_modes must be None or >= 1"):
        ThreeDVar(lg.operator(), good, n_modes=0)
    with pytest.raises(ValueError, match="max_iterations must be >= 1"):
        QuasiNewton(max_iterations=0)
    with pytest.raises(ValueError, match="outer and inner must be >= 1"):
        GaussNewtonCG(outer=0)
