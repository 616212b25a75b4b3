"""Limits that the past sets, and that a few bad cycles in it do not move."""

import math
import statistics

import numpy as np

from vardax_core.monitoring.base import Limits

TO_SD = 1 / statistics.NormalDist().inv_cdf(0.75)
"""Median absolute deviation to standard deviation, for a Gaussian."""
WIDTH = 6.0
"""Robust standard deviations between the median and a soft limit."""
FEWEST = 12
"""Values from which limits are made; with fewer there are none."""


def robust_range(
    values: np.ndarray, *, least: float, fewest: int = FEWEST
) -> tuple[float, float] | None:
    """Median -+ the larger of `WIDTH` robust standard deviations and `least`; None if too few
    values are finite.

    Source: Huber and Ronchetti (2009), doi:10.1002/9780470434697, section 1.2
    """
    finite = values[np.isfinite(values)]
    if finite.size < fewest:
        return None
    centre = float(np.median(finite))
    half = max(WIDTH * TO_SD * float(np.median(np.abs(finite - centre))), least)
    return centre - half, centre + half


def robust_factor(
    values: np.ndarray, *, least: float, fewest: int = FEWEST
) -> tuple[float, float] | None:
    """`robust_range` of positive values on the scale of their logarithm; `least` is a factor."""
    positive = np.log(values[np.isfinite(values) & (values > 0)])
    found = robust_range(positive, least=math.log(least), fewest=fewest)
    return None if found is None else (math.exp(found[0]), math.exp(found[1]))


def soft(found: tuple[float, float] | None, **hard: float | None) -> Limits:
    """Soft limits on both sides, if the past gives any, with hard ones."""
    low, high = (None, None) if found is None else found
    return Limits(soft_low=low, soft_high=high, **hard)
