"""Exact distributions of rank statistics when the posterior is right, and their p-values.

For a right posterior the truth and the draws of one pair are exchangeable, so the rank of the
truth among the draws, by any quantity that treats all of them alike, is uniform on 0..draws, and
ranks of different pairs are independent. Everything here follows from that alone: no p-value
depends on the size of the state, on correlations, or on a limit theorem.

Source: Talts et al. (2018), arXiv:1804.06788; Modrak et al. (2023), doi:10.1214/23-BA1404
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import gammaln, ndtr
from scipy.stats import binom

SCORE_LEVELS = 64
"""Distinct scores of dispersion at most, which bounds the length of their convolution."""
THRESHOLDS = 19
"""Ranks at which the empirical distribution is looked at, at most."""
SMALLEST = 1e-13
"""No p-value below this is claimed: it is near the rounding of the convolutions."""
POINTWISE_LEVELS = 10.0 ** -np.linspace(0.5, 11, 43)


class TooFewPairsError(ValueError):
    """There are no pairs, or no draws, to test a posterior with."""


@dataclass(frozen=True)
class Tolerance:
    """Faults that a gate forgives; the p-values are then those of the worst forgiven posterior.

    Attributes:
        bias: largest bias, in posterior standard deviations of the quantity that is ranked.
        spread: largest ratio of the spread of the truth to that of the draws, or its inverse.
        laid_out: whether members count as right too whose mean and spread are exact. They are no
            draws: the truth differs from their mean by 1 standard deviation, and from the mean of
            draws by sqrt(1 + 1 / draws).
    """

    bias: float = 0.0
    spread: float = 1.0
    laid_out: bool = False

    def __post_init__(self):
        if not (self.bias >= 0 and self.spread >= 1):
            raise ValueError(
                f"Tolerance: expected a bias of 0 or more and a ratio of spreads of 1 or more, got "
                f"{self.bias} and {self.spread}; give the larger spread over the smaller."
            )

    @property
    def exact(self) -> bool:
        """Whether nothing is forgiven."""
        return self.bias == 0 and self.spread == 1 and not self.laid_out

    def narrowest(self, draws: int) -> float:
        """The smallest ratio of the spread of the truth to that of so many draws."""
        return math.sqrt(max(1 / self.spread**2 - (1 / draws if self.laid_out else 0.0), 0.0))


EXACT = Tolerance()


@dataclass(frozen=True, eq=False)
class RankNull:
    """Null distributions of sums over `n` ranks.

    Attributes:
        location: two-sided p-value of each value of the sum of ranks.
        scores: score of dispersion of each rank.
        dispersion: two-sided p-value of each value of the sum of scores.
    """

    location: Float[np.ndarray, " total"]
    scores: Int[np.ndarray, " rank"]
    dispersion: Float[np.ndarray, " score"]


@functools.lru_cache(maxsize=256)
def rank_null(n: int, draws: int, tolerance: Tolerance = EXACT) -> RankNull:
    """The null distributions for `n` pairs of `draws` draws each.

    Raises:
        TooFewPairsError: if there is no pair or no draw.
    """
    _refuse_none(n, draws)
    scores = _dispersion_scores(draws)
    higher = _rank_probabilities(draws, tolerance.bias, 1.0)
    wider = _rank_probabilities(draws, 0.0, tolerance.spread)
    narrower = _rank_probabilities(draws, 0.0, tolerance.narrowest(draws))
    return RankNull(
        location=_two_sided(n, np.arange(draws + 1), above=higher, below=higher[::-1]),
        scores=scores,
        dispersion=_two_sided(n, scores, above=wider, below=narrower),
    )


@dataclass(frozen=True, eq=False)
class EcdfNull:
    """Null distribution of the empirical distribution of `n` ranks.

    Attributes:
        n: number of pairs.
        thresholds: ranks at which it is looked at.
        cumulative: expected share of ranks up to each of them.
        pointwise: two-sided binomial p-value of each count, for each threshold.
        levels, simultaneous: smallest pointwise p-value over the thresholds, and how probable one
            as small is.

    Source: Sailynoja, Buerkner and Vehtari (2022), doi:10.1007/s11222-022-10090-6
    """

    n: int
    thresholds: Int[np.ndarray, " threshold"]
    cumulative: Float[np.ndarray, " threshold"]
    pointwise: Float[np.ndarray, "threshold count"]
    levels: Float[np.ndarray, " level"]
    simultaneous: Float[np.ndarray, " level"]

    def p_value(self, smallest: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """p-value of the smallest pointwise p-value over the thresholds, never too small: it is
        that of the next larger entry of `levels`, or the sum over the thresholds."""
        above = np.searchsorted(-self.levels, -smallest, side="right") - 1
        found = np.where(above < 0, 1.0, self.simultaneous[np.maximum(above, 0)])
        bound = len(self.thresholds) * np.maximum(smallest, SMALLEST)
        return np.minimum(np.minimum(found, bound), 1.0)

    def band(self, level: float) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
        """Counts between which the whole empirical distribution lies with probability 1 - level
        at least."""
        enough = np.flatnonzero(self.simultaneous <= level)
        bound = level / len(self.thresholds)
        pointwise = max(self.levels[enough[0]], bound) if enough.size else bound
        return _pointwise_limits(self.n, self.cumulative, pointwise)


@functools.lru_cache(maxsize=64)
def ecdf_null(n: int, draws: int) -> EcdfNull:
    """The null distribution for `n` pairs of `draws` draws each.

    Raises:
        TooFewPairsError: if there is no pair or no draw.
    """
    _refuse_none(n, draws)
    places = np.linspace(0, draws - 1, min(draws, THRESHOLDS))
    thresholds = np.unique(np.round(places).astype(np.int64))
    cumulative = (thresholds + 1) / (draws + 1)
    counts = np.arange(n + 1)
    below = binom.cdf(counts[None], n, cumulative[:, None])
    above = binom.sf(counts[None] - 1, n, cumulative[:, None])
    inside = [
        _inside(n, cumulative, *_pointwise_limits(n, cumulative, level))
        for level in POINTWISE_LEVELS
    ]
    return EcdfNull(
        n=n,
        thresholds=thresholds,
        cumulative=cumulative,
        pointwise=np.minimum(2 * np.minimum(below, above), 1.0),
        levels=POINTWISE_LEVELS,
        simultaneous=1 - np.array(inside),
    )


def _refuse_none(n: int, draws: int) -> None:
    if n < 1 or draws < 1:
        raise TooFewPairsError(
            f"rank_null: got {n} pairs with {draws} draws; a rank needs one of each at least."
        )


def _dispersion_scores(draws: int) -> np.ndarray:
    squares = (2 * np.arange(draws + 1) - draws) ** 2
    # Squares of odd numbers are 1 more than multiples of 8, those of even ones multiples of 4.
    scores = squares // 8 if draws % 2 else squares // 4
    highest = int(scores.max())
    if highest > SCORE_LEVELS:
        scores = np.round(scores * (SCORE_LEVELS / highest)).astype(np.int64)
    return scores


def _rank_probabilities(draws: int, bias: float, spread: float) -> np.ndarray:
    """Probabilities of the ranks of a truth bias + spread z among standard normal draws."""
    if bias == 0 and spread == 1:
        return np.full(draws + 1, 1 / (draws + 1))
    nodes, weights = hermegauss(200)
    below = ndtr(bias + spread * nodes)
    each = binom.pmf(np.arange(draws + 1)[:, None], draws, below[None])
    found = each @ (weights / weights.sum())
    return found / found.sum()


def _two_sided(n: int, scores: np.ndarray, *, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Two-sided p-value of every sum of `n` scores, the tails under two distributions of ranks."""
    upper = np.cumsum(_sum_distribution(n, scores, above)[::-1])[::-1]
    lower = np.cumsum(_sum_distribution(n, scores, below))
    return np.clip(2 * np.minimum(upper, lower), SMALLEST, 1.0)


def _sum_distribution(n: int, scores: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    length = n * int(scores.max()) + 1
    size = 1 << (length - 1).bit_length()
    one = np.bincount(scores, weights=probabilities, minlength=size)
    return np.maximum(np.fft.irfft(np.fft.rfft(one) ** n, size)[:length], 0.0)


def _pointwise_limits(
    n: int, cumulative: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest count whose two-sided binomial p-value is above a level."""
    lower = binom.ppf(level / 2, n, cumulative)
    lower += binom.cdf(lower, n, cumulative) <= level / 2
    upper = binom.isf(level / 2, n, cumulative)
    upper -= binom.sf(upper - 1, n, cumulative) <= level / 2
    return lower.astype(np.int64), upper.astype(np.int64)


def _inside(n: int, cumulative: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Probability that the counts at all thresholds lie within limits, by their Markov chain."""
    log_factorial = gammaln(np.arange(n + 2) + 1.0)
    counts, probabilities, before = np.array([0]), np.array([1.0]), 0.0
    for now, low, high in zip(cumulative, lower, upper, strict=True):
        share = (now - before) / (1 - before)
        following = np.arange(low, high + 1)
        new = following[:, None] - counts[None]
        left = np.broadcast_to((n - counts)[None], new.shape)
        possible = (new >= 0) & (new <= left)
        new = np.where(possible, new, 0)
        log_pmf = log_factorial[left] - log_factorial[new] - log_factorial[left - new]
        log_pmf = log_pmf + new * math.log(share) + (left - new) * math.log1p(-share)
        probabilities = np.where(possible, np.exp(log_pmf), 0.0) @ probabilities
        counts, before = following, now
    return float(probabilities.sum())
