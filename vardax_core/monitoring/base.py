"""What a check is: values of some cycles, the limits they are held against, and the verdict."""

import abc
import dataclasses
from enum import IntEnum
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vardax_core.monitoring.situation import Situation


class Severity(IntEnum):
    """How bad a finding is."""

    INFO = 0
    WARNING = 1
    ERROR = 2


class Value(BaseModel):
    """A frozen value; a field that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Value):
    """What a statistic may be; None for no limit. Beyond a soft limit is a warning, beyond a
    hard one an error."""

    soft_low: float | None = None
    soft_high: float | None = None
    hard_low: float | None = None
    hard_high: float | None = None

    def crossed(self, value: float) -> tuple[Severity, float | None]:
        """How bad a value is, and the limit that says so."""
        for severity, low, high in (
            (Severity.ERROR, self.hard_low, self.hard_high),
            (Severity.WARNING, self.soft_low, self.soft_high),
        ):
            if low is not None and value < low:
                return severity, low
            if high is not None and value > high:
                return severity, high
        return Severity.INFO, None

    def described(self) -> tuple[str, str]:
        """The soft and the hard limits, for people."""
        return _range(self.soft_low, self.soft_high), _range(self.hard_low, self.hard_high)


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"up to {high:.4g}"
    return f"from {low:.4g}" if high is None else f"{low:.4g} to {high:.4g}"


@dataclasses.dataclass(frozen=True)
class Look:
    """What a check sees.

    Attributes:
        values: one for each cycle that is judged, or a single one; NaN where it cannot be said.
        cycles: their analysis times (datetime64).
        limits: what the values are held against.
        remark: why there is no value, where there is none.
        words: what the value says, where words say it better than the number.
    """

    values: np.ndarray
    cycles: np.ndarray
    limits: Limits
    remark: str = ""
    words: str = ""


class Finding(Value):
    """The verdict of one check.

    Attributes:
        check: name of the check.
        severity: INFO if all is well or nothing can be said.
        statistic: what `value` is, with its unit.
        value: the worst one; None if nothing can be said.
        limit: the limit that it is beyond, or None.
        limits: all limits of the check.
        cycle: analysis time of the value (ISO 8601), or None.
        remark: why nothing can be said, or empty.
        words: what was found, where words say it better than the value.
    """

    check: str
    severity: Severity
    statistic: str
    value: float | None
    limit: float | None
    limits: Limits
    cycle: str | None
    remark: str = ""
    words: str = ""

    @property
    def shown(self) -> str:
        """The value, or what is said in its place."""
        if self.value is None:
            return self.remark
        return self.words or f"{self.value:.4g}"

    def __str__(self) -> str:
        if self.value is None or self.words:
            return f"{self.statistic}: {self.shown}"
        where = f" at {self.cycle}" if self.cycle else ""
        beyond = "" if self.limit is None else f", limit {self.limit:.4g}"
        return f"{self.statistic} {self.value:.4g}{where}{beyond}"


class AbstractCheck(Value, abc.ABC):
    """Something to be watched; its fields are what can be set."""

    name: ClassVar[str]
    statistic: ClassVar[str]

    @abc.abstractmethod
    def look(self, situation: Situation) -> Look:
        """The values to be judged now, and their limits."""


def judge(check: AbstractCheck, situation: Situation, kept: Limits | None = None) -> Finding:
    """The first of the worst values that a check sees.

    Arguments:
        kept: limits to use in place of those that the check finds now.
    """
    look = check.look(situation)
    limits = look.limits if kept is None else kept
    verdicts = [
        (*limits.crossed(float(value)), float(value), str(cycle.astype("datetime64[m]")))
        for value, cycle in zip(look.values, look.cycles, strict=True)
        if np.isfinite(value)
    ]
    if not verdicts:
        return Finding(
            check=check.name,
            severity=Severity.INFO,
            statistic=check.statistic,
            value=None,
            limit=None,
            limits=limits,
            cycle=None,
            remark=look.remark or "no value",
        )
    worst = max(severity for severity, *_ in verdicts)
    bad = [verdict for verdict in verdicts if verdict[0] == worst]
    severity, limit, value, cycle = bad[0] if worst else bad[-1]
    return Finding(
        check=check.name,
        severity=severity,
        statistic=check.statistic,
        value=value,
        limit=limit,
        limits=limits,
        cycle=cycle,
        words=look.words,
    )
