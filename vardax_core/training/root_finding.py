"""The root of a noisy measurement, between bounds, with the response estimated on the way."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

NORMAL_95 = 1.96
FIRST_STEP = 0.25
"""Longest first step, before anything is known of the response."""
GROWTH = 4.0
"""Of a step over the one before, while all values have one sign."""
INNER = 0.1
"""Share of a bracket at either end that a new position keeps away from."""


class Trial(NamedTuple):
    """One measurement.

    Attributes:
        position: where.
        value: what is to be zero; NaN where nothing can be measured.
        error: standard error of the value.
    """

    position: float
    value: float
    error: float

    def within(self, tolerance: float) -> bool:
        """Whether the value is zero to the tolerance or, if that is wider, to its own noise."""
        return abs(self.value) <= max(tolerance, NORMAL_95 * self.error)


@dataclass(frozen=True)
class RootSearch:
    """How a search for a root went.

    Attributes:
        trials: all measurements, in their order; the first is at the start.
        found: whether the best of them is zero to the tolerance or to its noise.
    """

    trials: tuple[Trial, ...]
    found: bool

    @property
    def best(self) -> Trial:
        """The trial of least absolute value; the earlier one of two alike."""
        return _best(self.trials)


def find_root(
    measure: Callable[[float], tuple[float, float]],
    *,
    start: float = 0.0,
    limit: float = 3.0,
    tolerance: float = 0.02,
    trials: int = 10,
) -> RootSearch:
    """Find where a measurement that rises with the position is zero.

    As long as all values have one sign, steps follow the secant, grow by no more than `GROWTH`, and
    halve towards a position at which nothing could be measured. Once there are values of both
    signs, the new position is between two neighbours that differ in it: by false position, kept off
    the ends, or in the middle if the trial before brought too little. So a response of any size is
    found, and none makes the search run away.

    Arguments:
        measure: value and standard error at a position.
        start: first position.
        limit: largest distance from the start.
        tolerance: absolute value that counts as zero.
        trials: measurements at most.

    Raises:
        ValueError: if nothing can be measured at the start.

    Source: Brent (1973), Algorithms for Minimization without Derivatives, chapter 4, on falling
    back on bisection.
    """
    known = [Trial(start, *measure(start))]
    if not math.isfinite(known[0].value):
        raise ValueError(
            f"find_root: expected a finite value at the start {start:g}, got {known[0].value}."
        )
    while len(known) < trials and not _best(known).within(tolerance):
        position = _next(known, start, limit)
        if position is None:
            break
        known.append(Trial(position, *measure(position)))
    return RootSearch(tuple(known), _best(known).within(tolerance))


def _next(known: list[Trial], start: float, limit: float) -> float | None:
    """Where to measure next, or None if there is nowhere left."""
    pair = _bracket(known)
    if pair is None:
        return _outside(known, start, limit)
    near, far = pair
    lost = [t.position for t in known if not math.isfinite(t.value)]
    between = [p for p in lost if (p - near.position) * (p - far.position) < 0]
    if between:
        return 0.5 * (near.position + min(between, key=lambda p: abs(p - near.position)))
    share = near.value / (near.value - far.value)
    if _bracket(known[:-1]) and not abs(known[-1].value) <= 0.5 * abs(_best(known[:-1]).value):
        share = 0.5
    share = min(max(share, INNER), 1 - INNER)
    return near.position + share * (far.position - near.position)


def _outside(known: list[Trial], start: float, limit: float) -> float | None:
    """Further in the direction in which the value comes to zero."""
    usable = _finite(known)
    up = -math.copysign(1.0, usable[0].value)
    front = max(usable, key=lambda t: up * t.position)
    beyond = [t.position for t in known if up * (t.position - front.position) > 0]
    if beyond:
        return 0.5 * (front.position + min(beyond, key=lambda p: up * p))
    step = min(abs(front.value), FIRST_STEP)
    if len(usable) > 1:
        before = sorted(usable, key=lambda t: up * t.position)[-2]
        last = abs(front.position - before.position)
        fall = abs(before.value) - abs(front.value)
        secant = abs(front.value) * last / fall if fall > 0 else math.inf
        step = min(max(secant, 0.5 * last), GROWTH * last)
    offset = min(max(front.position + up * step - start, -limit), limit)
    return None if start + offset == front.position else start + offset


def _bracket(known: Sequence[Trial]) -> tuple[Trial, Trial] | None:
    """Neighbours with values of different signs, the one nearer to zero first, or None.

    Of several such pairs it is the one with the value next to zero.
    """
    row = sorted(_finite(known), key=lambda t: t.position)
    pairs = [
        sorted(pair, key=lambda t: abs(t.value))
        for pair in itertools.pairwise(row)
        if (pair[0].value < 0) != (pair[1].value < 0)
    ]
    if not pairs:
        return None
    near, far = min(pairs, key=lambda pair: abs(pair[0].value))
    return near, far


def _finite(trials: Sequence[Trial]) -> list[Trial]:
    return [t for t in trials if math.isfinite(t.value)]


def _best(trials: Sequence[Trial]) -> Trial:
    return min(_finite(trials), key=lambda t: abs(t.value))
