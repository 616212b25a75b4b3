"""Gates on scores of trial cycles: the worst part decides, and what is not known has not passed."""

import math

import pytest

from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.report import found_in_words, write_gate_report
from vardax_core.calibration.gates.trial import Interval, ScoreGate
from vardax_core.calibration.plots.gates import draw

NOTHING = GateContext(tables={})
GOOD = {"20 stations": Interval(1.1, 0.9, 1.2), "00 to 12 UTC": Interval(0.95, math.nan, math.nan)}


def checked(parts, lowest=0.8, highest=1.25):
    gate = ScoreGate("spread", "spread/RMSE", parts, 80, lowest, highest, "the spread is wrong")
    return gate.check(NOTHING)


def test_all_parts_inside_pass_and_the_one_nearest_to_the_edge_is_named_first():
    result = checked(GOOD)
    assert result.passed
    assert result.p_value is None
    assert (result.statistic, result.threshold) == (1.1, 1.25) or result.strata[0].n == 40
    assert "0.95 to 1.1 in 2 parts" in result.message


@pytest.mark.parametrize(("value", "edge"), [(0.6, 0.8), (1.5, 1.25)])
def test_one_part_outside_fails_and_is_named(value, edge):
    result = checked({**GOOD, "12 to 24 UTC": Interval(value, math.nan, math.nan)})
    assert not result.passed
    assert (result.statistic, result.threshold) == (value, edge)
    assert result.strata[0].name == "12 to 24 UTC"
    assert "the spread is wrong (12 to 24 UTC)" in result.message


def test_a_range_may_be_open_below():
    result = checked({"all": Interval(-3.0, -4.0, -2.0)}, lowest=-math.inf, highest=1.0)
    assert result.passed
    assert result.threshold == 1.0
    assert "at most 1 is allowed" in result.message


@pytest.mark.parametrize("parts", [{}, {**GOOD, "160 stations": Interval(math.nan, 0.0, 0.0)}])
def test_what_is_not_known_has_not_passed(parts):
    result = checked(parts)
    assert not result.passed
    assert "nothing can be said" in result.message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.6, "0.600, at least 0.800 is allowed"),
        (0.9, "0.900, at least 0.800 is allowed"),
        (1.1, "1.100, at most 1.250 is allowed"),
        (1.5, "1.500, at most 1.250 is allowed"),
    ],
)
def test_a_page_says_on_which_side_the_limit_is(value, said):
    assert found_in_words(checked({"all": Interval(value, math.nan, math.nan)})) == said


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="must be below"):
        checked(GOOD, lowest=1.0, highest=1.0)


def test_the_picture_shows_every_part(tmp_path):
    result = checked({**GOOD, "outside": Interval(2.0, 1.5, 2.5)})
    (axes,) = draw(result.picture).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [*GOOD, "outside"]
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "outside"
    report = write_gate_report(tmp_path, [result], title="Gates", provenance={})
    assert not report.passed
    assert (tmp_path / "spread.png").exists()
