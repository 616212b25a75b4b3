"""The checks of a running experiment."""

from datetime import timedelta
from typing import ClassVar

import numpy as np
from scipy import special

from vardax_core.calibration.score_definitions import divide
from vardax_core.calibration.verdict import FEWEST_CYCLES
from vardax_core.monitoring.base import AbstractCheck, Limits, Look
from vardax_core.monitoring.robust import FEWEST, limits_around, robust_factor, robust_range
from vardax_core.monitoring.situation import HISTORY_DAYS, Situation
from vardax_core.types import ResultCode

DAY = timedelta(days=1)
SHARE_OF_HARD = 0.8
"""Of a hard limit, where the past would put the soft one beyond it."""
FELL_BACK = (
    ResultCode.OUT_OF_DISTRIBUTION,
    ResultCode.NON_FINITE,
    ResultCode.FAILED,
    ResultCode.OUT_OF_RANGE,
    ResultCode.IMPLAUSIBLE,
)


class Freshness(AbstractCheck):
    """How far the last analysis is behind the cycle that is due; not judged while the experiment
    is held, or where no clock says what is due."""

    name: ClassVar[str] = "freshness"
    statistic: ClassVar[str] = "cycles behind"
    soft_cycles: float = 2.0
    hard_cycles: float = 8.0

    def look(self, situation: Situation) -> Look:
        limits = Limits(soft_high=self.soft_cycles, hard_high=self.hard_cycles)
        remark = "no clock says what is due"
        behind = np.nan
        if situation.hold is not None:
            remark = "held"
        elif situation.due is not None:
            behind = max(0.0, float((situation.due - situation.last) / situation.interval))
        return Look(np.asarray([behind]), situation.end, limits, remark)


class ObservationCount(AbstractCheck):
    """How many observations entered the analysis.

    None at all is an error, unless such cycles are usual in this network (more than a quarter of
    those of the last days); a count that is far below the usual one is a warning.
    """

    name: ClassVar[str] = "observations"
    statistic: ClassVar[str] = "observations used"
    least_share: float = 0.1
    usual_gaps: float = 0.25

    def look(self, situation: Situation) -> Look:
        count = situation.statistics["observations"]
        usual = count[situation.reference]
        found = robust_range(usual, least=self.least_share * _median(usual))
        gaps = usual.size > 0 and np.mean(usual == 0) > self.usual_gaps
        limits = limits_around(found, hard_low=None if gaps else 1.0)
        limits = limits.model_copy(update={"soft_high": None})
        return Look(count[situation.recent], situation.judged_cycles, limits, "no cycle yet")


class MeanInnovation(AbstractCheck):
    """The mean of O-B over the observations of a cycle: a bias of the background or of an
    instrument. More than one standard deviation of a single O-B is an error, unless correlated
    errors of the background explain it."""

    name: ClassVar[str] = "o-b mean"
    statistic: ClassVar[str] = "mean O-B"
    least_sd: float = 0.1
    hard_sd: float = 1.0

    def look(self, situation: Situation) -> Look:
        s = situation.statistics
        mean = divide(s["innovation"], s["observations"])
        predicted = np.sqrt(
            divide(s["observed_background_variance"] + s["error_variance"], s["observations"])
        )
        usual = predicted[situation.reference]
        sd = _median(usual if np.isfinite(usual).any() else predicted)
        found = robust_range(mean[situation.reference], least=self.least_sd * sd)
        limits = limits_around(found, hard_low=-self.hard_sd * sd, hard_high=self.hard_sd * sd)
        return Look(mean[situation.recent], situation.judged_cycles, limits, NO_OBSERVATIONS)


class InnovationChi2(AbstractCheck):
    """The mean of (O-B)^2 / (HBH' + R) over the observations of a cycle, 1 if the background's
    spread and R are right. The upper hard limit allows for cycles of few observations."""

    name: ClassVar[str] = "chi2"
    statistic: ClassVar[str] = "chi2 per observation"
    least_factor: float = 1.5
    hard_low: float = 0.1
    hard_high: float = 5.0
    false_alarms: float = 1e-6

    def look(self, situation: Situation) -> Look:
        s = situation.statistics
        chi2 = divide(s["chi2"], s["observations"])
        found = robust_factor(chi2[situation.reference], least=self.least_factor)
        counts = s["observations"][situation.recent]
        fewest = np.min(counts[counts > 0], initial=np.inf)
        by_chance = 0.0
        if np.isfinite(fewest):
            by_chance = float(special.chdtri(fewest, self.false_alarms) / fewest)
        most = max(self.hard_high, by_chance)
        limits = limits_around(found, hard_low=self.hard_low, hard_high=most)
        return Look(chi2[situation.recent], situation.judged_cycles, limits, NO_OBSERVATIONS)


class SpreadCollapse(AbstractCheck):
    """The background's spread at the observations. An ensemble that has collapsed believes
    itself and takes no observation any more."""

    name: ClassVar[str] = "spread"
    statistic: ClassVar[str] = "background spread"
    least_factor: float = 2.0
    hard_factor: float = 10.0
    hard_share_of_error: float = 0.01

    def look(self, situation: Situation) -> Look:
        s = situation.statistics
        spread = np.sqrt(divide(s["observed_background_variance"], s["observations"]))
        error = np.sqrt(divide(s["error_variance"], s["observations"]))
        usual = spread[situation.reference]
        found = robust_factor(usual, least=self.least_factor)
        least = self.hard_share_of_error * _median(error)
        collapsed = max(least, _median(usual) / self.hard_factor)
        limits = limits_around(found, hard_low=collapsed).model_copy(update={"soft_high": None})
        return Look(spread[situation.recent], situation.judged_cycles, limits, NO_OBSERVATIONS)


class FallbackRate(AbstractCheck):
    """The share of the last cycles with observations whose analysis another method made, or that
    failed."""

    name: ClassVar[str] = "fallback"
    statistic: ClassVar[str] = "share of fallbacks"
    cycles: int = 20
    soft_share: float = 0.1
    hard_share: float = 0.5

    def look(self, situation: Situation) -> Look:
        s = situation.statistics
        fell = (s["analysis_method"] != 0) | np.isin(s["result"], FELL_BACK)
        observed = s["observations"] > 0
        past, many = situation.reference, max(self.cycles, situation.judged)
        usual = fell[past][observed[past]]
        now = fell[observed][-many:]
        share = float(np.mean(usual)) if usual.size >= FEWEST else 0.0
        noise = np.sqrt(share * (1 - share) / max(1, now.size))
        usual_high = max(self.soft_share, share + 6 * float(noise))
        limits = Limits(
            soft_high=min(usual_high, SHARE_OF_HARD * self.hard_share), hard_high=self.hard_share
        )
        value = float(np.mean(now)) if now.size else np.nan
        return Look(np.asarray([value]), situation.end, limits, NO_OBSERVATIONS)


class LostMembers(AbstractCheck):
    """How many members' forecasts were impossible and were replaced. One in a cycle may happen
    with a long model step; several are a model or an ensemble that runs away, whatever the result
    code of the analysis that was made from the others."""

    name: ClassVar[str] = "members"
    statistic: ClassVar[str] = "replaced members"
    soft_members: float = 1.0
    least: float = 1.0

    def look(self, situation: Situation) -> Look:
        replaced = situation.statistics["replaced_members"]
        found = robust_range(replaced[situation.reference], least=self.least)
        high = self.soft_members if found is None else max(self.soft_members, found[1])
        limits = Limits(soft_high=high)
        return Look(replaced[situation.recent], situation.judged_cycles, limits, "no cycle yet")


class CalibrationDrift(AbstractCheck):
    """Spread over RMSE in the last days, against blocks of as many days before; where no truth is
    known, the root of predicted over measured variance of O-B instead."""

    name: ClassVar[str] = "calibration"
    statistic: ClassVar[str] = "spread / RMSE"
    fewest_cycles: int = FEWEST_CYCLES
    fewest_blocks: int = 5
    least_factor: float = 1.3
    hard_factor: float = 2.0

    def look(self, situation: Situation) -> Look:
        s = situation.statistics
        spread, error = s["variance"], s["squared_error"]
        if not error.any():
            spread = s["observed_background_variance"] + s["error_variance"]
            error = s["squared_innovation"]
        scored = situation.cycles >= situation.settled
        minutes = (situation.last - situation.cycles[scored]).astype("timedelta64[m]").astype(int)
        block = minutes // (HISTORY_DAYS * 24 * 60)
        sums = [np.bincount(block, weights=w[scored]) for w in (spread, error, np.ones_like(error))]
        ratio = np.sqrt(divide(sums[0], sums[1]))
        ratio[sums[2] < self.fewest_cycles] = np.nan
        found = robust_factor(ratio[1:], least=self.least_factor, fewest=self.fewest_blocks)
        limits = limits_around(found, hard_low=1 / self.hard_factor, hard_high=self.hard_factor)
        return Look(ratio[:1], situation.end[: ratio.size], limits, "too few cycles yet")


class CalibrationVerdict(AbstractCheck):
    """Whether the analyses of the last days are calibrated, in the words of a report on them."""

    name: ClassVar[str] = "verdict"
    statistic: ClassVar[str] = "calibration of the last days"

    def look(self, situation: Situation) -> Look:
        verdict, value = situation.verdict, np.nan
        if verdict is not None and verdict.calibrated is not None:
            value = 0.0 if verdict.calibrated else 1.0
        words = "" if verdict is None else f"{verdict.word}{verdict.facts}"
        return Look(
            np.asarray([value]),
            situation.end,
            Limits(soft_high=0.5),
            "too few cycles yet",
            words=words,
        )


class BiasSteps(AbstractCheck):
    """Platforms or streams whose bias was found to have changed at once: an instrument that was
    moved, repaired or broken. The cycles go on with the new bias."""

    name: ClassVar[str] = "bias"
    statistic: ClassVar[str] = "biases with a step"

    def look(self, situation: Situation) -> Look:
        value, words = np.nan, ""
        if situation.steps is not None:
            since = situation.judged_cycles[:1]
            new = [step for step in situation.steps if since.size and step.found >= since[0]]
            value = float(len(new))
            words = "; ".join(step.words(situation.units) for step in new[-3:])
        limits = Limits(soft_high=0.5)
        return Look(np.asarray([value]), situation.end, limits, "no bias is carried", words=words)


class LifelongCalibration(AbstractCheck):
    """Whether spread and mean have been as predicted in the whole life of the experiment; it may be
    looked at every cycle without raising the rate of its false alarms, see `whole_life`."""

    name: ClassVar[str] = "life"
    statistic: ClassVar[str] = "calibration over the whole life"

    def look(self, situation: Situation) -> Look:
        life, value = situation.life, np.nan
        if life is not None and len(life.cycles):
            value = 1.0 if life.standing else 0.0
        words = "" if life is None else life.words()
        return Look(
            np.asarray([value]),
            situation.end,
            Limits(soft_high=0.5),
            "too few cycles yet",
            words=words,
        )


class DiskSpace(AbstractCheck):
    """What is free on the disk of stores, models and reports."""

    name: ClassVar[str] = "disk"
    statistic: ClassVar[str] = "free disk [GB]"
    soft_gb: float = 10.0
    hard_gb: float = 1.0

    def look(self, situation: Situation) -> Look:
        limits = Limits(soft_low=self.soft_gb, hard_low=self.hard_gb)
        return Look(np.asarray([situation.free_bytes / 1e9]), situation.end, limits)


class GateExpiry(AbstractCheck):
    """How long ago the weights at work passed their gates."""

    name: ClassVar[str] = "gates"
    statistic: ClassVar[str] = "days since the gates"
    soft_days: float = 90.0
    hard_days: float = 365.0

    def look(self, situation: Situation) -> Look:
        limits = Limits(soft_high=self.soft_days, hard_high=self.hard_days)
        days = np.nan
        if situation.proven is not None:
            days = (situation.now - situation.proven) / DAY
        return Look(np.asarray([days]), situation.end, limits, "no champion with gates")


class ForgottenHold(AbstractCheck):
    """How long the experiment has been held."""

    name: ClassVar[str] = "hold"
    statistic: ClassVar[str] = "days held"
    soft_days: float = 3.0

    def look(self, situation: Situation) -> Look:
        since = None if situation.hold is None else situation.hold.since
        days = 0.0 if since is None else (situation.now - since) / DAY
        return Look(np.asarray([days]), situation.end, Limits(soft_high=self.soft_days))


NO_OBSERVATIONS = "no observation was used"
CHECKS: tuple[AbstractCheck, ...] = (
    Freshness(),
    ObservationCount(),
    MeanInnovation(),
    InnovationChi2(),
    SpreadCollapse(),
    FallbackRate(),
    LostMembers(),
    CalibrationDrift(),
    CalibrationVerdict(),
    BiasSteps(),
    LifelongCalibration(),
    DiskSpace(),
    GateExpiry(),
    ForgottenHold(),
)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0
