"""Laws of every analysis step: one line in `STEPS` brings a method under all of them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.ensemble.enkf import EnKF
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.inflation import (
    InnovationInflation,
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import plane_network
from vardax_core.analysis.variational.four_dvar import StrongFourDVar
from vardax_core.analysis.variational.hybrid_step import HybridStep
from vardax_core.analysis.variational.minimisers import GaussNewtonCG, QuasiNewton
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.analysis.variational.windowed import WindowedFourDVar
from vardax_core.models.linear import LinearModel
from vardax_core.types import ResultCode


def persistence():
    return LinearModel(matrix=jnp.eye(lg.SIZE), state_shape=lg.STATE_SHAPE)


def letkf(h, b, half_width=1e6):
    """So wide a taper that every observation counts everywhere."""
    stations = np.stack([lg.STATIONS // 3, lg.STATIONS % 3], axis=1).astype(float)
    return LETKF(h, plane_network(np.arange(2.0), np.arange(3.0), stations, half_width))


STEPS = {
    "optimal_interpolation": lambda h, b: OptimalInterpolation(h, b),
    "etkf": lambda h, b: ETKF(h, rotate=False),
    "etkf_rotated": lambda h, b: ETKF(h),
    "three_dvar": lambda h, b: ThreeDVar(h, b, QuasiNewton(tolerance=1e-9)),
    "strong_four_dvar": lambda h, b: StrongFourDVar(
        h, persistence(), b, minimiser=QuasiNewton(tolerance=1e-9)
    ),
    "incremental_four_dvar": lambda h, b: StrongFourDVar(
        h, persistence(), b, minimiser=GaussNewtonCG()
    ),
    "weak_four_dvar": lambda h, b: WeakFourDVar(
        h, persistence(), b, b, minimiser=QuasiNewton(tolerance=1e-9)
    ),
    "windowed_four_dvar": lambda h, b: WindowedFourDVar(
        StrongFourDVar(h, persistence(), b, minimiser=QuasiNewton(tolerance=1e-9))
    ),
    "hybrid": lambda h, b: HybridStep(
        ETKF(h, rotate=False), b, minimiser=QuasiNewton(tolerance=1e-9)
    ),
    "enkf": lambda h, b: EnKF(h),
    "letkf": letkf,
    "no_relaxation": lambda h, b: RelaxationToPriorSpread(ETKF(h, rotate=False), 0.0),
    "no_mixing": lambda h, b: RelaxationToPriorPerturbations(ETKF(h, rotate=False), 0.0),
    "certain_inflation": lambda h, b: InnovationInflation(
        ETKF(h, rotate=False), prior=1.0, prior_sd=1e-9
    ),
}
# The members' sample covariance is the Kalman filter's.
EXACT_MEMBERS = (
    "etkf",
    "etkf_rotated",
    "letkf",
    "hybrid",
    "no_relaxation",
    "no_mixing",
    "certain_inflation",
)
# The spread is that of drawn members, hence not exact.
DRAWN_SPREAD = ("enkf",)
# The members are draws; windows of several rows have this law in test_variational.
DRAWN_MEMBERS = ("optimal_interpolation", "three_dvar", "enkf")
# Member i of the analysis belongs to member i of the background.
MEMBER_WISE = tuple(name for name in EXACT_MEMBERS if name != "etkf_rotated")

MEAN = jnp.arange(6.0).reshape(lg.STATE_SHAPE)
VALUES = jnp.array([1.0, 1.5, 3.5, 4.0])
MEMBERS = 16


@pytest.fixture(params=STEPS)
def name(request):
    return request.param


@functools.cache
def make(name):
    return eqx.filter_jit(STEPS[name](lg.operator(), lg.background_covariance()))


@functools.cache
def background(members=MEMBERS):
    return lg.exact_ensemble(MEAN, lg.background_covariance().matrix, members)


def sample_covariance(ensemble):
    return np.cov(np.asarray(ensemble).reshape(ensemble.shape[0], -1).T)


def test_a_linear_gaussian_analysis_is_the_kalman_filter(name, key):
    expected, covariance = lg.kalman(MEAN, lg.background_covariance().matrix, VALUES)
    analysis = make(name)(background(), lg.window(VALUES), key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-5)
    if name not in DRAWN_SPREAD:
        np.testing.assert_allclose(analysis.spread.ravel() ** 2, np.diag(covariance), atol=1e-5)
    np.testing.assert_allclose(jnp.mean(analysis.ensemble, 0), analysis.mean, atol=1e-10)


@pytest.mark.parametrize("exact", EXACT_MEMBERS)
def test_the_members_of_a_square_root_filter_carry_the_kalman_covariance(exact, key):
    _, covariance = lg.kalman(MEAN, lg.background_covariance().matrix, VALUES)
    analysis = make(exact)(background(), lg.window(VALUES), key=key)
    np.testing.assert_allclose(sample_covariance(analysis.ensemble), covariance, atol=1e-10)


@pytest.mark.parametrize("drawn", DRAWN_MEMBERS)
def test_many_drawn_members_carry_the_kalman_covariance(drawn, key):
    """Entries of a sample covariance of M draws err by at most sqrt(2 / M) of a variance."""
    _, covariance = lg.kalman(MEAN, lg.background_covariance().matrix, VALUES)
    analysis = make(drawn)(background(4000), lg.window(VALUES), key=key)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    error = np.abs(sample_covariance(analysis.ensemble) - covariance) / scale
    assert error.max() < 4.5 * np.sqrt(2 / 4000)


def test_without_an_observation_the_analysis_is_the_background(name, key):
    ensemble = background()
    analysis = make(name)(ensemble, lg.window(VALUES, mask=jnp.zeros(4, bool)), key=key)
    np.testing.assert_array_equal(analysis.ensemble, ensemble)
    np.testing.assert_array_equal(analysis.mean, jnp.mean(ensemble, axis=0))
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS


def test_a_missing_observation_is_one_that_was_never_made(name, key):
    mask = jnp.array([True, False, True, True])
    kept = np.asarray(mask)
    expected, covariance = lg.kalman(
        MEAN, lg.background_covariance().matrix, VALUES[kept], lg.ERROR_SD[kept], lg.H[kept]
    )
    values = VALUES.at[1].set(1e20)
    analysis = make(name)(background(), lg.window(values, mask=mask), key=key)
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-5)
    if name not in DRAWN_SPREAD:
        np.testing.assert_allclose(analysis.spread.ravel() ** 2, np.diag(covariance), atol=1e-5)


@pytest.mark.parametrize(
    ("value", "error_sd"), [(jnp.nan, 1.0), (jnp.inf, 1.0), (1.5, 0.0), (1.5, -1.0), (1.5, jnp.nan)]
)
def test_an_unusable_observation_counts_as_missing(name, value, error_sd, key):
    step = make(name)
    mask = jnp.array([True, False, True, True])
    expected = step(background(), lg.window(VALUES, mask=mask), key=key)
    observations = lg.window(VALUES.at[1].set(value), error_sd=lg.ERROR_SD.at[1].set(error_sd))
    analysis = step(background(), observations, key=key)
    np.testing.assert_array_equal(analysis.ensemble, expected.ensemble)


def test_an_exact_observation_is_believed(name, key):
    observations = lg.window(VALUES, error_sd=jnp.full(4, 1e-4))
    analysis = make(name)(background(), observations, key=key)
    np.testing.assert_allclose(lg.operator()(analysis.mean), VALUES, atol=1e-5)
    assert float(jnp.max(lg.operator()(analysis.spread))) < 2e-4


def test_a_worthless_observation_changes_nothing(name, key):
    observations = lg.window(VALUES, error_sd=jnp.full(4, 1e5))
    analysis = make(name)(background(), observations, key=key)
    sd = np.sqrt(np.diag(lg.background_covariance().matrix))
    np.testing.assert_allclose(analysis.mean, MEAN, atol=1e-6)
    # Perturbed observations of error 1e5 leave a trace of 1e-5.
    np.testing.assert_allclose(analysis.spread.ravel(), sd, rtol=3e-5)


def test_the_same_key_gives_the_same_analysis(name, key):
    step = make(name)
    once, twice = (step(background(), lg.window(VALUES), key=key) for _ in range(2))
    np.testing.assert_array_equal(once.ensemble, twice.ensemble)


def test_the_order_of_the_members_does_not_matter(name, key):
    order = jnp.asarray(np.random.default_rng(1).permutation(MEMBERS))
    step = make(name)
    analysis = step(background(), lg.window(VALUES), key=key)
    shuffled = step(background()[order], lg.window(VALUES), key=key)
    np.testing.assert_allclose(shuffled.mean, analysis.mean, atol=1e-10)
    if name not in DRAWN_SPREAD:
        np.testing.assert_allclose(shuffled.spread, analysis.spread, atol=1e-10)


@pytest.mark.parametrize("member_wise", MEMBER_WISE)
def test_permuted_members_give_permuted_members(member_wise, key):
    order = jnp.asarray(np.random.default_rng(1).permutation(MEMBERS))
    step = make(member_wise)
    analysis = step(background(), lg.window(VALUES), key=key)
    shuffled = step(background()[order], lg.window(VALUES), key=key)
    np.testing.assert_allclose(shuffled.ensemble, analysis.ensemble[order], atol=1e-10)


@pytest.mark.parametrize("name", [name for name in STEPS if "four_dvar" not in name])
def test_innovation_statistics_are_those_of_theory(name, key):
    """Over truths drawn from N(xb, B): E d d' = HBH' + R and E (O-A)(O-B)' = R.

    Every entry of the mean over n windows lies within 4.5 standard errors, the largest of 32
    independent normal draws exceeding that once in 5000 runs; the key is fixed. The chi2 of the
    innovation has mean p = 4 within 3 standard errors; that of the LETKF is global, and the law
    exact for it here because the ensemble's covariance is B.
    """
    n = 1000
    covariance = lg.background_covariance()
    operator, step, ensemble = lg.operator(), make(name), background()

    def one(k):
        truth_key, error_key, step_key = jax.random.split(k, 3)
        truth = MEAN + covariance.square_root(jax.random.normal(truth_key, (covariance.rank,)))
        values = operator(truth) + lg.ERROR_SD * jax.random.normal(error_key, (4,))
        analysis = step(ensemble, lg.window(values), key=step_key)
        before, after = values - operator(MEAN), values - operator(analysis.mean)
        products = (jnp.outer(before, before), jnp.outer(after, before))
        return products, analysis.diagnostics["innovation_chi2"]

    total = lg.H @ np.asarray(covariance.matrix) @ lg.H.T + np.diag(np.asarray(lg.ERROR_SD) ** 2)
    products, chi2 = jax.jit(jax.vmap(one))(jax.random.split(key, n))
    assert abs(np.mean(chi2) - 4) < 3 * np.std(chi2) / np.sqrt(n)
    for sample, expected in zip(products, (total, np.diag(lg.ERROR_SD**2)), strict=True):
        error = np.std(sample, axis=0, ddof=1) / np.sqrt(n)
        assert np.all(np.abs(np.mean(sample, axis=0) - expected) < 4.5 * error)


def test_single_precision_stays_single(name, key):
    def cast(tree):
        floats, rest = eqx.partition(tree, eqx.is_inexact_array)
        return eqx.combine(jax.tree.map(lambda x: x.astype(jnp.float32), floats), rest)

    step = eqx.filter_jit(cast(STEPS[name](lg.operator(), lg.background_covariance())))
    analysis = step(cast(background()), cast(lg.window(VALUES)), key=key)
    assert analysis.ensemble.dtype == jnp.float32
    expected, _ = lg.kalman(MEAN, lg.background_covariance().matrix, VALUES)
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-4)


def test_an_analysis_of_a_background_that_is_not_finite_has_failed(name, key):
    ensemble = background().at[0, 0, 0].set(jnp.nan)
    analysis = make(name)(ensemble, lg.window(VALUES), key=key)
    np.testing.assert_array_equal(analysis.ensemble, ensemble)
    assert int(analysis.result) == ResultCode.FAILED


def test_a_background_of_another_grid_is_refused(name, key):
    with pytest.raises(ValueError, match=r"expects \(member, \*\(2, 3\)\)"):
        make(name)(jnp.zeros((MEMBERS, 6)), lg.window(VALUES), key=key)


def test_a_window_of_another_network_is_refused(name, key):
    with pytest.raises(ValueError, match="build the operator for this network"):
        make(name)(background(), lg.window(jnp.zeros(3), error_sd=jnp.ones(3)), key=key)
