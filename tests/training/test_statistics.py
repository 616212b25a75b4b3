"""Climatologies and lagged covariances against hand-worked values and their laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.state.grids import LatLon
from vardax_core.training.slots import UnfitPeriodError, slot_means
from vardax_core.training.statistics import (
    correlation_length,
    fit_window_statistics,
    gaussian_taper,
    lagged_covariances,
)

GRID = LatLon.from_degrees(np.array([52.0, 51.0, 50.0]), np.array([0.0, 1.0, 2.0, 3.0]))


@pytest.fixture(scope="module")
def period():
    rng = np.random.default_rng(0)
    times = 60 * np.arange(24 * 6)
    fields = rng.standard_normal((len(times), 3, 4)).cumsum(axis=1)
    amplitude = 1 + np.arange(12.0).reshape(3, 4)
    daily = np.sin(2 * np.pi * np.arange(len(times)) / 24)
    return fields + 280 + amplitude * daily[:, None, None], times


def test_taper_is_one_at_zero_and_falls_with_its_length():
    taper = gaussian_taper(np.array([[0.0, 300.0], [300.0, 0.0]]), 300.0)
    np.testing.assert_allclose(taper, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]])


def test_slot_means_by_hand():
    times = np.array([0, 60, 1440, 1500])
    fields = np.array([[1.0], [5.0], [3.0], [9.0]])
    means = slot_means(fields[[0, 2]], times[[0, 2]], slots=1)
    np.testing.assert_allclose(means, [[2.0]])


def test_one_harmonic_keeps_a_sine_and_removes_a_faster_one():
    hours = np.arange(48)
    slow = 3 + np.sin(2 * np.pi * hours / 24)
    fast = np.cos(2 * np.pi * 3 * hours / 24)
    means = slot_means((slow + fast)[:, None], 60 * hours, harmonics=1)
    np.testing.assert_allclose(means[:, 0], slow[:24], atol=1e-12)


def test_lagged_covariance_by_hand():
    series = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    tables = lagged_covariances(series, np.array([0, 60, 120]), [0, 60])
    np.testing.assert_allclose(tables[0], series.T @ series / 3)
    # Pairs (x1, x0) and (x2, x1): entry (i, j) is x_i(t) x_j(t - 1 h).
    expected = (np.outer(series[1], series[0]) + np.outer(series[2], series[1])) / 3
    np.testing.assert_allclose(tables[1], expected)


def test_a_gap_makes_no_pairs_across_it():
    series = np.ones((3, 1))
    tables = lagged_covariances(series, np.array([0, 60, 600]), [60])
    np.testing.assert_allclose(tables[0], [[1 / 3]])


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_block_matrix_over_lags_is_positive_semi_definite(period, weight):
    fields, times = period
    gap = np.ones(len(times), bool)
    gap[30:60] = False
    statistics = fit_window_statistics(
        fields, times, GRID, select=gap, taper=0.5, smooth_weight=weight
    )
    b = np.asarray(statistics.covariances, np.float64)
    blocks = [[b[q - p] if q >= p else b[p - q].T for q in range(3)] for p in range(3)]
    values = np.linalg.eigvalsh(np.block(blocks))
    # The tables are rounded to float32.
    assert values.min() > -1e-6 * values.max()


def test_blending_keeps_the_variance_and_tapering_cuts_far_points(period):
    fields, times = period
    plain = fit_window_statistics(fields, times, GRID, taper=np.inf, smooth_weight=0.0)
    blend = fit_window_statistics(fields, times, GRID, smooth_weight=0.4)
    near = fit_window_statistics(fields, times, GRID, taper=1e-3, smooth_weight=0.0)
    np.testing.assert_allclose(plain.variance, blend.variance, rtol=1e-5)
    root = np.asarray(plain.climatology.square_root).reshape(12, -1)
    np.testing.assert_allclose(root @ root.T, plain.covariances[0], atol=2e-5)
    off = np.asarray(near.covariances[0]) - np.diag(np.diagonal(near.covariances[0]))
    np.testing.assert_allclose(off, 0, atol=1e-12)


def test_selected_states_only(period):
    fields, times = period
    first = times < 60 * 72
    spoiled = np.where(first[:, None, None], fields, 1e6)
    chosen = fit_window_statistics(spoiled, times, GRID, select=first)
    alone = fit_window_statistics(fields[first], times[first], GRID)
    np.testing.assert_array_equal(chosen.covariances, alone.covariances)


def test_weight_outside_its_range_is_refused(period):
    with pytest.raises(ValueError, match="smooth_weight"):
        fit_window_statistics(*period, GRID, smooth_weight=1.5)


@settings(deadline=None, max_examples=5)
@given(
    exponent=st.integers(-40, 40),
    factor=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    weight=st.sampled_from([0.0, 0.3]),
)
def test_another_unit_changes_statistics_by_that_unit_alone(
    period, exponent, factor, shift, weight
):
    fields, times = period

    def fitted(scale, offset):
        return fit_window_statistics(scale * (fields + offset), times, GRID, smooth_weight=weight)

    kelvin, exact, other = fitted(1.0, 0.0), fitted(2.0**exponent, 0.0), fitted(factor, shift)
    # A power of two moves no digit, down to the rounding of the tables to single precision.
    for one, two, power in (
        (kelvin.covariances, exact.covariances, 2),
        (kelvin.climatology.mean, exact.climatology.mean, 1),
        (kelvin.climatology.square_root, exact.climatology.square_root, 1),
    ):
        np.testing.assert_array_equal(np.asarray(one) * 2.0 ** (power * exponent), two)
    # Double precision at values of 1280 and deviations of 1, and tables in single precision.
    relative = np.asarray(other.covariances) / factor**2 - kelvin.covariances
    assert np.abs(relative).max() < 1e-5 * float(kelvin.variance.max())
    mean = np.asarray(other.climatology.mean, float) / factor - shift
    # Means are kept in single precision, whose rounding is that of the shifted values.
    np.testing.assert_allclose(
        mean, kelvin.climatology.mean, rtol=0, atol=2e-7 * (300 + abs(shift))
    )


def test_a_missing_value_changes_next_to_nothing(period):
    fields, times = period
    gappy = fields.copy()
    gappy[100, 1, 2] = np.nan
    whole = fit_window_statistics(fields, times, GRID)
    without = fit_window_statistics(gappy, times, GRID)
    # One of 144 products, of anomalies of up to four standard deviations.
    change = np.abs(np.asarray(without.covariances) - whole.covariances)
    assert 0 < change.max() < 16 / 144 * float(whole.variance.max())


def test_half_of_the_values_missing_keeps_the_variance(period):
    fields, times = period
    gappy = fields.copy()
    gappy[np.random.default_rng(1).random(fields.shape) < 0.5] = np.nan
    whole = fit_window_statistics(fields, times, GRID)
    without = fit_window_statistics(gappy, times, GRID)
    # Variances from 72 states have a sampling error of sqrt(2 / 72) = 17 %: three of them.
    np.testing.assert_allclose(without.variance, whole.variance, rtol=0.5)
    assert abs(float(np.mean(without.variance / whole.variance)) - 1) < 0.15


def test_constant_and_seldom_known_points_are_tied_to_nothing(period):
    fields, times = period
    odd = fields.copy()
    odd[:, 1, 2] = 280.0
    odd[5:, 0, 0] = np.nan
    found = fit_window_statistics(odd, times, GRID)
    tables = np.asarray(found.covariances)
    for point in (6, 0):
        assert not tables[:, point].any()
        assert not tables[:, :, point].any()
        assert not np.asarray(found.climatology.square_root).reshape(12, -1)[point].any()
    assert np.isfinite(tables).all()
    assert np.isfinite(found.climatology.mean).all()
    assert (np.delete(np.asarray(found.variance), [0, 6]) > 0).all()


@pytest.mark.parametrize("spoil", [lambda x: 0 * x + 280, lambda x: np.full_like(x, np.nan)])
def test_a_period_in_which_nothing_varies_is_refused(period, spoil):
    fields, times = period
    with pytest.raises(UnfitPeriodError, match=r"no point whose values vary|none of the"):
        fit_window_statistics(spoil(fields), times, GRID)


@pytest.mark.parametrize("cadence", [20, 360, 1440])
def test_any_cadence_is_learned(period, cadence):
    fields, _ = period
    times = 720 + cadence * np.arange(len(fields))
    found = fit_window_statistics(
        fields, times, GRID, lag_interval=cadence, interval=cadence, n_lags=2
    )
    assert found.climatology.mean.shape[0] == 1440 // cadence
    assert np.isfinite(np.asarray(found.covariances)).all()


@pytest.mark.parametrize("length", [50.0, 400.0, 3000.0])
def test_correlation_length_of_an_exponential(length):
    distance = LatLon.from_degrees(np.linspace(50, 55, 6), np.linspace(0, 8, 7)).pairwise()
    found = correlation_length(np.exp(-distance / length), distance)
    # Lengths are looked for in steps of 1.7 %, and correlations averaged over a sixtieth of the
    # largest distance, 13 km.
    assert found == pytest.approx(length, rel=0.03)
    assert correlation_length(np.ones((1, 1)), np.zeros((1, 1))) == np.inf
