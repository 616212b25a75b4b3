"""Limits that the past sets, and that a few bad cycles in it do not move."""

import math
import statistics
from typing import NamedTuple

import numpy as np

from vardax_core.monitoring.base import Limits

TO_SD = 1 / statistics.NormalDist().inv_cdf(0.75)
"""Median absolute deviation to standard deviation, for a Gaussian."""
WIDTH = 6.0
"""Robust standard deviations between the median and a soft limit."""
FEWEST = 12
"""Values from which limits are made; with fewer there are none."""
ROOM = 1.25
"""Distance of a hard limit from the median over that of the soft one, where the past alone sets
both."""


class Usual(NamedTuple):
    """What a statistic usually is, from cycles of the past.

    Attributes:
        low, high: where a soft limit is.
        centre: the median.
        outer_low, outer_high: `ROOM` times as far from it; a hard limit is no nearer.
    """

    low: float
    high: float
    centre: float
    outer_low: float
    outer_high: float


def robust_range(values: np.ndarray, *, least: float, fewest: int = FEWEST) -> Usual | None:
    """Median -+ the larger of `WIDTH` robust standard deviations and `least`; None if too few
    values are finite.

    Source: Huber and Ronchetti (2009), doi:10.1002/9780470434697, section 1.2
    """
    finite = values[np.isfinite(values)]
    if finite.size < fewest:
        return None
    centre = float(np.median(finite))
    half = max(WIDTH * TO_SD * float(np.median(np.abs(finite - centre))), least)
    outer = ROOM * half
    return Usual(centre - half, centre + half, centre, centre - outer, centre + outer)


def robust_factor(values: np.ndarray, *, least: float, fewest: int = FEWEST) -> Usual | None:
    """`robust_range` of positive values on the scale of their logarithm; `least` is a factor."""
    positive = np.log(values[np.isfinite(values) & (values > 0)])
    found = robust_range(positive, least=math.log(least), fewest=fewest)
    return None if found is None else Usual(*map(math.exp, found))


def limits_around(
    usual: Usual | None, *, hard_low: float | None = None, hard_high: float | None = None
) -> Limits:
    """Limits of which the soft ones lie within the hard ones, so that a warning comes first.

    A hard limit that usual cycles reach is moved out, to where the past says that something is
    the matter. If the median itself is beyond it, it stays: that is no usual state but a fault
    that has lasted, and the soft limit then coincides with it.

    Arguments:
        usual: what the past gives, or None if it gives nothing.
        hard_low, hard_high: limits that hold whatever the past was, or None.
    """
    if usual is None:
        return Limits(hard_low=hard_low, hard_high=hard_high)
    soft_low, soft_high = usual.low, usual.high
    if hard_low is not None:
        if usual.centre > hard_low:
            hard_low = min(hard_low, usual.outer_low)
        soft_low = max(soft_low, hard_low)
    if hard_high is not None:
        if usual.centre < hard_high:
            hard_high = max(hard_high, usual.outer_high)
        soft_high = min(soft_high, hard_high)
    return Limits(soft_low=soft_low, soft_high=soft_high, hard_low=hard_low, hard_high=hard_high)
