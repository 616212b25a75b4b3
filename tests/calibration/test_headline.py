"""What is read first: the last cycles beside those before, and parts of grid and period."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from vardax_core.calibration import detail
from vardax_core.calibration.headline import (
    WITH_TRUTH,
    WITHHELD,
    WITHOUT_TRUTH,
    change,
    headline,
)
from vardax_core.calibration.regions import region_index, region_names
from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.verdict import calibration_verdict
from vardax_core.state.grids import LatLon, Plane, Ring

from .samples import sample

CYCLES = 240


@pytest.fixture(scope="module")
def steady():
    return sample(jax.random.key(0), cycles=CYCLES)


def joined(first, second):
    whole = xr.concat([first, second], "time", coords="minimal", data_vars="minimal")
    return whole.assign_coords(time=np.arange(whole.sizes["time"]))


def test_what_does_not_change_has_no_arrow(steady, key):
    lately = headline(steady, key=key)
    assert lately.cycles == CYCLES // 2
    assert lately.names == WITH_TRUTH
    arrows = [change(lately.now.values[n], lately.before.values[n]) for n in WITH_TRUTH]
    # Each differs by chance with probability 0.06 (two half widths in quadrature).
    assert arrows.count("→") >= 3


def test_arrows_say_what_became_worse_and_what_better(steady, key):
    worse = sample(jax.random.key(1), cycles=CYCLES, sd=0.3, claimed=0.5)
    for series, words in (((steady, worse), "worse"), ((worse, steady), "better")):
        lately = headline(joined(*series), key=key)
        up = "↑" if words == "worse" else "↓"
        down = "↓" if words == "worse" else "↑"
        found = {n: change(lately.now.values[n], lately.before.values[n]) for n in WITH_TRUTH}
        assert found["rmse"] == f"{up} {words}"
        assert found["spread_over_rmse"] == f"{down} {words}"
        assert found["coverage_90"] == f"{down} {words}"


def test_a_short_last_period_is_set_beside_as_many_cycles(steady, key):
    lately = headline(steady, cycles=50, key=key)
    direct = compute_scores(steady.isel(time=slice(CYCLES - 100, CYCLES - 50)), key=key)
    assert lately.cycles == 50
    assert lately.before["rmse"] == direct["rmse"]
    assert headline(steady, cycles=10**6, key=key).cycles == CYCLES // 2
    with pytest.raises(ValueError, match="1 or more, got 0"):
        headline(steady, cycles=0, key=key)


def test_without_truth_the_observations_speak(steady, key):
    none = ("cycles", "weight", "squared_weight", "ensemble_weight", "rmse", "squared_error")
    none += ("withheld_observations",)
    blind = steady.assign({name: steady[name] * 0 for name in none})
    lately = headline(blind, key=key)
    assert lately.names == WITHOUT_TRUTH
    assert change(lately.now.values["rmse"], lately.before.values["rmse"]) == "-"


def test_one_cycle_is_no_period(steady, key):
    assert headline(steady.isel(time=slice(0, 1)), key=key).cycles == 0


@pytest.mark.parametrize("shape", [(40,), (3,), (9, 13), (2, 9, 13), (1, 1), ()])
def test_quarters_cover_the_grid(shape):
    index = region_index(shape)
    assert index.shape == shape
    assert index.min() == 0
    assert index.max() <= 3
    if np.prod(shape) >= 40:
        counts = np.bincount(index.ravel(), minlength=4)
        # Halves of a side of n points differ by one row.
        assert counts.min() > 0.15 * index.size


def test_quarters_are_named_by_their_coordinates():
    plane = Plane.from_axes(np.array([50.0, 52.0, 54.0]), np.array([0.0, 1.0]))
    names = region_names(plane, ("y", "x"))
    assert names[0] == "y 50 to 52, x 0 to 0"
    assert names[3] == "y 54 to 54, x 1 to 1"
    assert region_names(Ring(1), ("x",)) == ["x 0 to 0", "-", "-", "-"]
    pacific = LatLon.from_degrees(np.array([0.0, 1.0]), np.array([178.0, 179, -180, -179]))
    assert region_names(pacific, ("lat", "lon"))[1] == "lat 0 to 0, lon 180 to 181"


def test_quarters_and_parts_add_up_to_the_whole(steady, key):
    scores = compute_scores(steady, key=key)
    for name in ("weight", "error", "squared_error", "variance"):
        np.testing.assert_allclose(scores.sums[f"region_{name}"].sum(), scores.sums[name])
    covered = scores.sums["region_covered"].sum() / scores.sums["weight"]
    np.testing.assert_allclose(covered, scores["coverage_90"])
    makers = detail.Makers(np.arange(CYCLES) % 3 == 0, ("amortized", "etkf"))
    header, rows = detail.over_time(steady, "K", makers)
    assert [len(row) for row in rows] == [len(header)] * detail.PARTS
    assert sum(int(row[1]) for row in rows) == CYCLES
    assert sum(int(row[-1]) for row in rows) == CYCLES // 3
    _, rows = detail.by_maker(steady, "K", makers)
    assert {row[0]: int(row[1]) for row in rows} == {
        "amortized": CYCLES - CYCLES // 3,
        "etkf": CYCLES // 3,
    }
    _, rows = detail.by_region(scores, ["a", "b", "c", "d"], "K")
    assert [row[0] for row in rows] == ["a", "b", "c", "d"]


def test_a_score_without_an_interval_has_no_arrow(steady, key):
    score = compute_scores(steady, key=key).values["rmse"]
    bare = dataclasses.replace(score, lower=float("nan"), upper=float("nan"))
    assert change(score, bare) == "-"


def test_without_truth_withheld_observations_speak_first(steady, key):
    none = ("cycles", "weight", "squared_weight", "ensemble_weight", "rmse", "squared_error")
    blind = steady.assign({name: steady[name] * 0 for name in none})
    assert headline(blind, key=key).names == WITHHELD
    scores = compute_scores(blind, key=key)
    count = float(scores.sums["withheld_observations"])
    # The mean of count squares of unit normal numbers: four of its standard deviations.
    assert abs(scores["withheld_chi2"] - 1) < 4 * (2 / count) ** 0.5
    assert str(calibration_verdict(scores, "x")).startswith("**Calibrated**: x has a chi2 of ")
