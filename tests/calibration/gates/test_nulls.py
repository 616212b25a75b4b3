"""Null distributions: worked by hand, enumerated, and simulated."""

import itertools

import numpy as np
import pytest

from vardax_core.calibration.gates.nulls import (
    Tolerance,
    TooFewPairsError,
    ecdf_null,
    rank_null,
)


def test_p_values_worked_by_hand():
    """Two ranks of one draw: sums 0, 1, 2 with probabilities 1/4, 1/2, 1/4. Two ranks of two
    draws: scores 1, 0, 1, so sums 0, 1, 2 with probabilities 1/9, 4/9, 4/9."""
    np.testing.assert_allclose(rank_null(2, 1).location, [0.5, 1.0, 0.5], rtol=1e-12)
    null = rank_null(2, 2)
    np.testing.assert_array_equal(null.scores, [1, 0, 1])
    np.testing.assert_allclose(null.dispersion, [2 / 9, 1.0, 8 / 9], rtol=1e-12)


def test_the_simultaneous_distribution_is_that_of_all_rank_vectors():
    """Five ranks of three draws: all 4^5 vectors, each as probable."""
    null = ecdf_null(5, 3)
    smallest = []
    for ranks in itertools.product(range(4), repeat=5):
        counts = [sum(rank <= t for rank in ranks) for t in null.thresholds]
        smallest.append(min(null.pointwise[k][c] for k, c in enumerate(counts)))
    enumerated = [np.mean(np.array(smallest) <= level * (1 + 1e-9)) for level in null.levels]
    np.testing.assert_allclose(null.simultaneous, enumerated, atol=1e-12)


@pytest.mark.parametrize("draws", [1, 4, 19, 64])
def test_p_values_of_uniform_ranks_are_valid_and_not_idle(draws):
    """Each test rejects at level a with probability a at most, and the two sums with a third of it
    at least (they are discrete). 20000 sums: a + 5 standard errors."""
    n, ranks = 60, np.random.default_rng(draws).integers(0, draws + 1, (60, 20000))
    null, ecdf = rank_null(n, draws), ecdf_null(n, draws)
    counts = np.stack([np.count_nonzero(ranks <= t, axis=0) for t in ecdf.thresholds])
    pointwise = np.stack([ecdf.pointwise[k][c] for k, c in enumerate(counts)]).min(axis=0)
    found = {
        "location": null.location[ranks.sum(axis=0)],
        "dispersion": null.dispersion[null.scores[ranks].sum(axis=0)],
        "ecdf": ecdf.p_value(pointwise),
    }
    for name, p in found.items():
        for level in (0.2, 0.05, 0.01):
            share = np.mean(p <= level)
            assert share <= level + 5 * np.sqrt(level / 20000), (name, level)
            if draws > 1 and name != "ecdf":
                assert share >= level / 3, (name, level)


def test_the_band_holds_whole_curves():
    """Of 4000 uniform curves 5 % leave the band of level 0.05: 200, standard deviation 13.8."""
    ecdf = ecdf_null(200, 19)
    ranks = np.random.default_rng(0).integers(0, 20, (200, 4000))
    counts = np.stack([np.count_nonzero(ranks <= t, axis=0) for t in ecdf.thresholds])
    lower, upper = ecdf.band(0.05)
    outside = np.any((counts < lower[:, None]) | (counts > upper[:, None]), axis=0).sum()
    assert 100 <= outside <= 200 + 5 * 13.8


def test_a_tolerance_forgives_just_so_much():
    """Ranks of truths biased by 0.1 sd are rejected by the exact null far more often than by the
    one that forgives it, which keeps its level."""
    rng = np.random.default_rng(1)
    truth, draws = rng.normal(0.1, 1, (400, 1, 500)), rng.normal(size=(400, 19, 500))
    sums = np.sum(draws < truth, axis=1).sum(axis=0)
    exact, forgiving = (np.mean(rank_null(400, 19, t).location[sums] <= 0.05) for t in (
        Tolerance(), Tolerance(bias=0.1)))  # fmt: skip
    assert exact > 0.4
    assert forgiving <= 0.025 + 5 * np.sqrt(0.025 / 500)
    with pytest.raises(ValueError, match="1 or more"):
        Tolerance(spread=0.8)


def test_members_laid_out_about_the_exact_mean_are_as_right_as_draws():
    """Their ranks are too seldom the outermost, by which the exact null of 400 pairs of 10 members
    knows them; the one that takes them for right keeps its level, and still sees a fifth."""
    rng = np.random.default_rng(2)
    truth, draws = rng.normal(size=(400, 1, 500)), rng.normal(size=(400, 10, 500))
    laid_out = draws - draws.mean(axis=1, keepdims=True)

    def rejected(members, tolerance):
        null = rank_null(400, 10, tolerance)
        ranks = np.sum(members < truth, axis=1)
        return np.mean(null.dispersion[null.scores[ranks].sum(axis=0)] <= 0.05)

    either = Tolerance(laid_out=True)
    assert not either.exact
    assert rejected(laid_out, Tolerance()) > 0.05 + 5 * np.sqrt(0.05 * 0.95 / 500)
    for right in (laid_out, draws):
        assert rejected(right, either) <= 0.05 + 5 * np.sqrt(0.05 * 0.95 / 500)
    assert min(rejected(0.8 * draws, either), rejected(1.2 * laid_out, either)) > 0.9


def test_nothing_to_rank_is_refused():
    with pytest.raises(TooFewPairsError, match="0 pairs"):
        rank_null(0, 5)
    with pytest.raises(TooFewPairsError, match="0 draws"):
        ecdf_null(5, 0)
