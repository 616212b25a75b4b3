"""Pairs of real and simulated records, and what may be learned and scored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.record_network import RecordNetwork
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets
from vardax_core.data.copies import copied_platforms
from vardax_core.training.record_fields import PriorFields
from vardax_core.training.record_pairs import (
    Given,
    real_pairs,
    simulated_pairs,
    train_network,
)
from vardax_core.training.record_scores import held_out_scores
from vardax_core.training.record_set import LeakError, Reach, RecordSet, blocks_of, check_apart

DAY = 1440.0
DAYS, STATIONS = 10, 30
COVARIANCE = SpaceTimeCovariance.of((1.0, 80.0, 3 * DAY))
ERROR_SD = 0.3


def record_set(*, seed=0, after=0, innovations=None, factor=1.0):
    """Stations in a square of 300 by 300, once a day, with values of the covariance."""
    rng = np.random.default_rng(seed)
    home = rng.uniform(0, 300, (STATIONS, 2))
    places = np.tile(home, (DAYS, 1))
    times = np.repeat(np.arange(DAYS), STATIONS)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) / 80.0
    lag = np.abs(times[:, None] - times[None]) / 3
    r = np.sqrt(3) * apart
    full = (1 + r) * np.exp(-r) * np.exp(-lag) + ERROR_SD**2 * np.eye(len(times))
    values = np.linalg.cholesky(full) @ rng.normal(size=len(times)) * factor
    records = LocalRecords.of(
        jnp.asarray(values if innovations is None else innovations, jnp.float32),
        jnp.full(len(times), ERROR_SD, jnp.float32),
        jnp.asarray(places, jnp.float32),
        minutes=jnp.asarray(times * DAY, jnp.float32),
        platform=jnp.asarray(np.tile(np.arange(STATIONS), DAYS), jnp.int32),
    )
    return RecordSet(
        records,
        times,
        np.arange(DAYS) * DAY,
        np.tile(np.arange(STATIONS), DAYS),
        np.zeros(len(times)),
        jax.tree.map(lambda x: x.astype(jnp.float32), COVARIANCE),
        Reach(1000.0, 16, 80 / (3 * DAY), (), before=1, after=after),
    )


def pairs_of(given, chosen, **kwargs):
    targets = given.targets(chosen)
    around = given.around(targets, given.times[chosen], withheld=given.groups[chosen], **kwargs)
    index = (jnp.asarray(around.indices), jnp.asarray(around.near))
    place = jnp.asarray(given.place, jnp.float32)
    made = real_pairs(given.records, jnp.asarray(chosen), targets, index, given.covariance, place)
    return made, around


@pytest.fixture(scope="module")
def stations():
    return record_set()


def test_a_target_sees_its_window_and_nothing_of_its_own_platform(stations):
    chosen = stations.drawn(60, seed=1)
    _, around = pairs_of(stations, chosen)
    for target, index, near in zip(chosen, around.indices, around.near, strict=True):
        seen = index[near]
        assert seen.size == 16
        assert not np.any(stations.groups[seen] == stations.groups[target])
        lag = stations.times[seen] - stations.times[target]
        assert set(np.unique(lag)) <= {-1, 0}
    without = np.arange(DAYS) < 5
    _, around = pairs_of(stations, chosen, without=without)
    assert not without[stations.times[around.indices[around.near]]].any()


def test_simulations_by_the_fitted_covariance_are_predicted_as_the_interpolation_says(stations):
    rng = np.random.default_rng(2)
    count = 600
    targets = LocalTargets(
        jnp.asarray(rng.uniform(0, 300, (count, 2)), jnp.float32),
        jnp.asarray(stations.minutes[rng.integers(0, DAYS, count)], jnp.float32),
        jnp.ones(count, jnp.float32),
    )
    times = (np.asarray(targets.minutes) / DAY).astype(int)
    around = stations.around(targets, times)
    index = (jnp.asarray(around.indices), jnp.asarray(around.near))
    args = (stations.records, targets, index, stations.covariance, jnp.zeros(count, jnp.float32))
    made = simulated_pairs(*args, key=jax.random.key(0))
    z = (made.value - made.views.increment) / jnp.sqrt(made.views.variance)
    # Factors of about a third on the spread make the mean square larger than one.
    assert 1.0 < float(jnp.mean(z**2)) < 2.0
    assert abs(float(jnp.mean(z))) < 0.2
    # A field that says all there is, with nothing to draw beside it, is what records see.
    nothing = jax.tree.map(lambda x: x, stations.covariance.scaled(1e-4))
    given = Given(jnp.full(index[0].shape, 2.0, jnp.float32), jnp.full(count, 2.0), nothing)
    given = given._replace(value=given.value.astype(jnp.float32))
    about = simulated_pairs(*args, given, key=jax.random.key(0))
    np.testing.assert_allclose(about.value, 2.0, atol=1e-2)
    assert float(jnp.mean(about.views.increment)) > 1.5


@pytest.mark.ladder
def test_training_finds_the_spread_that_the_fit_got_wrong():
    given = record_set(factor=2.0)
    chosen = given.drawn(300, seed=0)
    pairs, _ = pairs_of(given, chosen)
    half = given.times[chosen] < DAYS // 2
    first, second = (np.flatnonzero(part) for part in (half, ~half))
    made = train_network((pairs.take(jnp.asarray(first)),), 150, key=jax.random.key(0))
    platforms, times = given.groups[chosen], given.times[chosen]
    found = held_out_scores(pairs, [(second, made.weights)], platforms, times)
    assert found.first_spread_over_rmse < 0.75
    assert found.spread_over_rmse > found.first_spread_over_rmse + 0.1
    assert found.gain < 0.99
    assert found.low < found.gain < found.high
    again = train_network((pairs.take(jnp.asarray(first)),), 150, key=jax.random.key(0))
    for one, other in zip(
        jax.tree.leaves(made.weights), jax.tree.leaves(again.weights), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_network_that_says_nothing_scores_as_the_interpolation(stations):
    chosen = stations.drawn(100, seed=0)
    pairs, _ = pairs_of(stations, chosen)
    nothing = RecordNetwork(key=jax.random.key(0))
    found = held_out_scores(
        pairs, [(np.arange(100), nothing)], stations.groups[chosen], stations.times[chosen]
    )
    assert (found.low, found.gain, found.high) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)
    assert found.spread_over_rmse == pytest.approx(found.first_spread_over_rmse)


def test_blocks_hold_every_time_once():
    masks = blocks_of(7, 3)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    assert len(blocks_of(1, 2)) == 1


@pytest.mark.parametrize("where", ["trained", "seen"])
def test_a_scored_day_among_the_days_of_the_training_is_found(where):
    times = np.repeat(np.arange(4), 5)
    trained, scored, seen = np.arange(10), np.arange(10, 20), np.arange(10)
    check_apart(trained, scored, seen, times)
    leaked = {"trained": trained, "seen": seen} | {where: np.append(np.arange(10), 12)}
    with pytest.raises(LeakError, match=r"1 of the observation times .* number 2"):
        check_apart(leaked["trained"], scored, leaked["seen"], times)


def test_a_copy_of_what_is_withheld_is_found_and_chance_is_not():
    rng = np.random.default_rng(0)
    values, places = rng.normal(size=40), rng.uniform(size=(40, 2))
    seconds, platforms = np.arange(40) * 60, np.repeat(np.arange(4), 10)
    withheld = platforms == 1
    assert copied_platforms(values, places, seconds, platforms, withheld, ~withheld) == []
    values[20:28], places[20:28] = values[10:18], places[10:18]
    seconds[20:28] = seconds[10:18]
    assert copied_platforms(values, places, seconds, platforms, withheld, ~withheld) == [(1, 2, 8)]
    values[20:26] += 0.01
    assert copied_platforms(values, places, seconds, platforms, withheld, ~withheld) == []


def test_what_smooth_fields_lack_of_a_covariance_is_what_was_smoothed_away():
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.arange(20) * 20.0, np.arange(20) * 20.0)
    straight = np.stack([x.ravel(), y.ravel()], axis=1)
    apart = np.linalg.norm(straight[:, None] - straight[None], axis=-1) / 100
    r = np.sqrt(3) * apart
    root = np.linalg.cholesky((1 + r) * np.exp(-r) + 1e-8 * np.eye(400))
    days = np.arange(60) * 20 * DAY  # far apart: independent
    fields = PriorFields((root @ rng.normal(size=(400, 60))).T, days, straight, np.arange(400))
    fitted = SpaceTimeCovariance.of((0.5, 15.0, DAY), (1.0, 100.0, DAY))
    factor, missing = fields.missing(fitted, seed=0)
    assert factor == 1.0
    short, long = np.asarray(missing.variances)
    assert short == pytest.approx(0.5, abs=0.15)
    assert long < 0.25
    # Between two fields, half of each; beyond the last, the last.
    at = fields.at(np.array([[7]]), np.ones((1, 1)), np.array([10 * DAY]))
    assert at[0] == pytest.approx((fields.fields[0, 7] + fields.fields[1, 7]) / 2)
    assert fields.at(np.array([[7]]), np.ones((1, 1)), np.array([1e9]))[0] == fields.fields[-1, 7]
