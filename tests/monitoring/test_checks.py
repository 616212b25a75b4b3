"""Every check on numbers that are made up, against limits worked out by hand."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vardax_core.calibration.verdict import Verdict
from vardax_core.experiments.bias_tables import BiasStep
from vardax_core.monitoring import checks
from vardax_core.monitoring.base import AbstractCheck, Limits, Severity, judge
from vardax_core.monitoring.dashboard import verdict
from vardax_core.monitoring.robust import limits_around, robust_factor, robust_range
from vardax_core.monitoring.situation import SCALARS, Situation
from vardax_core.store.hold import Hold

INTERVAL = np.timedelta64(360, "m")
FIRST = np.datetime64("2000-01-01T00:00", "m")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CYCLES, COUNT = 120, 50


def situation(changes=None, **fields) -> Situation:
    """A month in which every cycle is as it should be: mean O-B 0, chi2 1, B = R / 4, spread equal
    to RMSE. The last four cycles are judged.

    Arguments:
        changes: by name of a statistic, its value in the judged cycles.
    """
    exact = {
        "observations": COUNT,
        "innovation": 0.0,
        "squared_innovation": 1.25 * COUNT,
        "chi2": COUNT,
        "observed_background_variance": 0.25 * COUNT,
        "error_variance": 1.0 * COUNT,
        "squared_error": 10.0,
        "variance": 10.0,
        "result": 0,
        "analysis_method": 0,
        "replaced_members": 0,
    }
    assert exact.keys() == set(SCALARS)
    statistics = {name: np.full(CYCLES, float(value)) for name, value in exact.items()}
    for name, value in (changes or {}).items():
        statistics[name][-4:] = value
    cycles = FIRST + np.arange(CYCLES) * INTERVAL
    made = Situation(
        now=NOW,
        cycles=cycles,
        statistics=statistics,
        judged=4,
        settled=FIRST,
        interval=INTERVAL,
        last=cycles[-1],
        due=None,
        hold=None,
        free_bytes=10**12,
        proven=None,
    )
    return dataclasses.replace(made, **fields)


def step(cycle: int) -> BiasStep:
    """A step of a bias that a cycle found, counted from the last."""
    found = FIRST + (CYCLES + cycle) * INTERVAL
    return BiasStep("buoys/b07", found - 5 * INTERVAL, found, -0.8)


def test_a_step_of_a_bias_is_told_in_words():
    finding = judge(checks.BiasSteps(), situation(steps=(step(-1),), units="K"))
    assert str(finding) == "biases with a step: buoys/b07 by -0.8 K since 2000-01-29T12:00"


def severity(check: AbstractCheck, **changes) -> Severity:
    return judge(check, situation(changes)).severity


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_an_ordinary_month_is_well(check):
    assert judge(check, situation()).severity is Severity.INFO


def test_names_differ_and_a_misspelt_field_is_refused():
    assert len({check.name for check in checks.CHECKS}) == len(checks.CHECKS)
    with pytest.raises(ValueError, match="soft_cycle"):
        checks.Freshness.model_validate({"soft_cycle": 3})


class TestRobustLimits:
    def test_reference_value(self):
        """The median of 1 to 13 is 7, the median of the distances from it 3, which is 4.4478
        standard deviations of a Gaussian."""
        low, high = robust_range(np.arange(1.0, 14.0), least=0.0)[:2]
        assert low == pytest.approx(7 - 6 * 4.447807, abs=1e-5)
        assert high == pytest.approx(7 + 6 * 4.447807, abs=1e-5)

    def test_a_constant_past_leaves_the_least_width(self):
        assert robust_range(np.full(20, 3.0), least=0.5)[:2] == (2.5, 3.5)
        assert robust_factor(np.full(20, 3.0), least=2.0)[:2] == pytest.approx((1.5, 6.0))

    def test_a_third_of_wild_values_moves_them_by_less_than_the_width_itself(self):
        rng = np.random.default_rng(0)
        clean = rng.normal(size=120)
        wild = np.where(np.arange(120) % 3 == 0, 1e6, clean)
        low, high = robust_range(clean, least=0.0)[:2]
        moved = robust_range(wild, least=0.0).high
        assert moved - high < high - low

    def test_too_few_values_give_none(self):
        assert robust_range(np.arange(11.0), least=1.0) is None
        assert robust_range(np.r_[np.arange(11.0), np.nan], least=1.0) is None

    def test_beyond_both_limits_the_hard_one_counts(self):
        limits = Limits(soft_low=2.0, hard_low=1.0)
        assert limits.crossed(2.0) == (Severity.INFO, None)
        assert limits.crossed(1.5) == (Severity.WARNING, 2.0)
        assert limits.crossed(0.5) == (Severity.ERROR, 1.0)


positive = st.floats(1e-3, 1e3)


@given(
    past=st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=40),
    half=positive,
    least=st.floats(0, 10),
)
def test_a_warning_comes_before_its_error(past, half, least):
    """Of a wildly varying past as of a steady one; they coincide only where the median of the past
    is an error itself."""
    usual = robust_range(np.asarray(past), least=least)
    limits = limits_around(usual, hard_low=-half, hard_high=half)
    assert limits.hard_low <= limits.soft_low
    assert limits.soft_high <= limits.hard_high
    if abs(usual.centre) < half and usual.outer_high > usual.high:
        assert limits.hard_low < limits.soft_low
        assert limits.soft_high < limits.hard_high


def test_limits_of_a_past_that_exceeds_the_hard_ones():
    """Mean O-B between -5 and 6.4 in usual cycles: an error is beyond these, not at 1.65."""
    past = np.random.default_rng(0).normal(0.7, 0.95, size=160)
    usual = robust_range(past, least=0.1)
    limits = limits_around(usual, hard_low=-1.65, hard_high=1.65)
    assert limits.hard_low < limits.soft_low < -3.5
    assert 5 < limits.soft_high < limits.hard_high
    lasting = limits_around(robust_range(past + 9, least=0.1), hard_low=-1.65, hard_high=1.65)
    assert lasting.crossed(9.7) == (Severity.ERROR, 1.65)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_every_check_warns_before_its_error_whatever_the_past_was(check):
    made = situation()
    rng = np.random.default_rng(1)
    for name, values in made.statistics.items():
        if name not in ("result", "analysis_method"):
            values *= rng.lognormal(0.0, 1.5, size=values.size)
    made.statistics["innovation"][:] = 40 * rng.normal(size=CYCLES)
    limits = check.look(made).limits
    if limits.soft_low is not None and limits.hard_low is not None:
        assert limits.soft_low > limits.hard_low
    if limits.soft_high is not None and limits.hard_high is not None:
        assert limits.soft_high < limits.hard_high


@pytest.mark.parametrize(
    ("calibrated", "expected"),
    [(True, Severity.INFO), (None, Severity.INFO), (False, Severity.WARNING)],
)
def test_not_all_is_well_where_a_report_says_otherwise(calibrated, expected):
    judged = Verdict("Overconfident", calibrated, ": x has spread/RMSE 0.70")
    made = situation(verdict=judged)
    findings = [judge(check, made) for check in checks.CHECKS]
    assert max(f.severity for f in findings) is expected
    said = verdict(findings, made)
    assert ("All is well" in said) is (expected is Severity.INFO)
    assert "Overconfident: x has spread/RMSE 0.70" in said


class TestObservations:
    """Of 50 observations a tenth may be missing."""

    @pytest.mark.parametrize(
        ("count", "expected"),
        [(45, Severity.INFO), (44, Severity.WARNING), (0, Severity.ERROR), (60, Severity.INFO)],
    )
    def test_limits(self, count, expected):
        assert severity(checks.ObservationCount(), observations=count) is expected

    def test_cycles_without_any_may_be_usual(self):
        made = situation()
        made.statistics["observations"][::2] = 0
        finding = judge(checks.ObservationCount(), made)
        assert finding.severity is Severity.INFO
        assert finding.limits.hard_low is None

    def test_the_first_bad_cycle_is_named(self):
        made = situation()
        made.statistics["observations"][-3:] = 0
        assert judge(checks.ObservationCount(), made).cycle == "2000-01-30T06:00"

    def test_without_observations_nothing_is_said_of_departures(self):
        gone = dict.fromkeys(("observations", "chi2", "error_variance"), 0)
        for check in (checks.MeanInnovation(), checks.InnovationChi2(), checks.SpreadCollapse()):
            finding = judge(check, situation(gone))
            assert (finding.value, finding.remark) == (None, "no observation was used")


class TestDepartures:
    """One O-B has the variance 0.25 + 1; its root is 1.118."""

    @pytest.mark.parametrize(
        ("mean", "expected"),
        [
            (0.11, Severity.INFO),
            (0.12, Severity.WARNING),
            (-0.12, Severity.WARNING),
            (1.11, Severity.WARNING),
            (-1.12, Severity.ERROR),
        ],
    )
    def test_a_bias(self, mean, expected):
        assert severity(checks.MeanInnovation(), innovation=mean * COUNT) is expected

    @pytest.mark.parametrize(
        ("chi2", "expected"),
        [
            (1.49, Severity.INFO),
            (1.51, Severity.WARNING),
            (0.66, Severity.WARNING),
            (5.1, Severity.ERROR),
            (0.09, Severity.ERROR),
        ],
    )
    def test_chi2(self, chi2, expected):
        assert severity(checks.InnovationChi2(), chi2=chi2 * COUNT) is expected

    def test_two_observations_may_be_far_off_by_chance(self):
        """P(chi2 of 2 degrees of freedom > x) = exp(-x / 2) is 1e-6 at 27.6, 13.8 a piece."""
        for chi2, expected in ((13.7, Severity.WARNING), (13.9, Severity.ERROR)):
            found = severity(checks.InnovationChi2(), observations=2, chi2=2 * chi2)
            assert found is expected

    @pytest.mark.parametrize(
        ("spread", "expected"),
        [(0.26, Severity.INFO), (0.24, Severity.WARNING), (0.049, Severity.ERROR)],
    )
    def test_a_collapse(self, spread, expected):
        """The usual spread is 0.5; half of it is a warning, a tenth an error."""
        variance = spread**2 * COUNT
        found = severity(checks.SpreadCollapse(), observed_background_variance=variance)
        assert found is expected


class TestFallback:
    @pytest.mark.parametrize(
        ("fell", "of", "expected"),
        [
            (2, 20, Severity.INFO),
            (3, 20, Severity.WARNING),
            (2, 4, Severity.WARNING),
            (3, 4, Severity.ERROR),
        ],
    )
    def test_share_of_the_last_analyses(self, fell, of, expected):
        made = situation()
        made.statistics["analysis_method"][-fell:] = 1
        finding = judge(checks.FallbackRate(cycles=of), made)
        assert (finding.value, finding.severity) == (fell / of, expected)

    def test_a_failure_counts_and_a_cycle_without_observations_does_not(self):
        assert severity(checks.FallbackRate(), result=3) is Severity.WARNING
        gone = {"result": 1, "observations": 0, "analysis_method": 3}
        assert severity(checks.FallbackRate(), **gone) is Severity.INFO


class TestLostMembers:
    @pytest.mark.parametrize(
        ("lost", "expected"), [(0, Severity.INFO), (1, Severity.INFO), (2, Severity.WARNING)]
    )
    def test_members_that_diverge_warn_though_the_analyses_are_ok(self, lost, expected):
        assert severity(checks.LostMembers(), replaced_members=lost) is expected

    def test_what_is_usual_does_not(self):
        made = situation()
        made.statistics["replaced_members"][:] = 2
        assert judge(checks.LostMembers(), made).severity is Severity.INFO


class TestDrift:
    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize(
        ("ratio", "expected"),
        [
            (1.0, Severity.INFO),
            (0.7, Severity.WARNING),
            (1.4, Severity.WARNING),
            (0.49, Severity.ERROR),
            (2.1, Severity.ERROR),
        ],
    )
    def test_against_five_blocks_of_twenty_days(self, ratio, expected, known):
        made = situation()
        cycles = FIRST + np.arange(480) * INTERVAL
        statistics = {k: np.resize(v, 480) for k, v in made.statistics.items()}
        made = dataclasses.replace(made, cycles=cycles, statistics=statistics, last=cycles[-1])
        error = "squared_error" if known else "squared_innovation"
        if not known:
            statistics["squared_error"][:] = 0
        statistics[error][-80:] /= ratio**2
        finding = judge(checks.CalibrationDrift(), made)
        assert finding.severity is expected
        assert finding.value == pytest.approx(ratio)

    def test_a_few_cycles_say_nothing(self):
        made = situation()
        few = {k: v[-19:] for k, v in made.statistics.items()}
        made = dataclasses.replace(made, cycles=made.cycles[-19:], statistics=few)
        assert judge(checks.CalibrationDrift(), made).remark == "too few cycles yet"


@pytest.mark.parametrize(
    ("check", "field", "value", "expected"),
    [
        (checks.DiskSpace(), "free_bytes", 9 * 10**9, Severity.WARNING),
        (checks.DiskSpace(), "free_bytes", 9 * 10**8, Severity.ERROR),
        (checks.GateExpiry(), "proven", NOW - timedelta(days=89), Severity.INFO),
        (checks.GateExpiry(), "proven", NOW - timedelta(days=91), Severity.WARNING),
        (checks.GateExpiry(), "proven", NOW - timedelta(days=366), Severity.ERROR),
        (checks.ForgottenHold(), "hold", NOW - timedelta(days=2), Severity.INFO),
        (checks.ForgottenHold(), "hold", NOW - timedelta(days=4), Severity.WARNING),
        (checks.BiasSteps(), "steps", (), Severity.INFO),
        (checks.BiasSteps(), "steps", (step(-9),), Severity.INFO),
        (checks.BiasSteps(), "steps", (step(-9), step(-2)), Severity.WARNING),
        (checks.Freshness(), "due", 2, Severity.INFO),
        (checks.Freshness(), "due", 3, Severity.WARNING),
        (checks.Freshness(), "due", 9, Severity.ERROR),
    ],
)
def test_what_surrounds_the_store(check, field, value, expected):
    last = FIRST + (CYCLES - 1) * INTERVAL
    made = {"hold": lambda v: Hold(reason="test", since=v), "due": lambda v: last + v * INTERVAL}
    given = made.get(field, lambda v: v)(value)
    assert judge(check, situation(**{field: given})).severity is expected
