"""Whether an analysis is calibrated: one verdict, for reports, checks and dashboards."""

from dataclasses import dataclass

import numpy as np

from vardax_core.calibration.scored_by import BY_WITHHELD
from vardax_core.calibration.scores import Score, Scores

RATIO_LIMITS = (0.9, 1.1)
"""Spread/RMSE within which the spread is called calibrated."""
COVERAGE_LIMITS = (0.87, 0.93)
"""Share of truths inside the 90 % interval within which the interval is called calibrated."""
CHI2_LIMITS = (0.8, 1.25)
"""Chi2 per observation within which the statistics are called consistent."""
FEWEST_CYCLES = 20
"""With fewer cycles nothing is called calibrated or not."""


@dataclass(frozen=True)
class Verdict:
    """What the scores of a period say of a method's spread.

    Attributes:
        word: in a word or a few, "Overconfident" say.
        calibrated: None if nothing can be said.
        facts: the rest of the sentence, with the numbers.
    """

    word: str
    calibrated: bool | None
    facts: str

    def __str__(self) -> str:
        return f"**{self.word}**{self.facts}."


def calibration_verdict(scores: Scores, name: str) -> Verdict:
    """Judge the calibration of a method from its scores alone.

    By the truth where there is one, else by withheld observations, else by innovations, which can
    contradict the assumed statistics but not prove them. A score outside of its limits whose 95 %
    interval reaches into them gives no verdict.

    Arguments:
        scores: of a period.
        name: of the method, for the sentence.
    """
    if not scores.cycles:
        return Verdict("No verdict", None, f" on {name}: the period holds no cycle")
    found = scores.values
    ratio, coverage = found["spread_over_rmse"], found["coverage_90"]
    if np.isfinite(ratio.value) and np.isfinite(coverage.value):
        facts = (
            f"{name} has spread/RMSE {ratio.value:.2f}{_interval(ratio)}, the 90 % interval "
            f"covers {100 * coverage.value:.1f} %{_interval(coverage, percent=True)} of truths"
        )
        word = _by_truth(_side(ratio, RATIO_LIMITS), _side(coverage, COVERAGE_LIMITS))
    elif BY_WITHHELD.ratio in found and np.isfinite(scores[BY_WITHHELD.ratio]):
        held, inside = found[BY_WITHHELD.ratio], found[BY_WITHHELD.coverage]
        facts = (
            f"{name} predicts withheld observations with spread/RMS {held.value:.2f}"
            f"{_interval(held)}, R included; the 90 % interval covers "
            f"{100 * inside.value:.1f} %{_interval(inside, percent=True)} of them"
        )
        word = _by_truth(_side(held, RATIO_LIMITS), _side(inside, COVERAGE_LIMITS))
    elif np.isfinite(scores["withheld_chi2"]):
        chi2 = found["withheld_chi2"]
        facts = (
            f"{name} has a chi2 of {chi2.value:.2f}{_interval(chi2)} for each withheld "
            f"observation; {ratio.reason}"
        )
        words = ("Underconfident", CALIBRATED, "Overconfident")
        word = _by_chi2(chi2, *words)
    elif np.isfinite(scores["innovation_chi2"]):
        chi2 = found["innovation_chi2"]
        facts = (
            f"{name} has an innovation chi2 of {chi2.value:.2f}{_interval(chi2)} per "
            f"observation; calibration cannot be said, for {ratio.reason}"
        )
        words = ("Innovations too small", CONSISTENT, "Innovations too large")
        word = _by_chi2(chi2, *words)
    else:
        facts = f" on {name}: {ratio.reason}, and no observation was used"
        return Verdict("No verdict", None, facts)
    if scores.cycles < FEWEST_CYCLES:
        few = f" after {scores.cycles} cycles, {FEWEST_CYCLES} are needed: {facts}"
        return Verdict("No verdict yet", None, few)
    if word is None:
        return Verdict("No verdict yet", None, f", the period is too short: {facts}")
    return Verdict(word, word in (CALIBRATED, CONSISTENT), f": {facts}")


CALIBRATED = "Calibrated"
CONSISTENT = "Innovations consistent with the assumed statistics"


def _interval(score: Score, *, percent: bool = False) -> str:
    if not np.isfinite(score.lower):
        return ""
    if percent:
        return f" ({100 * score.lower:.1f} to {100 * score.upper:.1f})"
    return f" ({score.lower:.2f} to {score.upper:.2f})"


def _side(score: Score, limits: tuple[float, float]) -> int | None:
    """-1 below the limits, 0 inside, 1 above; None where its interval reaches into them."""
    low, high = limits
    if low <= score.value <= high:
        return 0
    below = score.value < low
    nearest = score.upper if below else score.lower
    if np.isfinite(nearest) and (nearest >= low if below else nearest <= high):
        return None
    return -1 if below else 1


def _by_truth(ratio: int | None, coverage: int | None) -> str | None:
    if ratio is None or coverage is None:
        return None
    if ratio:
        return "Overconfident" if ratio < 0 else "Underconfident"
    if not coverage:
        return CALIBRATED
    return f"Spread calibrated on average, intervals too {'narrow' if coverage < 0 else 'wide'}"


def _by_chi2(chi2: Score, small: str, right: str, large: str) -> str | None:
    side = _side(chi2, CHI2_LIMITS)
    return None if side is None else (right, large, small)[side]
