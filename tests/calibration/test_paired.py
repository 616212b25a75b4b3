"""Differences of losses: intervals cover, tests keep their rate, maps agree with long-hand sums."""

import numpy as np
import pytest

from vardax_core.calibration.paired import MeanField, difference


def series(rng, runs, cycles, correlation, mean=0.0):
    """Autoregressive series of first order with variance 1."""
    noise = rng.normal(size=(runs, cycles)) * np.sqrt(1 - correlation**2)
    found = np.empty((runs, cycles))
    found[:, 0] = rng.normal(size=runs)
    for n in range(1, cycles):
        found[:, n] = correlation * found[:, n - 1] + noise[:, n]
    return found + mean


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_an_interval_covers_as_often_as_it_says_whatever_the_correlation(correlation):
    rng = np.random.default_rng(3)
    found = [difference(np.zeros(400), d) for d in series(rng, 300, 400, correlation, 0.2)]
    covered = np.mean([f.low <= 0.2 <= f.high for f in found])
    assert 0.9 <= covered <= 0.99
    assert np.mean([f.independent for f in found]) < (450 if correlation == 0 else 80)


@pytest.mark.ladder
@pytest.mark.parametrize("heavy", [False, True])
def test_the_sequential_test_keeps_its_rate_and_finds_a_difference(heavy):
    rng = np.random.default_rng(4)
    same, apart = series(rng, 200, 500, 0.6), series(rng, 20, 500, 0.6, 0.5)
    if heavy:
        same, apart = same**3, apart**3
    found = [difference(np.zeros(500), d, false_alarms=0.05) for d in same]
    assert np.mean([f.told is not None for f in found]) <= 0.05
    found = [difference(np.zeros(500), d, false_alarms=0.05) for d in apart]
    assert np.mean([f.told is not None for f in found]) >= 0.9


def test_the_same_series_do_not_differ_and_few_cycles_have_no_interval():
    first = np.arange(50.0)
    found = difference(first, first)
    assert (found.mean, found.low, found.high, found.sign) == (0, 0, 0, 0)
    few = difference(first[:10], first[:10] + 1)
    assert few.mean == 1
    assert np.isnan(few.low)
    assert few.sign == 0
    gone = difference(first, np.where(first < 5, np.nan, first + 1))
    assert gone.cycles == 45


def test_a_mean_field_is_that_of_all_cycles_however_they_come():
    rng = np.random.default_rng(5)
    fields = series(rng, 60, 200, 0.7, 3.0).T.reshape(200, 6, 10)
    whole, parts = MeanField(), MeanField()
    whole.add(fields)
    for rows in np.split(fields, [1, 17, 120]):
        parts.add(rows)
    mean, half = whole.result()
    for ours, theirs in zip((mean, half), parts.result(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(mean, fields.mean(axis=0))
    centred = fields - mean
    r = np.sum(centred[1:] * centred[:-1], axis=0) / 199 / np.mean(centred**2, axis=0)
    error = np.sqrt(np.var(fields, axis=0, ddof=1) * (1 + r) / (1 - r) / 200)
    np.testing.assert_allclose(half / error, 2.05, rtol=0.05)
    assert np.mean(np.abs(mean - 3.0) <= half) > 0.85
