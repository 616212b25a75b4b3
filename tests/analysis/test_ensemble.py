"""What is particular to the localised, adaptive and relaxed ensemble filters."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF, finite_size_inflation
from vardax_core.analysis.ensemble.inflation import (
    InnovationInflation,
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import (
    LocalizationError,
    gaspari_cohn,
    plane_network,
    ring_network,
    sphere_network,
)
from vardax_core.analysis.ensemble.transform import (
    WhitenedEnsemble,
    innovation_chi2,
    spectrum_of,
    symmetric_transform,
    transform_of,
)
from vardax_core.observations.operators import PointSampling

pytestmark = pytest.mark.ladder

MEAN = jnp.zeros(lg.STATE_SHAPE)
VALUES = jnp.array([1.0, 2.0, 3.0, 4.0])


@functools.cache
def background():
    return lg.exact_ensemble(MEAN, lg.background_covariance().matrix, 12)


def test_the_taper_has_its_published_values():
    """1 at 0, 5/24 at the half-width, 0 at twice that, smooth where the pieces meet."""
    values = gaspari_cohn(jnp.array([0.0, 1.0, 2.0, 3.0]), 1.0)
    np.testing.assert_allclose(values, [1.0, 5 / 24, 0.0, 0.0], atol=1e-14)
    slope = jax.grad(lambda r: gaspari_cohn(r, 1.0))
    assert float(slope(1.0 - 1e-9)) == pytest.approx(float(slope(1.0 + 1e-9)), abs=1e-6)
    assert abs(float(slope(2.0 - 1e-6))) < 1e-6


def test_the_taper_is_a_correlation():
    """Positive definite on a line: no eigenvalue below rounding."""
    x = jnp.arange(60.0)
    matrix = gaspari_cohn(jnp.abs(x[:, None] - x[None, :]), 5.0)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12


def neighbours(network, point):
    present = np.asarray(network.weights[point]) > 0
    return sorted(np.asarray(network.indices[point])[present].tolist())


def test_a_ring_closes():
    network = ring_network(10, np.arange(10.0), 1.0)
    assert neighbours(network, 0) == [0, 1, 9]
    assert neighbours(network, 5) == [4, 5, 6]
    weight = dict(zip(np.asarray(network.indices[0]), np.asarray(network.weights[0]), strict=True))
    assert weight[9] == pytest.approx(5 / 24)


def test_a_plane_has_edges():
    network = plane_network(np.arange(3.0), np.arange(4.0), np.array([[0, 0], [2, 3.0]]), 0.75)
    assert neighbours(network, 0) == [0]
    assert neighbours(network, 3) == []
    assert neighbours(network, 11) == [1]


def test_a_sphere_joins_its_meridians():
    """One degree of longitude at the equator is 111 km, also across 360."""
    stations = np.array([[0.0, 359.5], [0.0, 180.0], [90.0, 0.0]])
    network = sphere_network(np.array([0.0, 90.0]), np.array([0.0, 180.0]), stations, 100.0)
    assert neighbours(network, 0) == [0]
    assert neighbours(network, 1) == [1]
    assert neighbours(network, 2) == [2]
    assert neighbours(network, 3) == [2]
    taper = float(gaspari_cohn(jnp.asarray(6371 * np.deg2rad(0.5)), 100.0))
    assert float(jnp.max(network.weights[0])) == pytest.approx(taper, rel=1e-4)


def test_the_nearest_observations_are_kept():
    network = ring_network(10, np.arange(10.0), 4.0, max_local=3)
    assert network.indices.shape == (10, 3)
    assert neighbours(network, 0) == [0, 1, 9]


@pytest.mark.parametrize("station", [-0.5, 10.0, float("inf")])
def test_a_station_off_the_ring_is_refused(station):
    with pytest.raises(ValueError, match=r"domain \[0, 10\)"):
        ring_network(10, np.array([1.0, station]), 2.0)


def test_a_network_of_another_grid_is_refused():
    with pytest.raises(LocalizationError, match="no last axes"):
        LETKF(lg.operator(), ring_network(4, np.arange(4.0), 1.0))
    with pytest.raises(LocalizationError, match="no last axes"):
        LETKF(lg.operator(), ring_network(2, np.zeros(4), 1.0))


def test_a_network_of_other_stations_is_refused():
    with pytest.raises(LocalizationError, match="5 stations, H gives 4"):
        LETKF(lg.operator(), ring_network(6, np.arange(5.0), 1.0))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_far_points_are_left_alone_in_batches_of_any_size(batch_size, key):
    """A station at point 0 of a ring of 10 reaches its neighbours within 2 points."""
    operator = PointSampling(jnp.array([0]), state_shape=(3, 10))
    ensemble = jax.random.normal(key, (6, 3, 10))
    step = LETKF(operator, ring_network(10, np.zeros(1), 1.5), batch_size=batch_size)
    analysis = eqx.filter_jit(step)(
        ensemble, lg.window(jnp.array([2.0]), error_sd=jnp.ones(1)), key=key
    )
    changed = np.any(np.abs(analysis.ensemble - ensemble) > 1e-13, axis=(0, 1))
    np.testing.assert_array_equal(np.flatnonzero(changed), [0, 1, 2, 8, 9])
    whole = ETKF(operator, rotate=False)(
        ensemble, lg.window(jnp.array([2.0]), error_sd=jnp.ones(1)), key=key
    )
    np.testing.assert_allclose(analysis.ensemble[:, :, 0], whole.ensemble[:, :, 0], atol=1e-12)


def test_the_rotation_of_a_local_filter_keeps_its_mean_and_covariance(key):
    ensemble = background()
    stations = np.stack([lg.STATIONS // 3, lg.STATIONS % 3], axis=1).astype(float)
    network = plane_network(np.arange(2.0), np.arange(3.0), stations, 1.0)
    plain, turned = (
        LETKF(lg.operator(), network, rotate=rotate)(ensemble, lg.window(VALUES), key=key)
        for rotate in (False, True)
    )
    np.testing.assert_allclose(turned.mean, plain.mean, atol=1e-12)
    flat = [np.cov(np.asarray(a.ensemble).reshape(12, -1).T) for a in (plain, turned)]
    np.testing.assert_allclose(flat[1], flat[0], atol=1e-12)
    assert np.max(np.abs(turned.ensemble - plain.ensemble)) > 0.1


def test_full_relaxation_restores_the_background_spread(key):
    step = RelaxationToPriorSpread(ETKF(lg.operator(), rotate=False), 1.0)
    analysis = eqx.filter_jit(step)(background(), lg.window(VALUES), key=key)
    plain = ETKF(lg.operator(), rotate=False)(background(), lg.window(VALUES), key=key)
    np.testing.assert_allclose(analysis.spread, jnp.std(background(), axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(analysis.mean, plain.mean, atol=1e-13)


def test_full_mixing_restores_the_background_anomalies(key):
    step = RelaxationToPriorPerturbations(ETKF(lg.operator()), 1.0)
    analysis = eqx.filter_jit(step)(background(), lg.window(VALUES), key=key)
    anomalies = background() - jnp.mean(background(), axis=0)[None]
    np.testing.assert_allclose(analysis.ensemble - analysis.mean[None], anomalies, atol=1e-12)


@pytest.mark.parametrize("scheme", [RelaxationToPriorSpread, RelaxationToPriorPerturbations])
@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_relaxation_weight_is_a_share(scheme, weight):
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\]"):
        scheme(ETKF(lg.operator()), weight)


def test_a_surprising_innovation_inflates_and_a_dull_one_deflates(key):
    step = InnovationInflation(ETKF(lg.operator()), prior=1.0, prior_sd=0.5)
    factors = [
        float(step(background(), lg.window(scale * VALUES), key=key).diagnostics["inflation"])
        for scale in (0.0, 1.0, 20.0)
    ]
    assert factors[0] < 1.0 < factors[1] < factors[2] == 2.0


def random_ensemble(members, obs, key):
    equivalents = jax.random.normal(key, (members, obs))
    innovation = 2.5 * jax.random.normal(jax.random.key(1), (obs,))
    return WhitenedEnsemble(equivalents - jnp.mean(equivalents, axis=0)[None], innovation)


@pytest.mark.parametrize("obs", [3, 8, 20])
def test_inflation_before_and_after_the_eigenvalue_problem_are_one(obs, key):
    """Fewer, as many, and more observations than the 8 members."""
    whitened = random_ensemble(8, obs, key)
    inflated = WhitenedEnsemble(1.7 * whitened.anomalies, whitened.innovation)
    before, after = symmetric_transform(inflated), transform_of(spectrum_of(whitened), 1.7)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("obs", [3, 8, 20])
def test_a_transform_brings_its_inverse(obs, key):
    transform = transform_of(spectrum_of(random_ensemble(8, obs, key)), 1.7)
    np.testing.assert_allclose(transform.matrix @ transform.inverse, np.eye(8), atol=1e-12)


@pytest.mark.parametrize("obs", [3, 8, 20])
def test_chi2_without_a_matrix_of_the_observations_is_that_with_it(obs, key):
    whitened = random_ensemble(8, obs, key)
    y, d = np.asarray(whitened.anomalies), np.asarray(whitened.innovation)
    expected = d @ np.linalg.solve(np.eye(obs) + y.T @ y / 7, d)
    assert float(innovation_chi2(whitened)) == pytest.approx(expected, rel=1e-11)
    assert float(symmetric_transform(whitened).chi2) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("obs", [5, 20])
def test_the_finite_size_inflation_minimises_its_cost(obs):
    """The published cost, evaluated on a fine grid of factors, has its minimum there."""
    rng = np.random.default_rng(7)
    members = 8
    y = rng.normal(size=(members, obs))
    y -= y.mean(axis=0)
    d = 2.5 * rng.normal(size=obs)
    _, s, right = np.linalg.svd(y, full_matrices=False)
    u, n1 = right @ d, members - 1
    diagonal = np.concatenate([s**2, np.zeros(members - len(s))]) + n1
    e, c = (members + 1) / members, members / n1
    correction = np.sqrt((e / c) ** (np.mean(1 / diagonal) * n1))
    e, c = e / correction, c * correction
    factors = np.linspace(0.3, 5.0, 40001)
    cost = (
        np.sum(u[None] ** 2 / ((factors[:, None] * s[None]) ** 2 + n1), axis=1)
        + e / factors**2
        + c * np.log(factors**2)
    )
    spectrum = spectrum_of(WhitenedEnsemble(jnp.asarray(y), jnp.asarray(d)))
    found = finite_size_inflation(spectrum, 1.0)
    assert float(found) == pytest.approx(factors[np.argmin(cost)], abs=2e-4)


def test_a_certain_hyperprior_leaves_the_plain_filter(key):
    """The larger its weight, the nearer the factor is to the mode of the hyperprior, near 1."""
    analysis = FiniteSizeETKF(lg.operator(), certainty=1e9, rotate=False)(
        background(), lg.window(VALUES), key=key
    )
    assert float(analysis.diagnostics["inflation"]) == pytest.approx(1.0, abs=0.01)
    with pytest.raises(ValueError, match="certainty must be positive"):
        FiniteSizeETKF(lg.operator(), certainty=0.0)


def test_a_filter_is_one_compiled_function(key):
    step = eqx.filter_jit(LETKF(lg.operator(), ring_network(6, np.arange(4.0), 2.0), batch_size=4))
    assert bool(jnp.all(jnp.isfinite(step(background(), lg.window(VALUES), key=key).ensemble)))
