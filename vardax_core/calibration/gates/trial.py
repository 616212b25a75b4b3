"""Gates on scores of trial cycles, where no independent truths can be simulated."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx

from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    AbstractGate,
    GateResult,
    Picture,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext

SCORES = (
    "Each gate compares a score with the range that is allowed; the worst part decides. "
    "Spread/RMSE is 1 where the spread is as large as the error, less where the ensemble is too "
    "narrow, more where it is too wide. CRPS is the error of the whole distribution, low where it "
    "is good: over that of another method it is below 1 where the analysis is the better one."
)
"""How gates on scores are read."""
SPREAD_FAULT = "the spread does not tell the error"


class Interval(NamedTuple):
    """A score of one part of a trial, with its 95 % interval (NaN where there is none)."""

    value: float
    lower: float
    upper: float


class ScoreGate(AbstractGate):
    """A score of trial cycles lies in the range that is allowed, in every part of the trial.

    Cycles of one period are few and depend on each other, so nothing like a false-alarm rate can
    be promised: the range is a tolerance, and the worst part decides.

    Attributes:
        name: what reports call it.
        score: what the number is, in words.
        parts: the score of each part of the trial, by the part's name.
        cycles: cycles of the whole trial.
        lowest, highest: the range.
        fault: what is wrong with an analysis outside of it.
    """

    name: str = eqx.field(static=True)
    score: str = eqx.field(static=True)
    parts: Mapping[str, Interval] = eqx.field(static=True)
    cycles: int = eqx.field(static=True)
    lowest: float = eqx.field(static=True)
    highest: float = eqx.field(static=True)
    fault: str = eqx.field(static=True)

    def __check_init__(self):
        if not self.lowest < self.highest:
            raise ValueError(
                f"ScoreGate {self.name!r}: lowest {self.lowest} must be below highest "
                f"{self.highest}."
            )

    @property
    def statistical(self) -> bool:
        return False

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        unknown = [part for part, (value, *_) in self.parts.items() if not math.isfinite(value)]
        if unknown or not self.parts:
            where = ", ".join(unknown) or "there was no trial"
            return unsaid(self.name, f"{self.score} is not known ({where})", n=self.cycles)
        order = sorted(self.parts, key=lambda part: self._outside(self.parts[part].value))
        worst, value = order[-1], self.parts[order[-1]].value
        passed = self._outside(value) <= 0
        values = [interval.value for interval in self.parts.values()]
        found = f"{min(values):.3g}"
        if len(values) > 1:
            found += f" to {max(values):.3g} in {len(values)} parts"
        message = f"{self.score} is {found}, {self._range()}"
        if not passed:
            message += f"; {self.fault} ({worst})"
        bound = self.lowest if value < self._middle() else self.highest
        strata = tuple(
            StratumResult(part, self.cycles // len(values), math.nan, self.score)
            for part in reversed(order)
        )
        picture = Picture(
            "score_ranges",
            f"{self.name}: {self.score}",
            {"parts": dict(self.parts), "lowest": self.lowest, "highest": self.highest},
        )
        return GateResult(
            self.name, passed, value, bound, None, self.cycles, strata, message, picture
        )

    def _middle(self) -> float:
        if math.isinf(self.lowest):
            return -math.inf
        return (self.lowest + self.highest) / 2

    def _outside(self, value: float) -> float:
        return max(self.lowest - value, value - self.highest)

    def _range(self) -> str:
        if math.isinf(self.lowest):
            return f"at most {self.highest:g} is allowed"
        return f"{self.lowest:g} to {self.highest:g} is allowed"
