"""Tests that may be looked at in every cycle: their rate of false alarms, and what they find."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.calibration.anytime import (
    EVERY,
    LASTING_GRANTED,
    SUM_OF_WEIGHTS,
    AbstractWager,
    Biased,
    SpreadTooLarge,
    SpreadTooSmall,
    beginning_weights,
    shares,
    watch,
)

WAGERS = (SpreadTooSmall(), SpreadTooLarge(), Biased())


def _ratios(rng, cycles, freedom, factor=1.0):
    """Squared errors over predicted variances where the latter are off by a factor."""
    return rng.chisquare(freedom, cycles) / freedom * factor


def _departures(rng, cycles, observations, bias=0.0, correlation=0.0):
    noise = rng.normal(size=cycles) / math.sqrt(observations)
    series = np.empty(cycles)
    last = 0.0
    for n in range(cycles):
        last = correlation * last + math.sqrt(1 - correlation**2) * noise[n]
        series[n] = last + bias
    return series


def _clean(wager, rng, cycles):
    if isinstance(wager, Biased):
        return _departures(rng, cycles, 12, correlation=rng.choice([0.0, 0.4]))
    return _ratios(rng, cycles, rng.choice([3, 10, 40]))


@pytest.mark.parametrize("wager", WAGERS, ids=lambda w: w.finding)
def test_clean_runs_hardly_ever_alarm_in_their_whole_life(wager):
    rng = np.random.default_rng(11)
    rate, runs = 0.05, 100
    alarms = sum(
        bool(watch(wager, _clean(wager, rng, 1000), false_alarms=rate).alarms) for _ in range(runs)
    )
    # Ville's bound, and three standard deviations of the count.
    assert alarms <= runs * rate + 3 * math.sqrt(runs * rate)


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0.001, 0.999),
    high=st.floats(1.0, 1e6),
    tolerance=st.floats(0.0, 0.3),
)
def test_no_distribution_of_errors_wins_a_wager_on_a_small_spread(share, high, tolerance):
    # The worst case at the mean that is tolerated: `high` with probability `share`, else the rest.
    mean = (1 - tolerance) ** -2
    low = (mean - share * high) / (1 - share)
    if low < 0:
        share, low = mean / high, 0.0
        if share > 1:
            return
    wager = SpreadTooSmall(tolerance=tolerance, informed=())
    factors = np.exp(wager.log_factors(np.array([high, low])))
    assert np.all(share * factors[:, 0] + (1 - share) * factors[:, 1] <= 1 + 1e-9)


@pytest.mark.parametrize("wager", WAGERS, ids=lambda w: w.finding)
def test_a_factor_knows_nothing_of_later_cycles(wager):
    series = _clean(wager, np.random.default_rng(1), 80)
    later = series.copy()
    later[50:] = 7.0
    np.testing.assert_array_equal(
        wager.log_factors(series)[:, :50], wager.log_factors(later)[:, :50]
    )


@pytest.mark.parametrize("wager", WAGERS, ids=lambda w: w.finding)
def test_cycles_without_a_value_change_nothing(wager):
    series = _clean(wager, np.random.default_rng(2), 120)
    series[30:60] = np.nan
    factors = wager.log_factors(series)
    assert np.all(np.isfinite(factors))
    assert np.all(factors[:, 30:60] == 0)


def _planted(wager, rng, begin, end, cycles):
    if isinstance(wager, Biased):
        series = _departures(rng, cycles, 40)
        series[begin:end] += 0.25
        return series
    # A spread that is 20 % too small, or 30 % too large, of some 30 degrees of freedom.
    factor = 0.8**-2 if isinstance(wager, SpreadTooSmall) else 1.3**-2
    series = _ratios(rng, cycles, 30)
    series[begin:end] *= factor
    return series


@pytest.mark.parametrize("wager", WAGERS, ids=lambda w: w.finding)
def test_a_fault_is_found_dated_and_seen_to_end(wager):
    rng, begin, end = np.random.default_rng(3), 700, 900
    delays, dates, ends = [], [], []
    for _ in range(20):
        found = watch(wager, _planted(wager, rng, begin, end, 1600), false_alarms=0.01)
        assert found.alarms, wager.finding
        first = found.alarms[0]
        assert first.at >= begin
        delays.append(first.at - begin)
        dates.append(abs(first.since - begin))
        ends.append(math.inf if first.until is None else abs(first.until - end))
        assert found.standing is None
    assert np.median(delays) <= 50
    assert np.median(dates) <= 20
    assert np.median(ends) <= 20


def test_what_lasts_is_no_fault_where_few_degrees_of_freedom_are_granted():
    """Squared errors of 30 degrees of freedom about an expectation that varies by .35 over some
    forty cycles, with mean 1: quiet stretches look like a spread too large to who counts on what
    the cycles before show. At a rate of .001, three of a hundred have a probability of 2e-4."""

    def share(wager, runs=100, cycles=1000, keeps=0.95, sd=0.35):
        alarmed = 0
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            slow = sd * rng.normal(size=cycles)
            for n in range(1, cycles):
                slow[n] = keeps * slow[n - 1] + math.sqrt(1 - keeps**2) * slow[n]
            series = np.exp(slow - sd**2 / 2) * _ratios(rng, cycles, 30)
            alarmed += bool(watch(wager, series, false_alarms=0.001).alarms)
        return alarmed / runs

    assert share(SpreadTooLarge()) > 0.1
    assert share(SpreadTooLarge(granted=LASTING_GRANTED)) <= 0.02


def test_an_alarm_stands_while_the_fault_lasts():
    rng = np.random.default_rng(4)
    series = _planted(SpreadTooSmall(), rng, 300, 600, 600)
    found = watch(SpreadTooSmall(), series, false_alarms=0.01)
    assert found.standing is not None
    assert found.log10[found.standing.at] >= found.threshold


class _Certain(AbstractWager):
    """Wins twofold in each of the first cycles, and loses it again in the others."""

    finding = "certain"

    def __init__(self, won: int):
        self.won = won

    def log_factors(self, series):
        signs = np.where(np.arange(len(series)) < self.won, 1.0, -1.0)
        return math.log(2) * signs[None]


def test_the_mixture_is_the_weighted_sum_of_products_by_hand():
    found = watch(_Certain(5), np.zeros(5), false_alarms=1e-9)
    weights = beginning_weights(5)
    by_hand = sum(w * 2.0 ** (5 - j) for j, w in enumerate(weights)) + 1 - weights.sum()
    assert 10 ** found.log10[-1] == pytest.approx(by_hand, rel=1e-9)


def test_the_end_is_where_winning_stopped():
    found = watch(_Certain(30), np.zeros(200), false_alarms=0.01)
    assert found.alarms[0].since == 0
    assert found.alarms[0].until == 30


def test_weights_of_beginnings_add_up_to_one():
    n = 10**6
    # The tail of 1 / (n log^2 n) is 1 / log n.
    rest = 1 / (SUM_OF_WEIGHTS * math.log(n + 1.5))
    weights = beginning_weights(n * EVERY)
    assert weights.sum() + rest == pytest.approx(1.0, abs=1e-5)
    assert np.count_nonzero(weights) == n


def test_tests_for_two_faults_have_two_shares_and_all_keep_to_one_rate():
    assert shares(WAGERS, 0.02) == pytest.approx([0.005, 0.005, 0.01])


def test_a_rate_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        watch(Biased(), np.zeros(3), false_alarms=1.0)
