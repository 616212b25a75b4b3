"""Laws in single precision: no analysis ends without a number, none is wrong without a word."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.analysis import linear_gaussian as lg
from tests.analysis.test_analysis_laws import STEPS, letkf
from vardax_core.analysis.ensemble.enkf import EnKF
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import gaspari_cohn, sphere_network
from vardax_core.analysis.ensemble.transform import WhitenedEnsemble, spectrum_of
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.analysis.variational.spectral import gaussian_covariance
from vardax_core.observations.errors import AlongTrackErrorModel
from vardax_core.observations.operators import Identity, PointSampling
from vardax_core.types import Observations, ResultCode

CLASSICAL = STEPS | {
    "finite_size": lambda h, b: FiniteSizeETKF(h),
    "iterative": lambda h, b: IterativeETKF(h),
    "letkf_of_a_short_reach": lambda h, b: letkf(h, b, 0.75),
}
SLOW = (
    "iterative",
    "letkf_of_a_short_reach",
    "three_dvar",
    "strong_four_dvar",
    "incremental_four_dvar",
    "weak_four_dvar",
)
RATIOS = np.array([1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e8, 1e12])
"""Of the observation error to the spread."""
NOW = jnp.zeros(1, jnp.int32)


def single(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)


def row(values, error_sd):
    return Observations.from_values(values[None], error_sd[None], NOW)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.ladder] if n in SLOW else []) for n in CLASSICAL],
)
def test_a_classical_method_ends_finite_on_finite_input(name, key):
    """Whatever the errors, for an ensemble with a spread, without one, and in other units."""
    step = single(CLASSICAL[name](lg.operator(), lg.background_covariance()))
    rng = np.random.default_rng(0)
    ensemble = lg.exact_ensemble(
        np.arange(6.0).reshape(2, 3), lg.background_covariance().matrix, 16
    )
    ensemble = np.asarray(ensemble)
    cases = []
    for unit, spread in ((1.0, 1.0), (1.0, 0.0), (1e6, 1.0), (1e-6, 1.0)):
        mean = ensemble.mean(axis=0)
        members = unit * (mean + spread * (ensemble - mean))
        error = unit * RATIOS[:, None] * np.ones(4)
        noise = np.minimum(error, 10 * unit) * rng.standard_normal(error.shape)
        values = unit * np.array([1.0, 1.5, 3.5, 4.0]) + noise
        cases.append((np.broadcast_to(members, (10, *members.shape)), values, error))
    given_ = (jnp.asarray(np.concatenate(x), jnp.float32) for x in zip(*cases, strict=True))
    analyse = jax.jit(jax.vmap(lambda b, v, e: step(b, row(v, e), key=key)))
    analysis = analyse(*given_)
    assert int(ResultCode.NON_FINITE) not in np.asarray(analysis.result)
    chi2 = np.asarray(analysis.diagnostics["innovation_chi2"])
    assert np.all(np.isfinite(chi2) & (chi2 >= 0))


def accurate(members, points, stations, key):
    """A float32 ensemble, values and errors for every ratio of error to spread, from one truth."""
    ensemble_key, truth_key, error_key = jax.random.split(key, 3)
    ensemble = 3.6 * jax.random.normal(ensemble_key, (members, points)) + 2.3
    truth = 3.6 * jax.random.normal(truth_key, (points,)) + 2.3
    error = 3.6 * jnp.logspace(-8, 8, 17)[:, None] * jnp.ones((1, stations))
    noise = jax.random.normal(error_key, error.shape)
    values = truth[None, :stations] + error * noise
    return single((ensemble, values, error))


LADDER = pytest.mark.ladder
SIZES = ((24, 40, 40), (24, 40, 10), (12, 12, 11))
"""Members, points and observations."""
QUICK = [(FiniteSizeETKF, SIZES[0]), (EnKF, SIZES[1])]


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        *QUICK,
        *(
            pytest.param(method, sizes, marks=LADDER)
            for method in (FiniteSizeETKF, ETKF, EnKF)
            for sizes in SIZES
            if (method, sizes) not in QUICK
        ),
    ],
)
def test_in_single_precision_an_analysis_is_that_of_double(method, sizes, key):
    """To 1 % of the spread for the mean, and of the inflation and of the chi2 themselves."""
    step = method(PointSampling(jnp.arange(sizes[2]), (sizes[1],)))
    analyse = jax.vmap(lambda b, v, e: step(b, row(v, e), key=key), (None, 0, 0))
    given_ = accurate(*sizes, key)
    found = jax.jit(analyse)(*given_)
    exact = jax.jit(analyse)(*(x.astype(jnp.float64) for x in given_))
    assert found.mean.dtype == jnp.float32
    np.testing.assert_array_equal(found.result, int(ResultCode.OK))
    # The draws of perturbed observations differ between the precisions, and they are recentred.
    np.testing.assert_allclose(found.mean, exact.mean, atol=0.036)
    for name in {"inflation", "innovation_chi2"} & set(found.diagnostics):
        np.testing.assert_allclose(found.diagnostics[name], exact.diagnostics[name], rtol=0.01)


@pytest.mark.parametrize(
    "method", [FiniteSizeETKF, *(pytest.param(m, marks=LADDER) for m in (ETKF, EnKF))]
)
def test_what_single_precision_does_not_resolve_is_said(method, key):
    """A smooth ensemble and observations of a millionth of its spread: right, or flagged."""
    ensemble_key, truth_key = jax.random.split(key)
    smooth = gaussian_covariance(jnp.full(40, 3.6), 5.0)
    draws = jax.random.normal(ensemble_key, (25, smooth.rank))
    *members, truth = jax.vmap(smooth.square_root)(draws)
    step = method(Identity((40,)))
    error = 3.6 * jnp.logspace(-7, 0, 8)[:, None] * jnp.ones((1, 40))
    values = truth[None] + error * jax.random.normal(truth_key, error.shape)
    given_ = single((jnp.stack(members), values, error))
    analyse = jax.jit(jax.vmap(lambda b, v, e: step(b, row(v, e), key=key), (None, 0, 0)))
    found, exact = analyse(*given_), analyse(*(x.astype(jnp.float64) for x in given_))
    off = np.max(np.abs(np.asarray(found.mean) - np.asarray(exact.mean)), axis=1) / 3.6
    flagged = np.asarray(found.result) == int(ResultCode.NOT_CONVERGED)
    assert flagged.any()
    assert not flagged[-2:].any()
    assert np.all((off < 0.02) | flagged), off
    assert np.all(np.isfinite(found.ensemble))


def test_interpolation_between_dense_accurate_observations_is_finite(key):
    """A smooth B at every point, whose covariance of departures single precision cannot factor."""
    covariance = single(gaussian_covariance(jnp.full(60, 2.0), 8.0))
    # Compiled as a whole, the transforms of this covariance meet a layout that XLA refuses.
    step = OptimalInterpolation(Identity((60,)), covariance)
    truth = covariance.square_root(jax.random.normal(key, (60,), jnp.float32))
    background = jnp.zeros((3, 60), jnp.float32)
    for ratio in (1e-8, 1e-3):
        analysis = step(background, row(truth, jnp.full_like(truth, 2.0 * ratio)), key=key)
        assert int(analysis.result) == ResultCode.OK
        np.testing.assert_allclose(analysis.mean, truth, atol=0.05)


@settings(max_examples=60, deadline=None)
@given(
    distance=hnp.arrays(
        np.float64, 50, elements=st.floats(0, 1e300) | st.floats(0, 500) | st.just(-0.0)
    ),
    half_width=st.floats(1e-3, 1e6) | st.just(150.0),
)
def test_a_taper_lies_between_zero_and_one(distance, half_width):
    for dtype in (jnp.float32, jnp.float64):
        taper = np.asarray(gaspari_cohn(jnp.asarray(distance, dtype), half_width))
        assert taper.dtype == dtype
        assert np.all((taper >= 0) & (taper <= 1))
        assert np.all(taper[distance == 0] == 1)


def test_a_taper_is_not_negative_near_its_end():
    """200001 distances: each value of the published form was a difference of numbers near 20."""
    distance = jnp.linspace(0, 400, 200001)
    exact = gaspari_cohn(distance, 150.0)
    found = gaspari_cohn(distance.astype(jnp.float32), 150.0)
    assert np.all((found >= 0) & (found <= 1))
    np.testing.assert_allclose(found, exact, atol=1e-6)
    assert float(gaspari_cohn(jnp.asarray(jnp.nan), 150.0)) == 0
    assert float(gaspari_cohn(jnp.asarray(jnp.inf), 150.0)) == 0


def test_a_local_filter_covers_real_geography(key):
    """33 x 49 points of the British Isles, 81 stations anywhere between them, 150 km."""
    latitudes, longitudes = np.linspace(50, 58, 33), np.linspace(-10, 2, 49)
    rng = np.random.default_rng(0)
    stations = np.stack([rng.uniform(50, 58, 81), rng.uniform(-10, 2, 81)], axis=1)
    nearest = np.stack(
        [
            np.abs(axis[:, None] - own).argmin(0)
            for axis, own in zip((latitudes, longitudes), stations.T, strict=True)
        ]
    )
    operator = PointSampling(jnp.asarray(np.ravel_multi_index(nearest, (33, 49))), (33, 49))
    with jax.enable_x64(False):
        network = sphere_network(latitudes, longitudes, stations, 150.0)
    assert network.weights.dtype == jnp.float32
    assert np.all((network.weights >= 0) & (network.weights <= 1))
    background = 280 + jax.random.normal(key, (6, 33, 49), jnp.float32)
    values, error = jnp.full(81, 281.0, jnp.float32), jnp.full(81, 0.5, jnp.float32)
    analysis = eqx.filter_jit(LETKF(operator, network))(background, row(values, error), key=key)
    assert int(analysis.result) == ResultCode.OK


def test_a_track_whose_points_nearly_coincide_has_finite_weights():
    """1 - correlation^2 of points a hundred-millionth of the length apart is not zero."""
    positions = jnp.asarray([0.0, 1e-8, 1.0], jnp.float32)
    errors = AlongTrackErrorModel.along(positions, 1.0)
    ones = jnp.ones(3, jnp.float32)
    whitened = errors.whiten(jnp.asarray([1.0, 2.0, 1.0], jnp.float32), ones, ones > 0, ones)
    assert np.all(np.isfinite(whitened))


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_refined_directions_have_a_derivative(shape, key):
    """As far as the refined vectors may be held fixed: of the eigenvalues, which that leaves."""
    rng = np.random.default_rng(0)
    anomalies = rng.standard_normal(shape) * np.logspace(0, 4, shape[1])
    change = rng.standard_normal(shape) * np.logspace(0, 4, shape[1])

    @jax.jit
    def values(share):
        moved = jnp.asarray(anomalies, share.dtype) + share * jnp.asarray(change, share.dtype)
        centred = moved - jnp.mean(moved, axis=0)[None]
        return jnp.sort(
            spectrum_of(WhitenedEnsemble(centred, jnp.zeros(shape[1], share.dtype))).values
        )

    found = jax.jacfwd(values)(jnp.float32(0.0))
    exact = (values(jnp.float64(1e-6)) - values(jnp.float64(-1e-6))) / 2e-6
    np.testing.assert_allclose(found, exact, rtol=0.01)
