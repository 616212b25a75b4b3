"""Means of the parts of a day and departures from them, with values missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.training.slots import (
    UnfitPeriodError,
    gap_filled,
    slot_anomalies,
    slot_means,
    slots_of_day,
)

HOUR = 60


@pytest.mark.parametrize(
    ("cadence", "slots"),
    [(20, 72), (60, 24), (180, 8), (360, 4), (1440, 1), (36 * HOUR, 2), (5 * HOUR, 24), (50, 28)],
)
def test_slots_follow_the_cadence(cadence, slots):
    times = 90 + cadence * np.arange(200)
    assert slots_of_day(times) == slots
    # A day without data and a state that is late change nothing.
    gappy = np.delete(times, np.arange(20, 60))
    gappy[3] += 7
    assert slots_of_day(gappy) == slots


def test_one_state_has_one_slot():
    assert slots_of_day(np.array([300])) == 1


def test_a_missing_value_is_left_out_of_its_mean():
    times = np.array([0, 720, 1440, 2160])
    fields = np.array([[1.0, 1.0], [5.0, 5.0], [np.nan, 3.0], [9.0, 9.0]])
    np.testing.assert_array_equal(slot_means(fields, times, slots=2), [[1.0, 2.0], [7.0, 7.0]])


def test_an_empty_slot_lies_between_its_neighbours_round_the_day():
    times = np.array([6 * HOUR, 12 * HOUR])
    means = slot_means(np.array([[2.0], [8.0]]), times, slots=4)
    # Half of the day lies between noon and six in the morning.
    np.testing.assert_allclose(means[:, 0], [4.0, 2.0, 8.0, 6.0])


def test_a_point_without_any_value_has_the_mean_of_the_others():
    fields = np.array([[1.0, np.nan, 3.0], [5.0, np.nan, 9.0]])
    means = slot_means(fields, np.array([0, 720]), slots=2)
    np.testing.assert_array_equal(means[:, 1], [2.0, 7.0])
    assert np.isnan(slot_anomalies(fields, np.array([0, 720]), means)[:, 1]).all()


def test_a_period_without_any_value_is_refused():
    with pytest.raises(UnfitPeriodError, match="none of the 3 states"):
        slot_means(np.full((3, 2), np.nan), HOUR * np.arange(3))


@settings(deadline=None, max_examples=50)
@given(share=st.floats(0.1, 1.0), seed=st.integers(0, 1000))
def test_whatever_is_missing_variances_are_those_of_what_is_known(share, seed):
    rng = np.random.default_rng(seed)
    anomalies = rng.standard_normal((40, 6)) * np.geomspace(0.1, 10, 6)
    anomalies[rng.random(anomalies.shape) > share] = np.nan
    filled = gap_filled(anomalies)
    covariance = filled.T @ filled / len(filled)
    known = np.maximum(np.isfinite(anomalies).sum(axis=0), 1)
    np.testing.assert_allclose(
        np.diagonal(covariance), np.nansum(anomalies**2, axis=0) / known, rtol=1e-12
    )
    values = np.linalg.eigvalsh(covariance)
    assert values[0] >= -1e-12 * values[-1]
