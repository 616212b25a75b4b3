"""Space-time optimal interpolation: laws, the dense formula, draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation
from vardax_core.models.climatology import Climatology
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations, ResultCode

SHAPE = (3, 4)
N = 12
STATIONS = np.array([0, 3, 5, 10])


@pytest.fixture(scope="module")
def tables():
    """Lagged covariances of a smooth vector autoregression; jointly positive definite."""
    place = np.arange(N)
    b0 = 4 * np.exp(-np.abs(np.subtract.outer(place, place)) / 3.0)
    step = 0.8 * np.eye(N) + 0.1 * np.eye(N, k=1)
    return jnp.asarray(np.stack([b0, step @ b0, step @ step @ b0]))


@eqx.filter_jit
def analyse(step, background, observations, *, key):
    return step(background, observations, key=key)


def climatology():
    mean = 280 + jnp.arange(24.0)[:, None, None] + jnp.arange(12.0).reshape(1, *SHAPE)
    return Climatology(
        mean=mean, square_root=jnp.zeros((*SHAPE, 1)), interval=180, state_shape=SHAPE
    )


def interpolation(tables, stations=STATIONS):
    operator = PointSampling(indices=jnp.asarray(stations), state_shape=SHAPE)
    return WindowInterpolation.from_covariances(operator, climatology(), tables, 60)


def window(rows=3, error=0.5, seed=0):
    rng = np.random.default_rng(seed)
    values = 285 + 3 * rng.standard_normal((rows, len(STATIONS)))
    times = jnp.arange(rows) * 60 + 60 * (10 - rows)
    return Observations.from_values(
        jnp.asarray(values), jnp.full(values.shape, error), times.astype(jnp.int32)
    )


def background(members=5):
    return 280 + jax.random.normal(jax.random.key(9), (members, *SHAPE))


def dense_answer(tables, observations, stations=STATIONS):
    """The normal equations with every covariance written out."""
    b = np.asarray(tables)
    mean = np.asarray(climatology().mean).reshape(24, -1)
    rows, keep = [], np.asarray(observations.mask)
    for r in range(keep.shape[0]):
        lag = int(observations.times[-1] - observations.times[r]) // 60
        rows += [(lag, s, r, k) for k, s in enumerate(stations) if keep[r, k]]
    cross = np.array([b[lag][:, s] for lag, s, _, _ in rows])
    total = np.array(
        [
            [b[q - p][i, j] if q >= p else b[p - q][j, i] for q, j, _, _ in rows]
            for p, i, _, _ in rows
        ]
    )
    total += np.diag([float(observations.error_sd[r, k]) ** 2 for _, _, r, k in rows])
    departure = np.array(
        [
            float(observations.values[r, k]) - mean[int(observations.times[r]) // 60 % 24, s]
            for _, s, r, k in rows
        ]
    )
    gain = np.linalg.solve(total, cross)
    hour = int(observations.times[-1]) // 60 % 24
    return mean[hour] + departure @ gain, b[0] - cross.T @ gain


def test_mean_and_spread_equal_the_normal_equations(tables, key):
    observations = window()
    mask = observations.mask.at[0, 1].set(False).at[2, 3].set(False)
    observations = eqx.tree_at(lambda o: o.mask, observations, mask)
    analysis = analyse(interpolation(tables), background(), observations, key=key)
    mean, covariance = dense_answer(tables, observations)
    np.testing.assert_allclose(analysis.mean.reshape(-1), mean, rtol=1e-12)
    np.testing.assert_allclose(analysis.spread.reshape(-1) ** 2, np.diag(covariance), rtol=1e-9)


def test_one_row_equals_optimal_interpolation_about_climatology(tables, key):
    observations = window(rows=1)
    step = interpolation(tables)
    climate = climatology().mean_at(observations.times[-1])[None]
    static = DenseCovariance.from_matrix(tables[0], SHAPE)
    other = analyse(OptimalInterpolation(step.operator, static), climate, observations, key=key)
    analysis = analyse(step, background(), observations, key=key)
    np.testing.assert_allclose(analysis.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(analysis.spread, other.spread, rtol=1e-9)
    np.testing.assert_allclose(
        analysis.diagnostics["innovation_chi2"], other.diagnostics["innovation_chi2"], rtol=1e-9
    )


def test_draws_have_the_analysis_error_covariance(tables, key):
    observations = window()
    analysis = analyse(interpolation(tables), background(20000), observations, key=key)
    _, covariance = dense_answer(tables, observations)
    sampled = np.cov(np.asarray(analysis.ensemble).reshape(20000, -1), rowvar=False)
    # Sampling error of an entry is at most s_i s_j sqrt(2 / 20000) = 0.01 s_i s_j.
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(
        sampled / np.outer(deviation, deviation),
        covariance / np.outer(deviation, deviation),
        atol=0.045,
    )
    np.testing.assert_allclose(analysis.ensemble.mean(axis=0), analysis.mean, rtol=1e-9)


def test_another_unit_scales_the_analysis_and_its_members(tables, key):
    """Also with a missing observation; a power of two moves no digit of the result."""
    unit = 2.0**-20
    observations = eqx.tree_at(lambda o: o.mask, window(), window().mask.at[1, 2].set(False))
    step = interpolation(tables)
    scaled = eqx.tree_at(
        lambda s: (s.climatology.mean, s.covariances, s.root, s.inverse_root),
        step,
        (
            unit * step.climatology.mean,
            unit**2 * step.covariances,
            unit * step.root,
            step.inverse_root / unit,
        ),
    )
    given = eqx.tree_at(
        lambda o: (o.values, o.error_sd),
        observations,
        (unit * observations.values, unit * observations.error_sd),
    )
    one = analyse(step, background(), observations, key=key)
    two = analyse(scaled, unit * background(), given, key=key)
    for name in ("ensemble", "mean", "spread"):
        np.testing.assert_array_equal(getattr(two, name), unit * getattr(one, name))


def test_order_of_stations_does_not_matter(tables, key):
    observations, order = window(), np.array([2, 0, 3, 1])
    shuffled = Observations(
        observations.values[:, order],
        observations.mask[:, order],
        observations.error_sd[:, order],
        observations.times,
    )
    one = analyse(interpolation(tables), background(), observations, key=key)
    two = analyse(interpolation(tables, STATIONS[order]), background(), shuffled, key=key)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)
    np.testing.assert_allclose(one.spread, two.spread, rtol=1e-9)


def test_worthless_observations_leave_the_climatology(tables, key):
    observations = window(error=1e7)
    analysis = analyse(interpolation(tables), background(), observations, key=key)
    climate = climatology().mean_at(observations.times[-1])
    np.testing.assert_allclose(analysis.mean, climate, atol=1e-9)
    np.testing.assert_allclose(analysis.spread.reshape(-1), jnp.sqrt(jnp.diagonal(tables[0])))


def test_exact_observations_are_met(tables, key):
    observations = window(error=1e-5)
    step = interpolation(tables)
    analysis = analyse(step, background(), observations, key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(step.operator(analysis.mean), observations.values[-1], atol=1e-6)


def test_no_observation_gives_the_background_bit_for_bit(tables, key):
    observations = eqx.tree_at(lambda o: o.mask, window(), jnp.zeros((3, 4), bool))
    analysis = analyse(interpolation(tables), background(), observations, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(analysis.ensemble, background())


def test_rows_older_than_the_tables_are_not_used(tables, key):
    observations = window(rows=5)
    last = Observations(
        observations.values[-3:],
        observations.mask[-3:],
        observations.error_sd[-3:],
        observations.times[-3:],
    )
    one = analyse(interpolation(tables), background(), observations, key=key)
    two = analyse(interpolation(tables), background(), last, key=key)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)


def test_values_under_the_mask_do_not_matter(tables, key):
    observations = eqx.tree_at(lambda o: o.mask, window(), window().mask.at[1].set(False))
    spoiled = eqx.tree_at(lambda o: o.values, observations, observations.values.at[1].set(1e20))
    one = analyse(interpolation(tables), background(), observations, key=key)
    two = analyse(interpolation(tables), background(), spoiled, key=key)
    np.testing.assert_array_equal(one.mean, two.mean)


def test_single_precision_runs_and_agrees(tables, key):
    small = jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        (interpolation(tables), background(), window()),
    )
    analysis = analyse(*small, key=key)
    exact = analyse(interpolation(tables), background(), window(), key=key)
    assert analysis.mean.dtype == jnp.float32
    np.testing.assert_allclose(analysis.mean, exact.mean, rtol=1e-5)


def test_covariances_of_another_grid_are_refused(tables):
    operator = PointSampling(indices=jnp.asarray(STATIONS), state_shape=SHAPE)
    with pytest.raises(ValueError, match="11 points"):
        WindowInterpolation.from_covariances(operator, climatology(), tables[:, :11, :11], 60)
