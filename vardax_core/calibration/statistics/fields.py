"""Statistics of fields against their truth."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int

from vardax_core.calibration.regions import QUARTERS, region_index
from vardax_core.calibration.statistics.base import AbstractFieldStatistic, Dimension, Sum
from vardax_core.calibration.statistics.rules import (
    fair_crps,
    fair_energy_score,
    gaussian_crps,
    standardised,
    truth_rank,
)
from vardax_core.calibration.statistics.view import FieldView, Scored

COVERAGE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal levels of the central intervals whose coverage is counted."""

HALF_WIDTHS = tuple(NormalDist().inv_cdf((1 + level) / 2) for level in COVERAGE_LEVELS)
"""Half widths in standard deviations of the central Gaussian intervals of `COVERAGE_LEVELS`."""

LEVEL_90 = COVERAGE_LEVELS.index(0.9)

PIT_BINS = 20
SPREAD_BINS = 40
SPREAD_BINS_PER_OCTAVE = 4
SPREAD_BINS_BELOW_ONE = 24
"""Bin k of spread / scale starts at 2^((k - 24) / 4); the outer bins are open."""

LEVEL = Dimension(
    "level",
    len(COVERAGE_LEVELS),
    COVERAGE_LEVELS,
    {"long_name": "nominal probability of the central interval", "units": "1"},
)
PIT_BIN = Dimension(
    "pit_bin",
    PIT_BINS,
    tuple((np.arange(PIT_BINS) + 0.5) / PIT_BINS),
    {"long_name": "probability integral transform, centre of the bin", "units": "1"},
)
RANK = Dimension("rank")
SPREAD_BIN = Dimension(
    "spread_bin",
    SPREAD_BINS,
    tuple(2.0 ** ((np.arange(SPREAD_BINS) - SPREAD_BINS_BELOW_ONE) / SPREAD_BINS_PER_OCTAVE)),
    {"long_name": "lower edge of the bin of spread"},
    scaled=True,
)
REGION = Dimension("region", QUARTERS, tuple(range(QUARTERS)), {"long_name": "quarter of the grid"})

MOMENTS = (
    Sum("error", 1, "weight"),
    Sum("absolute_error", 1, "weight"),
    Sum("squared_error", 2, "weight"),
    Sum("variance", 2, "weight"),
    Sum("rmse", 1),
    Sum("spread", 1),
)


class Weights(AbstractFieldStatistic):
    """`cycles` (1 if a point was scored), `weight`, its `squared_weight`, `non_finite_weight`, and
    `ensemble_weight`: the weight if there are two members."""

    sums = (
        Sum("cycles"),
        Sum("weight"),
        Sum("squared_weight"),
        Sum("non_finite_weight"),
        Sum("ensemble_weight"),
    )

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        weight = fields.analysis.weight
        return {
            "cycles": (weight > 0).astype(weight.dtype),
            "weight": weight,
            "squared_weight": jnp.sum(fields.analysis.weights**2),
            "non_finite_weight": fields.non_finite_weight,
            "ensemble_weight": weight if fields.members.shape[0] > 1 else jnp.zeros_like(weight),
        }


class AnalysisMoments(AbstractFieldStatistic):
    """`error` (analysis mean - truth), `absolute_error`, `squared_error`, `variance`, and of the
    cycle as a whole `rmse` and `spread`, root of the weighted mean variance; these two are NaN
    where nothing that should be scored is finite."""

    sums = MOMENTS

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        return moments_of(fields.analysis)


class BackgroundMoments(AbstractFieldStatistic):
    """The same of the background."""

    sums = tuple(one.prefixed("background_", "weight") for one in MOMENTS)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        return _prefixed("background_", moments_of(fields.background))


class SmoothedMoments(AbstractFieldStatistic):
    """The same of an earlier analysis that later ones corrected, with its own weight."""

    sums = (
        Sum("smoothed_cycles"),
        Sum("smoothed_weight"),
        *(one.prefixed("smoothed_", "smoothed_weight") for one in MOMENTS),
    )

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        if fields.smoothed is None:
            raise ValueError(
                "SmoothedMoments: expected a view with a smoothed analysis, got None; give "
                "`CycleView.of` one, or leave this statistic out."
            )
        weight = fields.smoothed.weight
        found = {"cycles": (weight > 0).astype(weight.dtype), "weight": weight}
        return _prefixed("smoothed_", found | moments_of(fields.smoothed))


class GaussianCRPS(AbstractFieldStatistic):
    """`gaussian_crps` of analysis mean and spread."""

    sums = (Sum("crps_gaussian_sum", 1, "weight"),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen = fields.analysis
        score = gaussian_crps(seen.truth, seen.mean, seen.spread)
        return {"crps_gaussian_sum": jnp.sum(seen.weights * score)}


class FairCRPS(AbstractFieldStatistic):
    """`fair_crps` of the analysis members; zero for one member."""

    sums = (Sum("crps_fair_sum", 1, "ensemble_weight"),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen = fields.analysis
        if fields.members.shape[0] < 2:
            return {"crps_fair_sum": jnp.zeros_like(seen.weight)}
        return {"crps_fair_sum": jnp.sum(seen.weights * fair_crps(seen.truth, fields.members))}


class EnergyScore(AbstractFieldStatistic):
    """`fair_energy_score` of the cycle as a whole, in the norm root of weighted mean square; zero
    for one member."""

    sums = (Sum("energy_score", 1),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen, weight = fields.analysis, fields.analysis.weight
        if fields.members.shape[0] < 2:
            return {"energy_score": 0 * weight}
        share = seen.weights / jnp.where(weight > 0, weight, 1.0)
        score = fair_energy_score(seen.truth, fields.members, share)
        return {"energy_score": jnp.where(weight > 0, score, 0.0)}


class Coverage(AbstractFieldStatistic):
    """Weight of the truths inside each central interval of N(mean, spread^2)."""

    sums = (Sum("coverage", 0, "weight", LEVEL),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        z, w = _standardised_truth(fields.analysis), fields.analysis.weights
        half_widths = jnp.asarray(HALF_WIDTHS, w.dtype)
        inside = jax.vmap(lambda half: jnp.sum(jnp.where(jnp.abs(z) <= half, w, 0.0)))(half_widths)
        return {"coverage": inside}


class PitHistogram(AbstractFieldStatistic):
    """Weight of the truths by their probability integral transform under N(mean, spread^2)."""

    sums = (Sum("pit_histogram", 0, "weight", PIT_BIN),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        z = _standardised_truth(fields.analysis)
        index = jnp.clip(jnp.floor(ndtr(z) * PIT_BINS), 0, PIT_BINS - 1).astype(jnp.int32)
        return {"pit_histogram": histogram(index, fields.analysis.weights, PIT_BINS)}


class RankHistogram(AbstractFieldStatistic):
    """Weight of the truths by their rank among the analysis members, see `truth_rank`."""

    sums = (Sum("rank_histogram", 0, "weight", RANK),)

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen, members = fields.analysis, fields.members
        rank = truth_rank(seen.truth, members, key=fields.key)
        return {"rank_histogram": histogram(rank, seen.weights, members.shape[0] + 1)}


class SpreadAndError(AbstractFieldStatistic):
    """Weight, variance and squared error of the points in each bin of analysis spread."""

    sums = (
        Sum("binned_weight", 0, None, SPREAD_BIN),
        Sum("binned_variance", 2, "binned_weight", SPREAD_BIN),
        Sum("binned_squared_error", 2, "binned_weight", SPREAD_BIN),
    )

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen, w = fields.analysis, fields.analysis.weights
        index = spread_bin(seen.spread / fields.spread_scale)
        return {
            "binned_weight": histogram(index, w, SPREAD_BINS),
            "binned_variance": histogram(index, w * seen.spread**2, SPREAD_BINS),
            "binned_squared_error": histogram(index, w * seen.error**2, SPREAD_BINS),
        }


class Quarters(AbstractFieldStatistic):
    """Over the points of each quarter of the grid: weight, error, squared error, variance, and
    the weight inside the central 90 % interval."""

    sums = (
        Sum("region_weight", 0, None, REGION),
        Sum("region_error", 1, "region_weight", REGION),
        Sum("region_squared_error", 2, "region_weight", REGION),
        Sum("region_variance", 2, "region_weight", REGION),
        Sum("region_covered", 0, "region_weight", REGION),
    )

    def of_field(self, fields: FieldView) -> dict[str, Array]:
        seen, error = fields.analysis, fields.analysis.error
        index = jnp.asarray(region_index(error.shape), jnp.int32)
        covered = jnp.abs(_standardised_truth(seen)) <= HALF_WIDTHS[LEVEL_90]

        def each(values: Array) -> Array:
            return histogram(index, seen.weights * values, QUARTERS)

        return {
            "region_weight": each(jnp.ones_like(error)),
            "region_error": each(error),
            "region_squared_error": each(error**2),
            "region_variance": each(seen.spread**2),
            "region_covered": each(covered.astype(error.dtype)),
        }


def moments_of(seen: Scored) -> dict[str, Float[Array, ""]]:
    """The entries of `MOMENTS` of one field."""
    w, error = seen.weights, seen.error
    squared_error, variance = jnp.sum(w * error**2), jnp.sum(w * seen.spread**2)
    divisor = jnp.where(seen.weight > 0, seen.weight, 1.0)
    return {
        "error": jnp.sum(w * error),
        "absolute_error": jnp.sum(w * jnp.abs(error)),
        "squared_error": squared_error,
        "variance": variance,
        "rmse": jnp.where(seen.lost, jnp.nan, jnp.sqrt(squared_error / divisor)),
        "spread": jnp.where(seen.lost, jnp.nan, jnp.sqrt(variance / divisor)),
    }


def spread_bin(relative: Float[Array, "*grid"]) -> Int[Array, "*grid"]:
    """The bin of spreads in units of the spread scale."""
    smallest = 2.0 ** (-SPREAD_BINS_BELOW_ONE / SPREAD_BINS_PER_OCTAVE)
    octaves = jnp.log2(jnp.maximum(relative, smallest))
    index = jnp.floor(octaves * SPREAD_BINS_PER_OCTAVE) + SPREAD_BINS_BELOW_ONE
    return jnp.clip(index, 0, SPREAD_BINS - 1).astype(jnp.int32)


def histogram(
    index: Int[Array, "*grid"], weights: Float[Array, "*grid"], bins: int
) -> Float[Array, " bin"]:
    """Sum of the weights of the points in each bin."""
    # Comparing with every bin, and not scattering, keeps the order of the sum fixed on a GPU.
    return jax.vmap(lambda k: jnp.sum(jnp.where(index == k, weights, 0.0)))(
        jnp.arange(bins, dtype=index.dtype)
    )


def _standardised_truth(seen: Scored) -> Float[Array, "*grid"]:
    return standardised(seen.truth - seen.mean, seen.spread)


def _prefixed(prefix: str, sums: dict[str, Array]) -> dict[str, Array]:
    return {f"{prefix}{name}": value for name, value in sums.items()}
