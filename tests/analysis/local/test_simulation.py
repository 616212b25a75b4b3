"""Members of a local interpolation, and the step that gives them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from tests.analysis.local import problems
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.analysis.local.simulation import RandomFeatures, conditional_members
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.models.climatology import Climatology
from vardax_core.observations.placement import PlacedPoints, Search, place, with_placement
from vardax_core.state.grids import Plane
from vardax_core.types import Observations, ResultCode

members_of = eqx.filter_jit(conditional_members)
interpolated = eqx.filter_jit(interpolate)


def estimated(seed=0, most=40):
    targets, records = problems.problem(seed)
    indices, near = problems.neighbours(targets, records, most=most)
    found = interpolated(targets, records, indices, near, problems.COVARIANCE)
    return found, targets, records, indices


def test_members_have_the_mean_and_the_spread_of_the_analysis(key):
    found, targets, records, indices = estimated(most=9)
    drawn = members_of(found, targets, records, indices, problems.COVARIANCE, 8, key=key)
    np.testing.assert_allclose(jnp.mean(drawn, axis=0), found.increment, atol=1e-12)
    np.testing.assert_allclose(jnp.var(drawn, axis=0, ddof=1), found.variance, rtol=1e-10)


def test_members_carry_the_covariance_of_the_analysis(key):
    """With all records it is that of Gaussian conditioning between targets too."""
    found, targets, records, indices = estimated()
    drawn = members_of(
        found, targets, records, indices, problems.COVARIANCE, 1500, count=500, key=key
    )
    prior = problems.matrix(problems.COVARIANCE, targets, targets)
    platform, shared = np.asarray(records.platform), np.asarray(records.shared_sd)
    s = problems.matrix(problems.COVARIANCE, records, records)
    s += np.diag(np.asarray(records.error_sd) ** 2)
    s += np.where(platform[:, None] == platform[None], np.outer(shared, shared), 0.0)
    g = problems.matrix(problems.COVARIANCE, targets, records)
    expected = prior - g @ np.linalg.solve(s, g.T)
    scale = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    assert np.abs(np.cov(np.asarray(drawn).T) - expected).max() < 0.2 * np.abs(scale).max()


def test_without_any_record_members_are_drawn_from_the_prior(key):
    targets, records = problems.problem()
    none = jax.tree.map(lambda x: x[:0], records)
    indices, near = problems.neighbours(targets, none, most=3)
    found = interpolate(targets, none, indices, near, problems.COVARIANCE)
    np.testing.assert_array_equal(found.increment, np.zeros(25))
    drawn = members_of(found, targets, none, indices, problems.COVARIANCE, 5, key=key)
    np.testing.assert_allclose(jnp.var(drawn, axis=0, ddof=1), 2.0 * targets.scale**2, rtol=1e-10)


def test_features_have_the_covariance(key):
    covariance = SpaceTimeCovariance.of((2.0, 50.0, 100.0), space="matern52", time="matern32")
    first, second = jax.random.split(key)
    waves = RandomFeatures.of(covariance, 2, count=6_000, key=first)
    places = jnp.array([[0.0, 0.0], [30.0, 0.0], [0.0, 90.0], [0.0, 0.0]])
    minutes = jnp.array([0.0, 0.0, 0.0, 70.0])
    phase = places @ waves.wavenumbers.T + minutes[:, None] * waves.frequencies[None]
    kernel = jnp.sum(jnp.cos(phase - phase[:1]) * waves.amplitudes[None] ** 2, axis=1)
    expected = covariance(jnp.linalg.norm(places, axis=1), minutes)
    np.testing.assert_allclose(kernel, expected, atol=2.0 * 4.5 / np.sqrt(6_000))
    fields = waves.fields(
        places, minutes, jax.random.normal(second, (400, 2, waves.amplitudes.size))
    )
    assert fields.shape == (400, 4)
    np.testing.assert_allclose(jnp.var(fields, axis=0), 2.0, rtol=4.5 * np.sqrt(2 / 400))


def test_intervals_cover_the_truth_of_synthetic_draws(key):
    """Truth and observations are one draw of the covariance; 90 % of targets lie in 90 %."""
    rng = np.random.default_rng(5)
    covariance = SpaceTimeCovariance.of((1.0, 60.0, 500.0))
    places = jnp.asarray(rng.uniform(0, 400, (900, 2)))
    minutes = jnp.asarray(rng.uniform(-300, 0, 900))
    wave_key, amplitude_key = jax.random.split(key)
    waves = RandomFeatures.of(covariance, 2, count=1000, key=wave_key)
    truth = waves.fields(places, minutes, jax.random.normal(amplitude_key, (12, 2, 1000)))
    z = []
    for draw in range(12):
        seen = truth[draw, :500] + 0.3 * rng.normal(size=500)
        records = LocalRecords.of(
            jnp.asarray(seen), jnp.full(500, 0.3), places[:500], minutes=minutes[:500]
        )
        targets = LocalTargets.at(places[500:], minutes[500:])
        around = problems.neighbours(targets, records, most=20)
        found = interpolated(targets, records, *around, covariance)
        z.append((truth[draw, 500:] - found.increment) / jnp.sqrt(found.variance))
    z = np.stack(z)
    assert abs(np.mean(np.abs(z) < 1.645) - 0.9) < 0.02
    assert abs(np.mean(z**2) - 1) < 0.08


GRID = Plane.from_axes(np.arange(2.0), np.arange(3.0))
PLACES = np.stack([lg.STATIONS // 3, lg.STATIONS % 3], axis=1).astype(float)
VALUES = jnp.array([1.0, 1.5, 3.5, 4.0])
COVARIANCE = SpaceTimeCovariance.of((1.2, 2.0, 90.0))


def step(minutes=(0.0,) * 4, *, scale=1.0, radius=np.inf, about_background=True):
    """The step for the four stations, each observed so many minutes from the analysis time."""
    shape, straight = (2, 3), jnp.asarray(GRID.embedded(GRID.points()))
    nothing = jnp.zeros((0, straight.shape[1]))
    made = LocalInterpolation(
        operator=PlacedPoints.nowhere(shape),
        climatology=Climatology(jnp.zeros((1, *shape)), jnp.ones((*shape, 1)), 60, shape),
        covariance=COVARIANCE,
        scale=jnp.broadcast_to(jnp.asarray(scale, float), shape),
        shared_sd=jnp.zeros(()),
        points=jnp.arange(6),
        targets=straight,
        records=nothing,
        minutes=nothing[:, 0],
        platforms=jnp.zeros(0, jnp.int32),
        nearest=jnp.full((6, 4), -1, jnp.int32),
        wanted=Search(radius, 4, 0.02),
        about_background=about_background,
    )
    everywhere, minutes = np.ones(4, bool), np.asarray(minutes)
    where = place(
        *(GRID, PLACES, minutes, np.arange(4), everywhere, minutes == 0, made.search),
        dtype="float64",
    )
    return with_placement(made, jax.tree.map(jnp.asarray, where))


@eqx.filter_jit
def analysed(step, ensemble, observations, *, key):
    return step(ensemble, observations, key=key)


def background(members=6):
    return jnp.asarray(np.random.default_rng(0).normal(size=(members, 2, 3)))


def test_the_step_is_the_kalman_filter_of_its_covariance(key):
    apart = jnp.asarray(GRID.pairwise())
    matrix = COVARIANCE(apart, jnp.zeros_like(apart))
    ensemble = background()
    expected, covariance = lg.kalman(jnp.mean(ensemble, 0), matrix, VALUES)
    analysis = analysed(step(), ensemble, lg.window(VALUES), key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(analysis.spread.ravel() ** 2, np.diag(covariance), atol=1e-6)
    np.testing.assert_allclose(jnp.mean(analysis.ensemble, 0), analysis.mean, atol=1e-10)
    np.testing.assert_allclose(
        jnp.std(analysis.ensemble, axis=0, ddof=1), analysis.spread, rtol=1e-8
    )


def test_a_field_of_scales_is_that_of_the_prior(key):
    scale = np.array([[1.0, 2.0, 0.5], [1.5, 1.0, 3.0]])
    apart = jnp.asarray(GRID.pairwise())
    matrix = COVARIANCE(apart, jnp.zeros_like(apart)) * jnp.asarray(np.outer(scale, scale))
    ensemble = background()
    expected, covariance = lg.kalman(jnp.mean(ensemble, 0), matrix, VALUES)
    analysis = analysed(step(scale=scale), ensemble, lg.window(VALUES), key=key)
    np.testing.assert_allclose(analysis.mean.ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(analysis.spread.ravel() ** 2, np.diag(covariance), atol=1e-5)


@pytest.mark.parametrize("shift", [-273.15, 1e4])
def test_a_shift_of_the_unit_shifts_the_analysis(shift, key):
    ensemble = background()
    before = analysed(step(), ensemble, lg.window(VALUES), key=key)
    after = analysed(step(), ensemble + shift, lg.window(VALUES + shift), key=key)
    np.testing.assert_allclose(after.mean - shift, before.mean, atol=1e-5)
    np.testing.assert_allclose(after.ensemble - shift, before.ensemble, atol=1e-5)
    np.testing.assert_array_equal(after.spread, before.spread)


def test_older_rows_of_a_window_count_for_less(key):
    ensemble = jnp.zeros((3, 2, 3))

    def with_only(row):
        mask = jnp.zeros((2, 4), bool).at[row, 1].set(True)
        window = Observations(
            jnp.ones((2, 4)), mask, jnp.full((2, 4), 0.5), jnp.array([0, 60], jnp.int32)
        )
        made = step((60.0 * (row - 1),) * 4, about_background=False)
        return analysed(made, ensemble, window, key=key).mean[0, 2]

    decay = np.exp(-60 / 90)
    assert float(with_only(0) / with_only(1)) == pytest.approx(decay, rel=1e-6)


def test_without_an_observation_the_background_stays(key):
    ensemble = background()
    analysis = analysed(step(), ensemble, lg.window(VALUES, mask=jnp.zeros(4, bool)), key=key)
    np.testing.assert_array_equal(analysis.ensemble, ensemble)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    far = analysed(step(radius=0.5), ensemble, lg.window(VALUES), key=key)
    unseen = np.setdiff1d(np.arange(6), lg.STATIONS)
    mean = jnp.mean(ensemble, axis=0).ravel()
    np.testing.assert_array_equal(far.mean.ravel()[unseen], mean[unseen])
    np.testing.assert_allclose(far.spread.ravel()[unseen] ** 2, 1.2, rtol=1e-6)
    assert int(far.diagnostics["interpolated_records"]) == 4
