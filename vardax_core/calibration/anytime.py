"""Tests that may be looked at in every cycle of an experiment's life, at one false-alarm rate.

A wager on a cycle is a factor that is 1 or less on average, given all cycles before it, as long as
the experiment is calibrated. The product of such factors exceeds 1 / alpha with a probability of at
most alpha, however long it runs and whenever somebody looks. A product begins every few cycles, so
that a fault is found wherever it begins; their weighted sum keeps the bound.

Source: Ville (1939), Etude critique de la notion de collectif; Ramdas et al. (2023),
doi:10.1214/23-STS894; Shin, Ramdas and Rinaldo (2024), doi:10.51387/23-NEJSDS51 (mixture of
beginnings).
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

TOLERANCE = 0.05
"""Of spread over RMSE: what is no further from 1 is called calibrated."""
BIAS_TOLERANCE = 0.02
"""Of the mean of departures, in standard deviations of a single one."""
MOST_CORRELATED = 0.9
"""Correlation of successive cycles that is taken out at most."""
EVERY = 8
"""Cycles from one beginning of a product to the next: a fault that begins between two is told a few
cycles later, and all faults sooner, for fewer beginnings share the bound."""
FURTHEST = 4.25
"""Standard deviations above its mean up to which a squared error counts in an informed bet, both of
the distribution that it is taken for."""
GRANTED, LASTING_GRANTED = 0.5, 0.125
"""Shares of the degrees of freedom, by the variability of a statistic, that informed bets count on:
of what is new in every cycle, and of what varies over hundreds of them by more than those before
show, as the errors of a chaotic system do."""
SETTLING = 20
"""Cycles from which the variability of a statistic is first told; no wager is made before."""


class AbstractWager(abc.ABC):
    """What is wagered on in each cycle.

    Class attributes:
        finding: what a won wager says.
        sides: how many faults it is a test for.
    """

    finding: ClassVar[str]
    sides: ClassVar[int] = 1

    @abc.abstractmethod
    def log_factors(self, series: Float[np.ndarray, " time"]) -> Float[np.ndarray, "bet time"]:
        """Logarithm of the factor of each bet in each cycle, from this and earlier cycles alone.

        Arguments:
            series: one number a cycle; NaN where there is none, whose factor is 1.
        """


@dataclasses.dataclass(frozen=True)
class SpreadTooSmall(AbstractWager):
    """On squared errors beyond what the spread says.

    The series is u = sum of squared errors / sum of predicted variances. As u is not negative and
    at most r = 1 / (1 - tolerance)^2 on average, 1 + b (u / r - 1) is a wager for any stake b in
    [0, 1), whatever the distribution of u is; but it wins no more than log(u / r). Beside these
    stand bets that know how little u varies: it is taken for chi^2_k / k with a share of the k that
    the cycles before show, which gives the factor exp(b k u / 2r) (1 - b)^(k / 2), with u counted
    up to `FURTHEST` standard deviations.

    Attributes:
        tolerance: how much too small a spread may be, as a fraction.
        stakes: of the bets that hold for any distribution.
        informed: of the bets that know the variability.
        granted: share of the k that the cycles before show.

    Source: Waudby-Smith and Ramdas (2024), doi:10.1093/jrsssb/qkad009
    """

    finding: ClassVar[str] = "spread too small"
    tolerance: float = TOLERANCE
    stakes: tuple[float, ...] = (0.05, 0.15, 0.35, 0.7)
    informed: tuple[float, ...] = (0.1, 0.2, 0.35)
    granted: float = GRANTED

    def log_factors(self, series: Float[np.ndarray, " time"]) -> Float[np.ndarray, "bet time"]:
        scaled = _unforeseen(series * (1 - self.tolerance) ** 2)
        anyhow = np.log1p(np.asarray(self.stakes)[:, None] * (scaled[None] - 1))
        known, half = _half_freedom(scaled, self.granted)
        furthest = 1 + FURTHEST / np.sqrt(np.where(known, half, 1.0))
        stakes = np.asarray(self.informed)[:, None]
        half, counted = half[None], np.minimum(np.nan_to_num(scaled), furthest)[None]
        informed = half * np.log1p(-stakes) + half * stakes * counted
        there = np.isfinite(series)[None]
        return np.concatenate(
            [np.where(there, anyhow, 0.0), np.where(there & known[None], informed, 0.0)]
        )


@dataclasses.dataclass(frozen=True)
class SpreadTooLarge(AbstractWager):
    """On squared errors below what the spread says.

    u as in `SpreadTooSmall`, at least r = 1 / (1 + tolerance)^2 on average. That small values are
    no chance can only be told by how much u varies: it is taken for chi^2_k / k with a share of the
    k that the cycles before it show, which gives the factor exp(-b k u / 2r) (1 + b)^(k / 2).

    Attributes:
        tolerance: how much too large a spread may be, as a fraction.
        stakes: of the bets.
        granted: share of the k that the cycles before show.
    """

    finding: ClassVar[str] = "spread too large"
    tolerance: float = TOLERANCE
    stakes: tuple[float, ...] = (0.05, 0.15, 0.4, 0.8)
    granted: float = GRANTED

    def log_factors(self, series: Float[np.ndarray, " time"]) -> Float[np.ndarray, "bet time"]:
        scaled = _unforeseen(series * (1 + self.tolerance) ** 2)
        known, half = _half_freedom(scaled, self.granted)
        stakes = np.asarray(self.stakes)[:, None]
        factors = half * np.log1p(stakes) - half * stakes * np.nan_to_num(scaled)[None]
        return np.where((known & np.isfinite(series))[None], factors, 0.0)


def _unforeseen(series: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Each value over what the one before it foretells: 1 + a (u - 1), with the correlation a of
    successive cycles before it.

    Errors of an analysis outlast a cycle, so that a large one is followed by large ones also where
    the spread is right; innovations do not.
    """
    centred = series - 1
    previous = np.concatenate([[np.nan], centred[:-1]])
    previous = np.where(np.isfinite(previous), previous, 0.0)
    correlation = _correlation_before(centred - _before(centred)[0], previous)
    return series / (1 + correlation * previous)


def _half_freedom(
    series: Float[np.ndarray, " time"], granted: float
) -> tuple[Bool[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """Whether there are enough values before each, and half of the share of the k with which they
    vary as chi^2_k / k."""
    mean, variance, count = _before(series)
    known = (count >= SETTLING) & (variance > 0)
    return known, np.where(known, granted * mean**2 / np.where(known, variance, 1.0), 0.0)


@dataclasses.dataclass(frozen=True)
class Biased(AbstractWager):
    """On departures whose mean is not zero.

    The series is the mean departure x in standard deviations of a single one. What a correlation
    a of successive cycles foretells is taken out first: y = x - a x', with x' of the cycle before.
    For a mean of m at most, and the standard deviation s of y, the factors are
    exp(b (y - (1 - a) m) / s - b^2 / 2), and the same for -y. Both a and s are those of the cycles
    before, s widened by what so few cycles leave open.

    Attributes:
        tolerance: m.
        stakes: of the bets, for each sign.

    Source: Howard et al. (2020), doi:10.1214/18-PS321
    """

    finding: ClassVar[str] = "bias"
    sides: ClassVar[int] = 2
    tolerance: float = BIAS_TOLERANCE
    stakes: tuple[float, ...] = (0.1, 0.4, 0.9)

    def log_factors(self, series: Float[np.ndarray, " time"]) -> Float[np.ndarray, "bet time"]:
        previous = np.concatenate([[np.nan], series[:-1]])
        previous = np.where(np.isfinite(previous), previous, 0.0)
        correlation = _correlation_before(series, previous)
        remaining = series - correlation * previous
        _, variance, count = _before(remaining)
        known = (count >= SETTLING) & (variance > 0) & np.isfinite(series)
        sd = np.sqrt(np.where(known, variance * _doubt(count), 1.0))
        stakes = np.asarray(self.stakes)[:, None]
        least = (1 - correlation) * self.tolerance
        both = [
            stakes * ((sign * np.nan_to_num(remaining) - least) / sd)[None] - 0.5 * stakes**2
            for sign in (1.0, -1.0)
        ]
        return np.where(known[None], np.concatenate(both), 0.0)


def _doubt(count: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """What a variance of so many values may be short of by chance: three of its own standard
    deviations, as a factor."""
    return 1 + 3 * np.sqrt(2 / np.maximum(count - 1, 1.0))


def _correlation_before(
    series: Float[np.ndarray, " time"], previous: Float[np.ndarray, " time"]
) -> Float[np.ndarray, " time"]:
    """Correlation of the cycles before each with those before them; none where negative."""
    there = np.isfinite(series)
    now, before = np.where(there, series, 0.0), np.where(there, previous, 0.0)
    products = np.concatenate([[0.0], np.cumsum(now * before)[:-1]])
    squares = np.concatenate([[0.0], np.cumsum(before**2)[:-1]])
    return np.clip(products / np.where(squares > 0, squares, 1.0), 0.0, MOST_CORRELATED)


def _before(
    series: Float[np.ndarray, " time"],
) -> tuple[Float[np.ndarray, " time"], ...]:
    """Mean, variance and number of the values before each, NaN left out."""
    there = np.isfinite(series)
    values = np.where(there, series, 0.0)
    count, total, square = (
        np.concatenate([[0.0], np.cumsum(part)[:-1]]) for part in (there, values, values**2)
    )
    many = np.maximum(count, 1.0)
    mean = total / many
    spare = np.maximum(count - 1, 1.0)
    return mean, np.maximum(square - many * mean**2, 0.0) / spare, count


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A wager that was won.

    Attributes:
        at: number of the cycle in which it was.
        since: number of the cycle in which the fault is estimated to have begun.
        until: number of the cycle in which it is estimated to have ended; None while it lasts.
    """

    at: int
    since: int
    until: int | None = None

    @property
    def stands(self) -> bool:
        """Whether it has not ended."""
        return self.until is None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a test found in the life of an experiment.

    Attributes:
        log10: evidence against calibration in each cycle, since the last alarm that ended.
        threshold: beyond which there is an alarm.
        alarms: in their order.
    """

    log10: Float[np.ndarray, " time"]
    threshold: float
    alarms: tuple[Alarm, ...]

    @property
    def standing(self) -> Alarm | None:
        """The alarm that has not ended, or None."""
        return self.alarms[-1] if self.alarms and self.alarms[-1].stands else None


def beginning_weights(count: int) -> Float[np.ndarray, " time"]:
    """Weight of a beginning at each cycle: in every `EVERY`-th, 1 / (n log^2 n) from n = 2 on,
    over its sum; in the others none."""
    n = np.arange(2, -(-count // EVERY) + 2, dtype=float)
    weights = np.zeros(count)
    weights[::EVERY] = 1 / (SUM_OF_WEIGHTS * n * np.log(n) ** 2)
    return weights


def shares(wagers: Sequence[AbstractWager], false_alarms: float) -> list[float]:
    """The false-alarm rate of each of several tests that keep to one together: as much for every
    fault that one is a test for."""
    total = sum(wager.sides for wager in wagers)
    return [false_alarms * wager.sides / total for wager in wagers]


SUM_OF_WEIGHTS = 2.109743
"""Of 1 / (n log^2 n) for n from 2 on."""


def watch(
    wager: AbstractWager, series: Float[np.ndarray, " time"], *, false_alarms: float
) -> Evidence:
    """Test one statistic over the whole life of an experiment.

    An alarm ends where the bet that won it has lost again all that it had won; the test then begins
    anew with half of the false-alarm rate that is left, so that all tests together keep to it.

    Arguments:
        wager: on what.
        series: of the statistic, see the wager.
        false_alarms: probability of any alarm in the whole life, while calibrated.

    Raises:
        ValueError: if that is no probability.
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"watch: expected a false-alarm rate between 0 and 1, got {false_alarms}.")
    factors = wager.log_factors(np.asarray(series, float))
    log_e = np.zeros(factors.shape[1])
    alarms: list[Alarm] = []
    begin, left = 0, false_alarms
    threshold = math.log(2 / left)
    while begin < len(log_e):
        left /= 2
        threshold = math.log(1 / left)
        part = factors[:, begin:]
        log_e[begin:] = _mixture(part)
        beyond = np.flatnonzero(log_e[begin:] >= threshold)
        if not beyond.size:
            break
        at = int(beyond[0])
        best, since = _beginning(part[:, : at + 1])
        end = _end(part[best], since, at)
        until = None if end is None else begin + end
        alarms.append(Alarm(begin + at, begin + since, until))
        if until is None:
            break
        begin = until
    return Evidence(log_e / math.log(10), threshold / math.log(10), tuple(alarms))


def _mixture(factors: Float[np.ndarray, "bet time"]) -> Float[np.ndarray, " time"]:
    """Logarithm of the weighted sum over bets and beginnings, in each cycle."""
    with np.errstate(divide="ignore"):
        weights = np.log(beginning_weights(factors.shape[1]))
    total = np.cumsum(factors, axis=1)
    found = total + np.logaddexp.accumulate(weights[None] - (total - factors), axis=1)
    to_come = np.log1p(-np.minimum(np.cumsum(np.exp(weights)), 1 - 1e-12))
    together = np.logaddexp(np.logaddexp.reduce(found, axis=0) - math.log(len(factors)), to_come)
    return np.asarray(together)


def _beginning(factors: Float[np.ndarray, "bet time"]) -> tuple[int, int]:
    """The bet and the first cycle of the largest product that ends in the last cycle."""
    total = np.concatenate([np.zeros((len(factors), 1)), np.cumsum(factors, axis=1)], axis=1)
    won = total[:, -1:] - total[:, :-1]
    best, since = np.unravel_index(int(np.argmax(won)), won.shape)
    return int(best), int(since)


def _end(factors: Float[np.ndarray, " time"], since: int, at: int) -> int | None:
    """The cycle after which nothing is won any more, once all that was won is lost again."""
    total = np.cumsum(factors[since:])
    lost = np.flatnonzero(total[at - since :] <= 0)
    if not lost.size:
        return None
    stop = at - since + int(lost[0])
    return since + int(np.argmax(total[: stop + 1])) + 1
