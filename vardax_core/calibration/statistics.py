"""Sums over one cycle from which every score of any period can be computed.

A score is a function of sums of these statistics, and sums can be added in any order and over
any cut of the period, so that verifying ten years opens no ensemble.
"""

import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.calibration.regions import QUARTERS, region_index
from vardax_core.observations.departures import Departures, Residuals

COVERAGE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal levels of the central intervals whose coverage is counted."""

HALF_WIDTHS = tuple(NormalDist().inv_cdf((1 + level) / 2) for level in COVERAGE_LEVELS)
"""Half widths in standard deviations of the central Gaussian intervals of `COVERAGE_LEVELS`."""

LEVEL_90 = COVERAGE_LEVELS.index(0.9)

SMOOTHED = "smoothed_"
"""Prefix of the sums over smoothed analyses; only an experiment with a lag has them."""

LARGEST_PAIRED_ENSEMBLE = 128
"""Up to this size XLA adds all pairs of members faster than it sorts them (5 times at 64)."""
LARGEST_PAIRED_STATES = 1 << 20
"""Differences of all pairs of members that are held at once, in numbers."""
PIT_BINS = 20
SPREAD_BINS = 40
SPREAD_BINS_PER_OCTAVE = 4
SPREAD_BINS_BELOW_ONE = 24
"""Bin k of spread / scale starts at 2^((k - 24) / 4); the outer bins are open."""


def gaussian_crps(
    truth: Float[Array, "*state"], mean: Float[Array, "*state"], spread: Float[Array, "*state"]
) -> Float[Array, "*state"]:
    """Continuous ranked probability score of N(mean, spread^2) at every point, in the unit of the
    state; the absolute error where the spread is zero.

    Source: Gneiting et al. (2005), doi:10.1175/MWR2904.1, equation 5
    """
    error = truth - mean
    z = _standardised(error, spread)
    density = jnp.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return error * (2 * ndtr(z) - 1) + spread * (2 * density - 1 / math.sqrt(math.pi))


def fair_crps(
    truth: Float[Array, "*state"], ensemble: Float[Array, "member *state"]
) -> Float[Array, "*state"]:
    """Fair continuous ranked probability score of an ensemble at every point, in the unit of the
    state: the score whose expectation does not depend on the number of members M >= 2.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)); the double sum by sorting, in O(M log M),
    above `LARGEST_PAIRED_ENSEMBLE` members, and pair by pair up to it.

    Source: Ferro (2014), doi:10.1002/qj.2270
    """
    members = ensemble.shape[0]
    errors = ensemble - truth[None]
    if members > LARGEST_PAIRED_ENSEMBLE:
        order = 2 * jnp.arange(members, dtype=errors.dtype) + 1 - members
        pairs = 2 * jnp.tensordot(order, jnp.sort(errors, axis=0), axes=1)
    else:
        pairs = jnp.sum(jnp.abs(errors[None] - errors[:, None]), axis=(0, 1))
    return jnp.mean(jnp.abs(errors), axis=0) - pairs / (2 * members * (members - 1))


def fair_energy_score(
    truth: Float[Array, "*state"],
    ensemble: Float[Array, "member *state"],
    weights: Float[Array, "*state"] | None = None,
) -> Float[Array, ""]:
    """Fair energy score of an ensemble, the CRPS of whole states, in the unit of the state:
    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)) with the (weighted) Euclidean norm.

    Unlike a sum of the points' CRPS it also feels correlations. For M >= 2.

    Source: Gneiting and Raftery (2007), doi:10.1198/016214506000001437, equation 22; fair as in
        Ferro (2014), doi:10.1002/qj.2270
    """
    members = ensemble.shape[0]
    root = jnp.ones_like(truth) if weights is None else jnp.sqrt(weights)
    errors = ((ensemble - truth[None]) * root[None]).reshape(members, -1)
    norms = jnp.linalg.norm(errors, axis=1)

    def distances(one: Array) -> Array:
        return jnp.sum(jnp.linalg.norm(errors - one[None], axis=1))

    if members * errors.size > LARGEST_PAIRED_STATES:
        pairs = jnp.sum(jax.lax.map(distances, errors))
    else:
        pairs = jnp.sum(jax.vmap(distances)(errors))
    return jnp.mean(norms) - pairs / (2 * members * (members - 1))


def truth_rank(
    truth: Float[Array, "*state"], ensemble: Float[Array, "member *state"], *, key: PRNGKeyArray
) -> Int[Array, "*state"]:
    """Rank of the truth among the members, 0 to M; ties are broken at random.

    Source: Hamill (2001), doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2
    """
    below = jnp.sum(ensemble < truth[None], axis=0, dtype=jnp.int32)
    ties = jnp.sum(ensemble == truth[None], axis=0, dtype=jnp.int32)
    return below + jax.random.randint(key, truth.shape, 0, ties + 1, jnp.int32)


def cycle_statistics(
    *,
    truth: Float[Array, "*state"],
    weights: Float[Array, "*state"],
    mean: Float[Array, "*state"],
    spread: Float[Array, "*state"],
    ensemble: Float[Array, "member *state"],
    background_mean: Float[Array, "*state"],
    background_spread: Float[Array, "*state"],
    departures: Departures,
    residuals: Residuals,
    key: PRNGKeyArray,
    spread_scale: float = 1.0,
) -> dict[str, Array]:
    """The sums of one cycle; all floating-point arrays have one dtype.

    A point is scored where its weight is positive and its truth finite. A scored point where the
    analysis or the background is not finite goes to `non_finite_weight` and to no other sum; if
    there is no other, the `rmse` and `spread` of the cycle are NaN.

    Arguments:
        truth: true state; NaN where it is not known.
        weights: weight of each point in the score (area, say); 0 where not to be scored.
        mean, spread: analysis mean and standard deviation.
        ensemble: analysis members.
        background_mean, background_spread: the same of the background.
        departures: of the background.
        residuals: of the analysis.
        key: breaks ties in the rank histogram.
        spread_scale: spread, in the unit of the state, around which the bins of the
            spread-error diagram lie; the same for all cycles that are to be added.

    Returns:
        Sums over points: `cycles` (1 if a point was scored), `weight`, `squared_weight`,
        `non_finite_weight`, `ensemble_weight` (the weight if there are two members); `error`
        (analysis mean - truth), `absolute_error`, `squared_error`, `variance`, and of the cycle
        as a whole `rmse` and `spread` (root of the weighted mean variance); the same six with
        the prefix `background_`; `crps_gaussian_sum`, `crps_fair_sum`; `energy_score` of the
        cycle as a whole, in the norm root of weighted mean square; `coverage` (level),
        `pit_histogram` (pit_bin), `rank_histogram` (rank); `binned_weight`, `binned_variance`,
        `binned_squared_error` (spread_bin); over the points of each quarter of the grid
        `region_weight`, `region_error`, `region_squared_error`, `region_variance` and
        `region_covered`, the weight inside the central 90 % interval (region). Sums over used
        observations: `observations`, `innovation`, `squared_innovation`, `residual`,
        `squared_residual`, `innovation_residual`, `observed_background_variance`,
        `error_variance`; `innovation_sum_variance`, what the variance of the sum of innovations
        is expected to be; `chi2`, the sum of innovation^2 / (H B H' + R) with diagonals only; and
        `signal_sum`, that of residual (innovation - residual) / R, whose expectation is the degrees
        of freedom for signal. Sums over withheld observations: `withheld_observations`,
        `withheld_residual`, `withheld_squared_residual`, `withheld_squared_innovation`, and
        `withheld_chi2`, that of residual^2 / (H A H' + R), 1 each if the analysis is calibrated.
    """
    finite = jnp.isfinite(mean) & jnp.isfinite(spread) & jnp.all(jnp.isfinite(ensemble), axis=0)
    finite &= jnp.isfinite(background_mean) & jnp.isfinite(background_spread)
    wanted = (weights > 0) & jnp.isfinite(truth)
    scored = wanted & finite

    def clean(field: Array) -> Array:
        return jnp.where(scored, field, 0.0)

    w = clean(weights)
    truth, mean, spread = clean(truth), clean(mean), clean(spread)
    ensemble = jax.vmap(clean)(ensemble)
    weight = jnp.sum(w)
    lost = jnp.any(wanted) & ~jnp.any(scored)
    analysis = _moment_sums(w, mean - truth, spread, lost)
    background = _moment_sums(w, clean(background_mean) - truth, clean(background_spread), lost)
    z = _standardised(truth - mean, spread)
    half_widths = jnp.asarray(HALF_WIDTHS, w.dtype)
    pit_bin = jnp.clip(jnp.floor(ndtr(z) * PIT_BINS), 0, PIT_BINS - 1).astype(jnp.int32)
    members = ensemble.shape[0]
    spread_bin = _spread_bin(spread / spread_scale)
    several = members > 1
    return {
        "cycles": (weight > 0).astype(w.dtype),
        "weight": weight,
        "squared_weight": jnp.sum(w**2),
        "non_finite_weight": jnp.sum(jnp.where(wanted & ~finite, weights, 0.0)),
        "ensemble_weight": weight if several else jnp.zeros_like(weight),
        **analysis,
        **{f"background_{name}": value for name, value in background.items()},
        "crps_gaussian_sum": jnp.sum(w * gaussian_crps(truth, mean, spread)),
        "crps_fair_sum": (
            jnp.sum(w * fair_crps(truth, ensemble)) if several else jnp.zeros_like(weight)
        ),
        "energy_score": _energy_score(truth, ensemble, w, weight) if several else 0 * weight,
        "coverage": jax.vmap(lambda half: jnp.sum(jnp.where(jnp.abs(z) <= half, w, 0.0)))(
            half_widths
        ),
        "pit_histogram": _histogram(pit_bin, w, PIT_BINS),
        "rank_histogram": _histogram(truth_rank(truth, ensemble, key=key), w, members + 1),
        "binned_weight": _histogram(spread_bin, w, SPREAD_BINS),
        "binned_variance": _histogram(spread_bin, w * spread**2, SPREAD_BINS),
        "binned_squared_error": _histogram(spread_bin, w * (mean - truth) ** 2, SPREAD_BINS),
        **_region_sums(w, mean - truth, spread, jnp.abs(z) <= HALF_WIDTHS[LEVEL_90]),
        **_observation_sums(departures, residuals),
        **_withheld_sums(departures, residuals),
    }


def smoothed_statistics(
    truth: Float[Array, "*state"],
    weights: Float[Array, "*state"],
    mean: Float[Array, "*state"],
    spread: Float[Array, "*state"],
) -> dict[str, Array]:
    """The sums of one cycle over what a smoother made of an earlier analysis.

    Arguments:
        truth: true state at the time of that analysis; NaN where it is not known.
        weights: weight of each point in the score.
        mean, spread: of the smoothed members; NaN where there are none yet.

    Returns:
        The sums that `cycle_statistics` calls `cycles`, `weight`, `error`, `absolute_error`,
        `squared_error`, `variance`, `rmse` and `spread`, with the prefix `smoothed_`.
    """
    scored = (weights > 0) & jnp.isfinite(truth) & jnp.isfinite(mean) & jnp.isfinite(spread)
    w, error, spread = (jnp.where(scored, x, 0.0) for x in (weights, mean - truth, spread))
    weight = jnp.sum(w)
    sums = {"cycles": (weight > 0).astype(w.dtype), "weight": weight}
    sums |= _moment_sums(w, error, spread)
    return {f"{SMOOTHED}{name}": value for name, value in sums.items()}


def _energy_score(truth: Array, ensemble: Array, weights: Array, weight: Array) -> Array:
    share = weights / jnp.where(weight > 0, weight, 1.0)
    return jnp.where(weight > 0, fair_energy_score(truth, ensemble, share), 0.0)


def _moment_sums(
    weights: Array, error: Array, spread: Array, lost: Array | bool = False
) -> dict[str, Array]:
    weight = jnp.sum(weights)
    squared_error = jnp.sum(weights * error**2)
    variance = jnp.sum(weights * spread**2)
    divisor = jnp.where(weight > 0, weight, 1.0)
    return {
        "error": jnp.sum(weights * error),
        "absolute_error": jnp.sum(weights * jnp.abs(error)),
        "squared_error": squared_error,
        "variance": variance,
        "rmse": jnp.where(lost, jnp.nan, jnp.sqrt(squared_error / divisor)),
        "spread": jnp.where(lost, jnp.nan, jnp.sqrt(variance / divisor)),
    }


def _region_sums(weights: Array, error: Array, spread: Array, covered: Array) -> dict[str, Array]:
    index = jnp.asarray(region_index(error.shape), jnp.int32)

    def each(values: Array) -> Array:
        return _histogram(index, weights * values, QUARTERS)

    return {
        "region_weight": each(jnp.ones_like(error)),
        "region_error": each(error),
        "region_squared_error": each(error**2),
        "region_variance": each(spread**2),
        "region_covered": each(covered.astype(error.dtype)),
    }


def _observation_sums(departures: Departures, residuals: Residuals) -> dict[str, Array]:
    innovation, residual = departures.innovation, residuals.residual
    used = departures.used & jnp.isfinite(innovation) & jnp.isfinite(residual)
    innovation = jnp.where(used, innovation, 0.0)
    residual = jnp.where(used, residual, 0.0)
    background_variance = jnp.where(used, departures.variance, 0.0)
    mean_variance = departures.mean_variance
    error_variance = jnp.where(used, departures.error_sd, 0.0) ** 2
    total = jnp.where(used, background_variance + error_variance, 1.0)
    count = jnp.sum(used.astype(innovation.dtype))
    return {
        "observations": count,
        "innovation_sum_variance": (
            count**2 * jnp.where(jnp.isfinite(mean_variance), mean_variance, 0)
            + jnp.sum(error_variance)
        ),
        "innovation": jnp.sum(innovation),
        "squared_innovation": jnp.sum(innovation**2),
        "residual": jnp.sum(residual),
        "squared_residual": jnp.sum(residual**2),
        "innovation_residual": jnp.sum(innovation * residual),
        "observed_background_variance": jnp.sum(background_variance),
        "error_variance": jnp.sum(error_variance),
        "chi2": jnp.sum(innovation**2 / total),
        "signal_sum": jnp.sum(
            residual * (innovation - residual) / jnp.where(used, error_variance, 1.0)
        ),
    }


def _withheld_sums(departures: Departures, residuals: Residuals) -> dict[str, Array]:
    innovation, residual = departures.innovation, residuals.residual
    withheld = departures.withheld & jnp.isfinite(innovation) & jnp.isfinite(residual)
    innovation = jnp.where(withheld, innovation, 0.0)
    residual = jnp.where(withheld, residual, 0.0)
    total = jnp.where(withheld, residuals.variance + departures.error_sd**2, 1.0)
    return {
        "withheld_observations": jnp.sum(withheld.astype(residual.dtype)),
        "withheld_residual": jnp.sum(residual),
        "withheld_squared_residual": jnp.sum(residual**2),
        "withheld_squared_innovation": jnp.sum(innovation**2),
        "withheld_chi2": jnp.sum(residual**2 / total),
    }


def _standardised(error: Array, spread: Array) -> Array:
    positive = spread > 0
    degenerate = jnp.where(error == 0, 0.0, jnp.copysign(jnp.inf, error))
    return jnp.where(positive, error / jnp.where(positive, spread, 1.0), degenerate)


def _spread_bin(relative: Array) -> Array:
    smallest = 2.0 ** (-SPREAD_BINS_BELOW_ONE / SPREAD_BINS_PER_OCTAVE)
    octaves = jnp.log2(jnp.maximum(relative, smallest))
    index = jnp.floor(octaves * SPREAD_BINS_PER_OCTAVE) + SPREAD_BINS_BELOW_ONE
    return jnp.clip(index, 0, SPREAD_BINS - 1).astype(jnp.int32)


def _histogram(index: Array, weights: Array, bins: int) -> Array:
    # Comparing with every bin, and not scattering, keeps the order of the sum fixed on a GPU.
    return jax.vmap(lambda k: jnp.sum(jnp.where(index == k, weights, 0.0)))(
        jnp.arange(bins, dtype=index.dtype)
    )
