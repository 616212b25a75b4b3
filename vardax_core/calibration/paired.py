"""Differences of two series of losses of the same cycles, with intervals that allow for serial
correlation."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import special

from vardax_core.calibration.bootstrap import correlation_time

LEVEL = 0.95
"""Of the intervals."""
FEWEST = 20
"""Of fewer cycles there is no interval."""
LOOKS = 100
"""How often a sequential test looks at a series, evenly."""
NARROWEST = 50.0
"""Independent values of which it knows most."""
MOST_CORRELATED = 0.99
"""Of successive fields."""
SURE = 30.0
"""Of fewer independent values it says nothing."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of second - first over some cycles.

    Attributes:
        first, second: mean losses.
        mean: of second - first.
        low, high: its interval of 95 %; NaN where there are too few cycles.
        p: two-sided probability of a mean as large where there is none; NaN as above.
        cycles: how many have both losses.
        independent: as many independent ones would tell as much.
        told: number of the cycle in which a sequential test first says that they differ, or None.
    """

    first: float
    second: float
    mean: float
    low: float
    high: float
    p: float
    cycles: int
    independent: float
    told: int | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval is above or below zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def share(self) -> float:
        """The difference as a share of the first."""
        return self.mean / self.first if self.first else math.nan


def difference(
    first: Float[np.ndarray, " time"],
    second: Float[np.ndarray, " time"],
    *,
    false_alarms: float = 0.0,
) -> Difference:
    """Test whether two methods that were given the same cycles lose the same.

    With d = second - first, the mean is d / n, its variance s^2 tau / n with the integrated
    autocorrelation time tau of d, and the statistic is judged by Student's t with n / tau - 1
    degrees of freedom. Beside it stands a test that may be looked at again and again.

    Arguments:
        first, second: losses; a cycle without one of them (NaN) is left out.
        false_alarms: of the sequential test; 0 for none.

    Source: Diebold and Mariano (1995), doi:10.1080/07350015.1995.10524599; Harvey, Leybourne and
    Newbold (1997), doi:10.1016/S0169-2070(96)00719-4 (Student's t)
    """
    there = np.isfinite(first) & np.isfinite(second)
    numbers = np.flatnonzero(there)
    d = np.asarray(second - first, float)[there]
    n = d.size
    if not n:
        none = math.nan
        return Difference(none, none, none, none, none, none, cycles=0, independent=0.0)
    mean, low, high, p = float(d.mean()), math.nan, math.nan, math.nan
    tau = correlation_time(d)
    independent = n / tau if np.isfinite(tau) else float(n)
    if n >= FEWEST and independent > 2:
        error = float(d.std(ddof=1)) / math.sqrt(independent)
        if error > 0:
            reach = float(special.stdtrit(independent - 1, 0.5 + LEVEL / 2)) * error
            low, high = mean - reach, mean + reach
            p = float(2 * special.stdtr(independent - 1, -abs(mean) / error))
        elif mean == 0:
            low = high = 0.0
            p = 1.0
    told = first_told(d, false_alarms) if false_alarms else None
    return Difference(
        float(first[there].mean()),
        float(second[there].mean()),
        mean,
        low,
        high,
        p,
        n,
        independent,
        None if told is None else int(numbers[told]),
    )


def first_told(d: Float[np.ndarray, " time"], false_alarms: float) -> int | None:
    """Number of the value after which the mean is first known not to be zero, or None.

    After t values m = t / tau are independent, and the mean of all lies within
    s sqrt(2 (m r^2 + 1) / (m r)^2 log(sqrt(m r^2 + 1) / alpha)) of the true one at all times
    together, but for a share of alpha of series that are long enough. It is narrowest at m = 50.

    Arguments:
        d: values, correlated in time.
        false_alarms: alpha.

    Source: Waudby-Smith et al. (2024), doi:10.1214/24-AOS2408, theorem 2.2
    """
    log = -2 * math.log(false_alarms)
    scale = (log + math.log(log + 1)) / NARROWEST
    for t in np.unique(np.linspace(FEWEST, d.size, LOOKS).astype(int)):
        part = d[:t]
        tau = correlation_time(part)
        m = t / tau if np.isfinite(tau) else 0.0
        if m < SURE:
            continue
        within = math.sqrt(
            2 * (m * scale + 1) / (m**2 * scale) * math.log(math.sqrt(m * scale + 1) / false_alarms)
        )
        # What so few values leave open of their variance and of tau: three standard deviations.
        doubt = math.sqrt(1 + 3 * math.sqrt(2 / m))
        if abs(part.mean()) > part.std(ddof=1) * doubt * within:
            return int(t) - 1
    return None


@dataclasses.dataclass
class MeanField:
    """The mean of a field over cycles that come one after another, with its interval.

    The interval takes the series of each point for one of first order: n (1 - r) / (1 + r) cycles
    are independent, with r the correlation of successive cycles, not negative.

    Source: Zwiers and von Storch (1995), doi:10.1175/1520-0442(1995)008<0336:TSCIAI>2.0.CO;2
    """

    count: int = 0
    total: Float[np.ndarray, "*state"] | float = 0.0
    square: Float[np.ndarray, "*state"] | float = 0.0
    product: Float[np.ndarray, "*state"] | float = 0.0
    ends: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, fields: Float[np.ndarray, "time *state"]) -> None:
        """Take the fields of further cycles."""
        fields = np.asarray(fields, float)
        if not len(fields):
            return
        last = fields[0] if self.ends is None else self.ends[1]
        first = fields[0] if self.ends is None else self.ends[0]
        if self.ends is not None:
            self.product = self.product + last * fields[0]
        self.product = self.product + np.sum(fields[1:] * fields[:-1], axis=0)
        self.total = self.total + fields.sum(axis=0)
        self.square = self.square + np.sum(fields**2, axis=0)
        self.count += len(fields)
        self.ends = first, fields[-1]

    def result(self) -> tuple[Float[np.ndarray, "*state"], Float[np.ndarray, "*state"]]:
        """The mean, and half of the width of its interval of 95 %; NaN of fewer than 20 cycles."""
        n = max(self.count, 1)
        mean = np.asarray(self.total) / n
        if self.count < FEWEST or self.ends is None:
            return mean, np.full_like(mean, np.nan)
        variance = np.maximum(np.asarray(self.square) / n - mean**2, 0.0)
        # The sum of (x - m)(x' - m) over successive cycles, from running sums.
        first, last = self.ends
        shared = np.asarray(self.product) - mean * (2 * np.asarray(self.total) - first - last)
        shared = shared / (n - 1) + mean**2
        r = np.divide(shared, variance, out=np.zeros_like(mean), where=variance > 0)
        r = np.clip(r, 0.0, MOST_CORRELATED)
        independent = np.maximum(n * (1 - r) / (1 + r), 2.0)
        error = np.sqrt(variance * n / (n - 1) / independent)
        return mean, special.stdtrit(independent - 1, 0.5 + LEVEL / 2) * error
