"""Scores from sums: both estimators, intervals, degenerate periods, the calibration group."""

import warnings

import jax
import numpy as np
import pytest

from vardax_core.calibration.bootstrap import block_length, correlation_time, resample_counts
from vardax_core.calibration.dataset import calibration_dataset, statistics_dataset
from vardax_core.calibration.score_definitions import DEFINITIONS, divide
from vardax_core.calibration.scores import compute_scores, flatness
from vardax_core.state.units import squared_unit

from .samples import dates, linear_cycles, sample


def test_scores_worked_by_hand(key):
    data = sample(key, cycles=2).copy()
    data["squared_error"][:] = [4.0, 16.0]
    data["variance"][:] = [1.0, 4.0]
    data["weight"][:] = data["ensemble_weight"][:] = [4.0, 4.0]
    data["rmse"][:], data["spread"][:] = [1.0, 2.0], [0.5, 1.0]
    data["observations"][:] = [2.0, 3.0]
    data["innovation_residual"][:], data["squared_innovation"][:] = [2.0, 3.0], [10.0, 5.0]
    scores = compute_scores(data, key=key, units="K")
    assert scores["rmse"] == 1.5
    np.testing.assert_allclose(scores["rmse_pooled"], np.sqrt(20 / 8))
    assert scores["spread"] == 0.75
    np.testing.assert_allclose(scores["spread_pooled"], np.sqrt(5 / 8))
    assert scores["spread_over_rmse"] == 0.5
    assert scores["desroziers_error_sd"] == 1.0
    np.testing.assert_allclose(scores["desroziers_background_sd"], np.sqrt(2.0))
    assert scores.values["rmse"].units == "K"
    assert scores.values["coverage_90"].units == "1"
    assert all(score.estimator for score in scores.values.values())


def test_a_quotient_is_known_where_its_denominator_is_positive():
    found = divide(np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.5, 0.0, 2.0, -1.0]))
    np.testing.assert_array_equal(found, [2.0, np.nan, 0.0, np.nan])


def test_an_error_that_cancels_is_nought_and_one_below_is_unknown(key):
    """Desroziers' estimate of R, from sums that are zero and negative."""
    data = sample(key, cycles=2).copy()
    data["observations"][:] = [2.0, 2.0]
    data["squared_innovation"][:] = [10.0, 10.0]
    for products, expected in (([3.0, -3.0], 0.0), ([1.0, -3.0], np.nan)):
        data["innovation_residual"][:] = products
        found = compute_scores(data, key=key)["desroziers_error_sd"]
        np.testing.assert_array_equal(found, expected)


def test_rank_flatness_worked_by_hand():
    """Counts 30, 20, 10 against 20 each: chi2 = 100/20 + 0 + 100/20 = 10, p = exp(-5)."""
    sums = {
        "rank_histogram": np.array([30.0, 20.0, 10.0]),
        "weight": np.array(60.0),
        "squared_weight": np.array(60.0),
    }
    statistic, p_value = flatness(sums)
    np.testing.assert_allclose([statistic, p_value], [10.0, np.exp(-5)], rtol=1e-12)
    halved = {**{k: v / 2 for k, v in sums.items()}, "squared_weight": np.array(15.0)}
    np.testing.assert_allclose(flatness(halved), [statistic, p_value], rtol=1e-12)


def test_overconfident_and_calibrated_are_told_apart(key):
    calibrated = compute_scores(sample(key, cycles=300), key=key)
    narrow = compute_scores(sample(key, cycles=300, claimed=0.7), key=key)
    good, bad = (s.values["spread_over_rmse"] for s in (calibrated, narrow))
    assert good.lower < good.value < good.upper
    assert bad.upper < 0.75
    # P(|z| < 0.7 * 1.645) = 0.7504; n = 12000 gives a standard error of 0.004.
    np.testing.assert_allclose(narrow["coverage_90"], 0.7504, atol=0.02)
    assert narrow["rank_p_value"] < 1e-6
    assert narrow["crps_gaussian"] > calibrated["crps_gaussian"]


def test_interval_covers_the_expectation_for_correlated_cycles(key):
    """AR(1) series with expectation 1 and correlation 0.8: the nominal 95 % interval from blocks
    covers it in most of 60 periods (bootstrap intervals of 400 correlated cycles cover about 90 %);
    intervals that ignore the correlation would cover about half."""
    rng = np.random.default_rng(0)
    template = sample(key, cycles=400)
    hits = 0
    for trial in range(60):
        noise = rng.normal(size=450)
        for t in range(1, 450):
            noise[t] += 0.8 * noise[t - 1]
        data = template.copy()
        data["rmse"] = ("time", 1 + 0.1 * noise[50:])
        scores = compute_scores(data, key=jax.random.key(trial), resamples=200)
        hits += scores.values["rmse"].lower <= 1 <= scores.values["rmse"].upper
    # 60 trials at 0.88 give 52.8 +- 2.5; 5 standard deviations below that is 40.
    assert 40 <= hits <= 60


def test_resamples_keep_the_length_and_use_every_cycle_evenly(key):
    counts = np.concatenate(list(resample_counts(50, 7, resamples=2000, key=key)))
    assert counts.shape == (2000, 50)
    np.testing.assert_array_equal(counts.sum(axis=1), 50)
    assert counts.min() >= 0
    # Mean 1 with a standard deviation below sqrt(8 / 2000) = 0.063.
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.3)
    again = np.concatenate(list(resample_counts(50, 7, resamples=2000, key=key)))
    np.testing.assert_array_equal(counts, again)


def test_block_length_follows_the_correlation():
    rng = np.random.default_rng(1)
    white = rng.normal(size=4000)
    red = np.convolve(white, np.ones(20), mode="valid")
    assert correlation_time(white) < 2
    # A running mean of 20 has an integrated correlation time of 20.
    assert 12 < correlation_time(red) < 30
    assert block_length(red) > block_length(white) >= 16
    assert block_length(np.ones(9)) == 2


def _empty(key):
    return sample(key, cycles=20).isel(time=slice(0, 0))


def _zeroed(key, names):
    data = sample(key, cycles=20).copy()
    for name in names:
        data[name][:] = 0.0
    return data


TRUTH_SUMS = ("cycles", "weight", "squared_weight", "ensemble_weight", "rmse")


@pytest.mark.parametrize(
    ("make", "silent", "words"),
    [
        (_empty, "rmse", "no cycle"),
        (_empty, "innovation_chi2", "no cycle"),
        (lambda key: _zeroed(key, TRUTH_SUMS), "rmse", "truth"),
        (lambda key: _zeroed(key, TRUTH_SUMS), "rank_p_value", "truth"),
        (
            lambda key: _zeroed(key, ["ensemble_weight", "crps_fair_sum"]),
            "crps_fair",
            "two members",
        ),
        (lambda key: _zeroed(key, ["observations"]), "residual_rms", "no observation"),
        (lambda key: _zeroed(key, ["rmse", "squared_error"]), "spread_over_rmse", "not positive"),
    ],
)
def test_what_cannot_be_said_has_a_reason(key, make, silent, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compute_scores(make(key), key=key)
    score = scores.values[silent]
    assert np.isnan(score.value)
    assert words in score.reason
    for other in scores.values.values():
        assert (other.reason is None) == bool(np.isfinite(other.value))


def test_calibration_dataset_holds_every_score_and_its_unit(key):
    few = sample(key).isel(rank=slice(0, 5))
    few["rank_histogram"] *= few["weight"] / few["rank_histogram"].sum("rank")
    many = sample(key)
    scores = {
        "few": compute_scores(few, key=key, units="K"),
        "many": compute_scores(many, key=key, units="K"),
    }
    data = calibration_dataset(scores)
    assert list(data["analysis_method"].values) == ["few", "many"]
    for definition in DEFINITIONS:
        assert definition.name in data
    assert data["rmse"].attrs["units"] == "K"
    assert float(data["rmse"].sel(analysis_method="many")) == scores["many"]["rmse"]
    assert float(data["rmse_lower"][0]) < float(data["rmse"][0]) < float(data["rmse_upper"][0])
    assert data["rank_histogram"].shape == (2, 25)
    assert np.isnan(data["rank_histogram"][0, 5:]).all()
    np.testing.assert_allclose(data["rank_histogram"].sum("rank"), 1.0)
    assert calibration_dataset({}).sizes == {"analysis_method": 0}


def test_statistics_dataset_has_units_and_refuses_unequal_lengths(key):
    sums = linear_cycles(key, cycles=5)
    data = statistics_dataset(sums, dates(5), units="m s-1")
    assert data["rmse"].attrs["units"] == "m s-1"
    assert data["variance"].attrs["units"] == squared_unit("m s-1") == "(m s-1)2"
    assert data["weight"].attrs["units"] == squared_unit("1") == "1"
    assert data["binned_weight"].dims == ("time", "spread_bin")
    with pytest.raises(ValueError, match="there are 4 times"):
        statistics_dataset(sums, dates(4))
