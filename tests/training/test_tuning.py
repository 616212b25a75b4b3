"""The choice among filters: by several streams, and never one that loses its truth."""

import numpy as np
import pytest

from vardax_core.training.tuning import choose, pooled_error

CLIMATE_SD = 1.3
RISK = 0.25
"""Probability that a stream of the sharp filter is lost half-way."""


def errors_of(streams: tuple[int, int]):
    """RMSEs of a sharp filter that now and then loses its truth, a safe one, and a dull one."""

    def errors(name: str, number: int) -> np.ndarray:
        rng = np.random.default_rng([number, len(name)])
        level = {"sharp": 0.10, "safe": 0.12, "dull": 0.5}[name]
        rmse = level * (1 + 0.1 * rng.normal(size=(streams[number], 400)))
        if name == "sharp":
            lost = np.arange(streams[number]) % round(1 / RISK) == round(1 / RISK) - 1
            rmse[lost, 200:] = CLIMATE_SD
        return rmse

    return errors


def test_a_filter_that_loses_its_truth_on_some_streams_is_not_chosen():
    names = ("sharp", "safe", "dull")
    on_one = choose(names, errors_of((1, 1)), CLIMATE_SD)
    on_several = choose(names, errors_of((2, 8)), CLIMATE_SD, finalists=2)
    assert on_one.name == "sharp"
    assert on_several.name == "safe"
    assert on_several.score == pytest.approx(0.12, rel=0.05)
    assert on_several.streams == 8


def test_what_is_lost_or_not_finite_counts_as_a_draw_from_the_climate():
    errors = np.full((4, 100), 0.1)
    assert pooled_error(errors, 1.0) == pytest.approx(0.1)
    errors[0, 0] = np.nan
    errors[1, 0] = np.inf
    errors[2, 0] = 1e30
    errors[3, 0] = 1.0
    assert pooled_error(errors, 1.0) == pytest.approx((0.99 * 0.01 + 0.0025 * (3 * 2 + 1)) ** 0.5)


def test_only_the_best_of_the_first_round_are_cycled_on_many_streams():
    seen = []

    def errors(name, number):
        seen.append((name, number))
        return np.full((2, 10), float(name))

    assert choose(("0.4", "0.1", "0.3", "0.2"), errors, 1.0, finalists=2).name == "0.1"
    assert seen[4:] == [("0.1", 1), ("0.2", 1)]


def test_candidates_that_all_lose_their_truth_are_refused():
    with pytest.raises(ValueError, match=r"best of 2 candidates, '1\.2', has an error of 1\.2"):
        choose(("1.2", "1.3"), lambda name, _: np.full((2, 10), float(name)), 1.0)
    with pytest.raises(ValueError, match="one or more candidates"):
        choose((), errors_of((1, 1)), 1.0)
