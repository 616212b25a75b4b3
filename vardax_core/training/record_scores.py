"""How a corrected interpolation predicts withheld records, beside the interpolation itself."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vardax_core.analysis.amortized.record_network import RecordNetwork
from vardax_core.calibration.statistics import HALF_WIDTHS, LEVEL_90, gaussian_crps
from vardax_core.training.record_pairs import RecordPairs, predicted
from vardax_core.training.root_finding import NORMAL_95

RATIO = (0.9, 1.1)
COVERAGE = (0.85, 0.95)


class HeldOut(NamedTuple):
    """Scores of withheld records of times that were not trained on.

    Attributes:
        gain: CRPS of the corrected interpolation over that of the interpolation.
        low, high: interval of 95 % of the gain, from the differences among platforms and among
            observation times, whichever are larger.
        crps: of the corrected interpolation, unit of the state.
        spread_over_rmse, coverage_90: of its predictive distribution, errors included.
        first_spread_over_rmse: of the interpolation's.
        number: of records.
    """

    gain: float
    low: float
    high: float
    crps: float
    spread_over_rmse: float
    coverage_90: float
    first_spread_over_rmse: float
    number: int

    @property
    def better(self) -> bool:
        """Whether the correction is worth having: surely no worse, and honest about its errors."""
        return (
            self.high <= 1
            and RATIO[0] <= self.spread_over_rmse <= RATIO[1]
            and COVERAGE[0] <= self.coverage_90 <= COVERAGE[1]
        )

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        return (
            f"on {self.number} withheld observations of days that were not trained on, CRPS is "
            f"{self.gain:.3f} ({self.low:.3f} to {self.high:.3f}) times that of the interpolation, "
            f"spread/RMSE {self.spread_over_rmse:.2f} (interpolation "
            f"{self.first_spread_over_rmse:.2f}), 90 % coverage {self.coverage_90:.2f}"
        )


def held_out_scores(
    pairs: RecordPairs,
    networks: list[tuple[Int[np.ndarray, " _"], RecordNetwork]],
    platforms: Int[np.ndarray, " target"],
    times: Int[np.ndarray, " target"],
) -> HeldOut:
    """Score networks, each on the pairs that it was not trained on.

    Arguments:
        pairs: real ones.
        networks: with the numbers of the pairs that each is scored on.
        platforms, times: of the pairs.
    """
    order = np.concatenate([index for index, _ in networks])
    scored, platforms, times = pairs.take(jnp.asarray(order)), platforms[order], times[order]
    found = [
        eqx.filter_jit(predicted)(network, pairs.take(jnp.asarray(index)))
        for index, network in networks
    ]
    mean, sd = (
        np.concatenate([np.asarray(x, np.float64) for x in part])
        for part in zip(*found, strict=True)
    )
    value, first, variance, error = (
        np.asarray(x, np.float64)
        for x in (
            scored.value,
            scored.views.increment,
            scored.views.variance,
            scored.error_variance,
        )
    )
    first_sd = np.sqrt(variance + error)
    ours, theirs = (
        np.asarray(gaussian_crps(*map(jnp.asarray, (value, m, s))), np.float64)
        for m, s in ((mean, sd), (first, first_sd))
    )
    gain = ours.sum() / theirs.sum()
    beyond = ours - gain * theirs
    width = NORMAL_95 * max(_error_of(beyond, platforms), _error_of(beyond, times)) / theirs.sum()

    def ratio(m: np.ndarray, s: np.ndarray) -> float:
        return float(np.sqrt(np.mean(s**2) / np.mean((value - m) ** 2)))

    inside = np.abs(value - mean) <= HALF_WIDTHS[LEVEL_90] * sd
    return HeldOut(
        float(gain),
        float(gain - width),
        float(gain + width),
        float(ours.mean()),
        ratio(mean, sd),
        float(inside.mean()),
        ratio(first, first_sd),
        value.size,
    )


def _error_of(parts: Float[np.ndarray, " target"], groups: np.ndarray) -> float:
    """Standard error of a sum whose terms may depend on each other within groups."""
    _, number = np.unique(groups, return_inverse=True)
    sums = np.bincount(number, parts)
    return float(np.sqrt(np.sum(sums**2) * sums.size / max(sums.size - 1, 1)))
