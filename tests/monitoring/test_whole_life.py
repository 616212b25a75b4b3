"""Tests of the whole life of an experiment, on statistics that are made up."""

import numpy as np
import pytest
import xarray as xr

from vardax_core.monitoring.base import Severity, judge
from vardax_core.monitoring.checks import LifelongCalibration
from vardax_core.monitoring.whole_life import READ, whole_life

from .test_checks import situation

CYCLES, BURN_IN, FAULT = 900, 100, 500
POINTS, OBSERVATIONS = 40, 30
TIMES = np.datetime64("2001-01-01", "ns") + np.arange(CYCLES) * np.timedelta64(6, "h")
REGIONS = ("a", "b", "c", "d")


def diagnostics(*, spread=1.0, bias=0.0, region=None, truth=True, channels=()) -> xr.Dataset:
    """Sums of cycles with an error of variance 1 and observations of error variance 2.

    Arguments:
        spread: factor on the stated spread from `FAULT` on, only in `region` if there is one.
        bias: of the observations from then on.
        truth: whether there is one.
        channels: of the state.
    """
    rng = np.random.default_rng(5)
    shape = (CYCLES, len(channels)) if channels else (CYCLES,)
    late = np.arange(CYCLES) >= FAULT
    quarter = POINTS // 4
    squares = rng.chisquare(quarter, (*shape, 4))
    variance = np.full((*shape, 4), float(quarter))
    if region is None:
        variance[late] *= spread**2
    else:
        variance[late, ..., region] *= spread**2
    innovation = rng.normal(size=(CYCLES, OBSERVATIONS)) * 3**0.5
    innovation[late] += bias
    seen = {
        "observations": np.full(CYCLES, float(OBSERVATIONS)),
        "innovation": innovation.sum(axis=1),
        "squared_innovation": (innovation**2).sum(axis=1),
        "observed_background_variance": np.full(CYCLES, 1.0 * OBSERVATIONS),
        "error_variance": np.full(CYCLES, 2.0 * OBSERVATIONS),
    }
    known = float(truth)
    fields = {
        "weight": np.full(shape, known * POINTS),
        "error": known * rng.normal(size=shape) * POINTS**0.5,
        "squared_error": known * squares.sum(axis=-1),
        "variance": known * variance.sum(axis=-1),
        "region_weight": np.full((*shape, 4), known * quarter),
        "region_squared_error": known * squares,
        "region_variance": known * variance,
    }
    none = {name: np.zeros(CYCLES) for name in READ if name.startswith("withheld")}
    dims = ("time", "channel") if channels else ("time",)
    made = {
        name: ((*dims, "region") if value.ndim > len(dims) else dims, value)
        for name, value in fields.items()
    } | {name: ("time", value) for name, value in (seen | none).items()}
    coords = {"time": TIMES} | ({"channel": list(channels)} if channels else {})
    return xr.Dataset(made, coords)


def life_of(**how):
    return whole_life(diagnostics(**how), TIMES[BURN_IN], REGIONS)


def test_a_calibrated_life_has_no_alarm():
    life = life_of()
    assert life.standing == ()
    assert life.words() == "as predicted"
    assert {test.of for test in life.tests} == {
        "error against spread",
        "mean error",
        "innovations",
        "mean of innovations",
        *(f"error against spread in {name}" for name in REGIONS),
    }


def test_a_spread_that_became_too_small_is_told_with_its_date():
    words = life_of(spread=0.7).words()
    assert words.startswith("spread too small (error against spread")
    assert "by chance at most once in " in words
    began = np.datetime64(words.split("since ")[1][:16])
    assert abs(began - TIMES[FAULT]) <= np.timedelta64(20 * 6, "h")


def test_a_fault_of_one_quarter_is_told_by_its_name():
    found = life_of(spread=0.5, region=2).standing
    assert "error against spread in c" in {test.of for test in found}
    others = {f"error against spread in {name}" for name in "abd"}
    assert not others & {test.of for test in found}


def test_a_bias_of_the_observations_is_told_without_a_truth():
    life = life_of(bias=0.5, truth=False)
    assert {test.of for test in life.standing} == {"mean of innovations"}
    assert life.standing[0].wager.finding == "bias"


def test_a_channel_is_told_by_its_name():
    found = life_of(spread=0.7, channels=("temperature", "salinity")).standing
    assert {test.of for test in found} >= {
        "temperature, error against spread",
        "salinity, error against spread",
    }


def test_cycles_of_the_burn_in_are_not_tested():
    life = life_of()
    assert life.cycles[0] == TIMES[BURN_IN]
    assert all(len(test.evidence.log10) == CYCLES - BURN_IN for test in life.tests)


@pytest.mark.parametrize(("spread", "severity"), [(1.0, Severity.INFO), (0.6, Severity.WARNING)])
def test_the_check_warns_while_an_alarm_stands(spread, severity):
    finding = judge(LifelongCalibration(), situation(life=life_of(spread=spread)))
    assert finding.severity is severity


def test_the_check_says_nothing_without_a_life():
    assert judge(LifelongCalibration(), situation()).value is None
