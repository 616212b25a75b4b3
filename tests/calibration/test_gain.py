"""The sentence on what a method gains: over which other, how much, and when chance explains it."""

import math

import numpy as np
import pytest

from vardax_core.calibration.gain import gain
from vardax_core.calibration.scores import Score, Scores


def method(crps=math.nan, rmse=math.nan, withheld=math.nan, width=0.01):
    values = {
        name: Score(name, name, value, value - width, value + width, "K", "", None)
        for name, value in (
            ("crps_gaussian", crps),
            ("rmse", rmse),
            ("withheld_rms", withheld),
        )
    }
    return Scores(values=values, cycles=100, block=1, sums={}, spread_edges=np.zeros(1))


def test_the_best_of_the_others_by_crps_is_what_a_method_is_compared_with():
    said = gain({"a": method(0.6, 1.2), "b": method(1.0, 2.0), "c": method(1.5, 1.9)}, "a")
    assert (
        said
        == "**a** over **b**, the best of 2 methods beside it: CRPS 40 % lower, RMSE 40 % lower."
    )


def test_a_loss_is_said_as_plainly():
    said = gain({"a": method(1.1, 2.0), "b": method(1.0, 2.0)}, "a")
    assert said == "**a** over **b**: CRPS 10 % higher, RMSE not clearly different (+0 %)."


def test_without_a_truth_withheld_observations_compare():
    said = gain({"a": method(withheld=0.9), "b": method(withheld=1.2)}, "a")
    assert "withheld observations 25 % lower" in said


@pytest.mark.parametrize("others", [{}, {"b": method()}])
def test_nothing_is_said_where_nothing_compares(others):
    assert gain({"a": method(0.6, 1.2), **others}, "a") == ""


@pytest.mark.parametrize("seed", range(3))
def test_a_difference_within_the_intervals_is_called_none(seed):
    own, other = 1 + 0.01 * np.random.default_rng(seed).normal(size=2)
    said = gain({"a": method(own, own, width=0.2), "b": method(other, other, width=0.2)}, "a")
    assert said.count("not clearly different") == 2
