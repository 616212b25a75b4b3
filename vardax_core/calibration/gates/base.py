"""What a gate is, what it answers, and how a set of gates shares one false-alarm rate."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx

from vardax_core.calibration.gates.context import GateContext

FAMILY_LEVEL = 0.025
"""Probability that a set of gates rejects a right posterior, at most: half of the 5 % that are
promised, so that some hundred trials can show that the promise is kept."""
SMALLEST_STRATUM = 30
"""Strata with fewer pairs are not tested by themselves."""


@dataclass(frozen=True)
class StratumResult:
    """What one part of the pairs said.

    Attributes:
        name: stratification and label, or "all".
        n: number of pairs.
        p_value: corrected for all quantities of this stratum alone.
        quantity: the one that is furthest from what it should be.
    """

    name: str
    n: int
    p_value: float
    quantity: str


@dataclass(frozen=True)
class Picture:
    """Numbers that a picture of a gate is drawn from.

    Attributes:
        kind: name of the function that draws it, see `gates.pictures`.
        title: what is seen.
        data: its arguments.
        reading: how it is read, in words; empty where the title says all.
    """

    kind: str
    title: str
    data: dict[str, Any]
    reading: str = ""


@dataclass(frozen=True)
class GateResult:
    """What one gate found.

    Attributes:
        name: the gate.
        passed: False also where the gate could not say anything; the message says so.
        statistic: what was compared with the threshold.
        threshold: where the gate stops.
        p_value: probability of a statistic as extreme under a right posterior, corrected for
            everything that the gate looked at; None for a gate with a tolerance.
        n: number of pairs (of linear maps for gates of operators).
        strata: every part that was tested, the worst first.
        message: one sentence for the person who trained the model.
        picture: what to draw, or None.
        level: p-value at which the gate stops, its share of the false-alarm rate of the set; None
            for a gate with a tolerance.
    """

    name: str
    passed: bool
    statistic: float
    threshold: float
    p_value: float | None
    n: int
    strata: tuple[StratumResult, ...]
    message: str
    picture: Picture | None = field(default=None, repr=False)
    level: float | None = None


class AbstractGate(eqx.Module):
    """A test with a known false-alarm rate, or with a tolerance that a right posterior never meets.

    Attributes:
        name: what reports call it.
    """

    name: eqx.AbstractVar[str]

    @property
    @abstractmethod
    def statistical(self) -> bool:
        """Whether the gate takes a share of the false-alarm rate."""

    @abstractmethod
    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        """Test a posterior.

        Arguments:
            context: the held-out pairs.
            level: probability that a right posterior is rejected, at most.
        """


def run_gates(
    gates: Sequence[AbstractGate], context: GateContext, *, level: float = FAMILY_LEVEL
) -> tuple[GateResult, ...]:
    """Check all gates; together they reject a right posterior with probability `level` at most.

    Raises:
        ValueError: if there is no gate: what was not tested has not passed.
    """
    if not gates:
        raise ValueError("run_gates: there is no gate, so nothing could fail; give one at least.")
    shares = max(1, sum(gate.statistical for gate in gates))
    return tuple(gate.check(context, level=level / shares) for gate in gates)


def unsaid(name: str, why: str, *, n: int = 0, level: float = 0.0) -> GateResult:
    """The result of a gate that could not be checked, which is not a pass."""
    message = f"nothing can be said: {why}"
    return GateResult(name, False, float("nan"), level, None, n, (), message)
