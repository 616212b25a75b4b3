"""Covariances, errors and biases are found again in records that were made with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.training.covariance_fit import STARTS, fit_covariance
from vardax_core.training.covariogram import PAIRED, Start, covariogram, start_values
from vardax_core.training.platform_bias import expected_biases, platform_biases
from vardax_core.training.withheld import (
    Predictions,
    calibration_of,
    desroziers_ratio,
    predict_withheld,
    speed_of,
    withheld_neighbours,
)

TRUTH = SpaceTimeCovariance.of((1.0, 60.0, 1500.0))
NUGGET, SHARED, PLATFORMS, TIMES = 0.3, 0.4, 60, 12


def synthetic(seed=0, unit=1.0):
    """Records of platforms that report at many times, drawn from a known covariance and R."""
    rng = np.random.default_rng(seed)
    places = np.repeat(rng.uniform(0, 500, (PLATFORMS, 2)), TIMES, axis=0)
    minutes = np.tile(np.arange(TIMES) * 800.0, PLATFORMS)
    platform = np.repeat(np.arange(PLATFORMS), TIMES)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    lag = minutes[:, None] - minutes[None]
    matrix = np.asarray(TRUTH(jnp.asarray(apart), jnp.asarray(lag)))
    matrix = matrix + 1e-10 * np.eye(len(matrix))
    values = np.linalg.cholesky(matrix) @ rng.normal(size=len(matrix))
    values += NUGGET * rng.normal(size=len(values))
    values += SHARED * np.repeat(rng.normal(size=PLATFORMS), TIMES)
    return LocalRecords.of(
        jnp.asarray(values * unit),
        jnp.full(len(values), 0.01 * unit),
        jnp.asarray(places),
        minutes=jnp.asarray(minutes),
        platform=jnp.asarray(platform, jnp.int32),
    )


@pytest.fixture(scope="module")
def records():
    return synthetic()


@pytest.fixture(scope="module")
def fit(records):
    return fit_covariance(records, components=1, targets=500, most=30, key=jax.random.key(1))


def test_a_fit_recovers_what_the_records_were_made_with(fit):
    truth = {
        "variance 1": 1.0,
        "length 1": 60.0,
        "timescale 1": 1500.0,
        "nugget_sd": NUGGET,
        "shared_sd": SHARED,
    }
    assert fit.converged
    assert {p.name for p in fit.parameters} == set(truth)
    for parameter in fit.parameters:
        assert parameter.low <= truth[parameter.name] <= parameter.high, parameter
    by = {p.name: p for p in fit.parameters}
    assert by["length 1"].high / by["length 1"].low < 4
    assert by["variance 1"].high / by["variance 1"].low < 4
    assert fit.score <= fit.score_before
    assert "length 1" in fit.words
    assert fit.numbers()["finished"] is True


def test_a_fit_scales_with_the_units(fit):
    """The key and the records are the same, in another unit."""
    other = fit_covariance(
        synthetic(unit=100.0), components=1, targets=500, most=30, key=jax.random.key(1)
    )
    for one, two in zip(fit.parameters, other.parameters, strict=True):
        power = {"variance": 1e4, "nugget_sd": 1e2, "shared_sd": 1e2}.get(one.name.split()[0], 1.0)
        assert two.value / power == pytest.approx(one.value, rel=2e-2)


def test_its_predictions_of_other_records_are_calibrated(fit, records):
    fresh = fit.with_errors(synthetic(seed=7))
    groups, every = np.asarray(fresh.platform), np.arange(PLATFORMS * TIMES)
    around = withheld_neighbours(fresh, every, groups, speed=fit.speed, most=30)
    found = predict_withheld(fresh, every, around, fit.covariance, groups)
    assert not np.any((groups[around.indices] == groups[every][:, None]) & around.near)
    factor = calibration_of(found)
    assert factor.low < 1.12
    assert factor.high > 0.88
    assert found.rmse < 0.95 * float(jnp.std(fresh.innovations))
    ratio = desroziers_ratio(fresh, every, fit.covariance, speed=fit.speed, most=30)
    assert ratio.low < 1.15
    assert ratio.high > 0.85


def test_a_calibrated_fit_predicts_the_same_with_another_spread(fit, records):
    groups = np.asarray(records.platform)
    some = np.arange(0, PLATFORMS * TIMES, 9)
    around = withheld_neighbours(records, some, groups, speed=fit.speed, most=10)

    def predicted(fit):
        return predict_withheld(fit.with_errors(records), some, around, fit.covariance, groups)

    before = predicted(fit)
    narrow = Predictions(before.targets, 0.5 * before.sd, before.sd, before.groups)
    after = predicted(fit.calibrated(calibration_of(narrow)))
    np.testing.assert_allclose(after.departures, before.departures, atol=1e-9)
    np.testing.assert_allclose(after.sd, 0.5 * before.sd, rtol=1e-9)


def test_the_start_is_near_the_covariogram(records):
    found = covariogram(records)
    near = (found.distances < 60) & (found.minutes < 900)
    assert found.counts.sum() + found.same_platform.shape[1] == 720 * 719 // 2
    assert np.average(found.covariances[near], weights=found.counts[near]) > 0.2
    start = start_values(records, components=1)
    assert 15 < float(start.covariance.lengths[0]) < 250
    total = float(start.covariance.variance()) + start.nugget_sd**2 + start.shared_sd**2
    assert total == pytest.approx(found.variance, rel=0.3)


def test_what_begins_infinite_or_at_zero_stays(records):
    start = Start(SpaceTimeCovariance.of((1.0, 60.0, 1500.0), (0.3, jnp.inf, jnp.inf)), 0.3, 0.0)
    fit = fit_covariance(records, start=start, targets=100, most=10, key=jax.random.key(0))
    assert np.isinf(fit.covariance.lengths[1])
    assert fit.shared_sd == 0
    assert "length 2" not in {p.name for p in fit.parameters}
    assert speed_of(fit.covariance) == pytest.approx(
        float(fit.covariance.lengths[0] / fit.covariance.timescales[0])
    )


def test_too_few_records_are_refused():
    few = LocalRecords.of(jnp.ones(2), jnp.ones(2), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="2 usable records"):
        start_values(few)
    with pytest.raises(ValueError, match="longer training period"):
        platform_biases(np.ones(3), np.zeros(3, int), np.arange(3))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 500), shift=st.floats(-5, 5))
def test_biases_of_platforms_are_found_and_have_no_mean(seed, shift):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, 20)
    truth -= truth.mean()
    platform, day = np.divmod(np.arange(20 * 15), 15)
    of_day = rng.normal(0, 2, 15)
    departures = shift + truth[platform] + of_day[day] - of_day.mean()
    departures = departures + rng.normal(0, 0.3, 300)
    kept = rng.random(300) < 0.8
    found = platform_biases(departures[kept], platform[kept], day[kept], count=21)
    assert not found.known[20]
    assert abs(found.bias[found.known].mean()) < 1e-9
    assert found.level == pytest.approx(shift, abs=0.35)
    z = (found.bias - np.append(truth, 0.0))[found.known] / found.sd[found.known]
    assert np.sqrt(np.mean(z**2)) < 2.5
    assert found.within_sd == pytest.approx(0.3, rel=0.25)
    shrunk = found.shrunk()
    assert np.all(np.abs(shrunk) <= np.abs(found.bias) + 1e-12)
    assert shrunk[20] == 0


def test_a_bias_that_follows_the_height_is_expected_of_a_new_platform(key):
    rng = np.random.default_rng(2)
    height, places = rng.uniform(0, 3, 40), rng.uniform(0, 300, (40, 2))
    platform, day = np.divmod(np.arange(40 * 10), 10)
    truth = -0.7 * (height - height.mean())
    departures = truth[platform] + rng.normal(0, 0.2, 400)
    kept = platform != 5
    found = platform_biases(departures[kept], platform[kept], day[kept], count=40)
    expected = expected_biases(found, places, height[:, None], key=key)
    assert expected.slopes[1] == pytest.approx(-0.7, abs=0.1)
    assert expected.bias[5] == pytest.approx(truth[5], abs=0.25)
    z = (truth - expected.bias) / expected.sd
    assert np.sqrt(np.mean(z**2)) < 3


@pytest.mark.ladder
def test_a_search_begins_at_the_covariogram_that_predicts_best():
    """Where the fits of several draws of pairs differ, the choice is by withheld records."""
    rng = np.random.default_rng(3)
    count = PAIRED + 500
    places, minutes = rng.uniform(0, 3000, (count, 2)), rng.uniform(0, 3e4, count)
    waves, phases = rng.normal(size=(40, 2)) / 80, rng.uniform(0, 2 * np.pi, 40)
    smooth = np.cos(places @ waves.T + phases).sum(axis=1) * (2 / 40) ** 0.5
    records = LocalRecords.of(
        jnp.asarray(smooth + NUGGET * rng.normal(size=count), jnp.float32),
        jnp.full(count, 0.01, jnp.float32),
        jnp.asarray(places, jnp.float32),
        minutes=jnp.asarray(minutes, jnp.float32),
        platform=jnp.asarray(np.arange(count) // 10, jnp.int32),
    )

    def fitted(start):
        return fit_covariance(
            records, start=start, targets=200, most=20, key=jax.random.key(0)
        ).score_before

    alone = [fitted(start_values(records, seed=draw)) for draw in range(STARTS)]
    assert len(set(alone)) == STARTS
    assert fitted(None) == min(alone)
