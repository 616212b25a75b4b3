"""The rank histogram of an ensemble whose mean and spread are exact."""

import numpy as np
import pytest

from vardax_core.calibration.ranks import DRAWS, matched_rank_histogram


def test_two_members_by_hand():
    """Two members with the mean 0 and the variance 1 lie at -1/sqrt 2 and 1/sqrt 2."""
    below = 0.2397500611  # The normal distribution at -0.70710678.
    expected = 3 * np.array([below, 1 - 2 * below, below])
    # Three standard deviations of a share of the draws, on a scale on which flat is 1.
    np.testing.assert_allclose(matched_rank_histogram(2), expected, atol=3 * 3 * 0.5 / DRAWS**0.5)


@pytest.mark.parametrize("members", [10, 24, 100])
def test_it_is_symmetric_low_at_the_ends_and_a_distribution(members):
    found = matched_rank_histogram(members)
    np.testing.assert_allclose(found, found[::-1])
    assert found.mean() == pytest.approx(1.0)
    assert 0.6 < found[0] < 0.95


def test_a_large_ensemble_comes_near_a_flat_histogram():
    members = 400
    inner = matched_rank_histogram(members)[20:-20]
    # The two ends together: twice the draws behind each rank.
    noise = ((members + 1) / (2 * DRAWS)) ** 0.5
    assert np.abs(inner - 1).max() < 5 * noise
    assert abs(inner.mean() - 1) < 0.01
