"""Climatologies and space-time covariances fitted to a training period of a gridded field."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vardax_core.models.climatology import Climatology
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.slots import (
    UnfitPeriodError,
    gap_filled,
    slot_anomalies,
    slot_means,
    slots_of_day,
)

CONSTANT = 1e-4
"""Standard deviation, in typical ones, up to which a point counts as one that does not vary."""
FEWEST_KNOWN, SMALLEST_SHARE = 5, 0.05
"""Values, and share of the states, without which nothing is learned about a point."""
SMALLEST_AMPLITUDE = 1e-3
"""Least daily range that is told from none, in typical standard deviations."""


class WindowStatistics(eqx.Module):
    """What a linear method needs to know about a field and its recent past.

    Attributes:
        climatology: mean for each slot of the day and the square root of the covariance of the
            anomalies about it, as sampled (columns are EOFs times their standard deviation,
            leading first).
        covariances: B(l)[i, j], the covariance of the anomaly at point i with the anomaly at
            point j `l` steps earlier, for lags 0, 1, ...; jointly positive semi-definite. Zero at
            points that do not vary, see `varying_points`.
        lag_interval: minutes between two lags.
    """

    climatology: Climatology
    covariances: Float[Array, "lag n n"]
    lag_interval: int = eqx.field(static=True)

    @property
    def variance(self) -> Float[Array, "*state"]:
        """Climatological variance at every point."""
        return jnp.diagonal(self.covariances[0]).reshape(self.climatology.state_shape)


def gaussian_taper(distance: Float[np.ndarray, "n n"], length: float) -> Float[np.ndarray, "n n"]:
    """exp(-d^2 / (2 length^2)), with both in one unit; an infinite length leaves everything."""
    return np.exp(-0.5 * (distance / length) ** 2)


def lagged_covariances(
    anomalies: Float[np.ndarray, "time n"], times: Int[np.ndarray, " time"], lags: list[int]
) -> Float[np.ndarray, "lag n n"]:
    """Covariance of the field with itself `lag` minutes earlier, over the pairs that exist.

    Every sum is divided by the number of states, not of pairs: this is the covariance of the
    series continued by zeros, so that the block matrix over lags is positive semi-definite.

    Source: Priestley (1981), Spectral Analysis and Time Series, section 5.3.
    """
    index = {int(t): k for k, t in enumerate(times)}
    tables = []
    for lag in lags:
        pairs = [(k, index[t - lag]) for t, k in index.items() if t - lag in index]
        now, then = np.array(pairs, dtype=int).reshape(-1, 2).T
        tables.append(anomalies[now].T @ anomalies[then] / len(times))
    return np.stack(tables)


def varying_points(
    anomalies: Float[np.ndarray, "time *state"], mean: Float[np.ndarray, "slots *state"]
) -> Bool[np.ndarray, "*state"]:
    """The points of which something can be learned: known often enough, and not constant.

    Arguments:
        anomalies: NaN where missing.
        mean: what they are departures from; what is less than its rounding in single precision
            is no variation.

    Raises:
        UnfitPeriodError: if there is no such point.
    """
    count = np.isfinite(anomalies).sum(axis=0)
    deviation = np.sqrt(np.nansum(anomalies**2, axis=0) / np.maximum(count, 1))
    known = count >= max(FEWEST_KNOWN, SMALLEST_SHARE * len(anomalies))
    rounding = np.finfo(np.float32).eps * np.abs(mean).max(axis=0)
    constant = np.maximum(rounding, CONSTANT * typical_deviation(deviation))
    varying = known & (deviation > constant)
    if not varying.any():
        raise UnfitPeriodError(
            f"The training period of {len(anomalies)} states holds no point whose values vary and "
            f"of which {max(FEWEST_KNOWN, int(SMALLEST_SHARE * len(anomalies)))} are known; choose "
            "a longer period, or look at the source."
        )
    return varying


def typical_deviation(deviation: Float[np.ndarray, "*state"]) -> float:
    """The median of the standard deviations that are not zero; 0 if all are."""
    positive = deviation[deviation > 0]
    return float(np.median(positive)) if positive.size else 0.0


def daily_amplitude(
    mean: Float[np.ndarray, "slots *state"], deviation: Float[np.ndarray, "*state"]
) -> Float[np.ndarray, "*state"]:
    """Range of the mean daily cycle at each point, positive also where there is none.

    Arguments:
        mean: for each slot of the day.
        deviation: of the anomalies; one of them is positive.
    """
    return np.maximum(np.ptp(mean, axis=0), SMALLEST_AMPLITUDE * typical_deviation(deviation))


def correlation_length(
    correlation: Float[np.ndarray, "n n"], distance: Float[np.ndarray, "n n"], *, bins: int = 60
) -> float:
    """The length L for which exp(-d / L) is nearest to the mean correlation at a distance d.

    Arguments:
        correlation: between all points.
        distance: the same; L has its unit.
        bins: equal parts of the largest distance in which correlations are averaged.

    Returns:
        L, from a fiftieth of the largest distance to twenty times that; infinity for one place.
    """
    farthest = float(distance.max())
    if farthest == 0:
        return np.inf
    index = np.minimum((distance * (bins / farthest)).astype(int), bins - 1).reshape(-1)
    pairs = np.maximum(np.bincount(index, minlength=bins), 1)
    mean = np.bincount(index, correlation.reshape(-1), bins) / pairs
    centre = np.bincount(index, distance.reshape(-1), bins) / pairs
    lengths = np.geomspace(farthest / 50, 20 * farthest, 400)
    misfit = np.exp(-centre[None] / lengths[:, None]) - mean[None]
    return float(lengths[np.argmin(np.sum(pairs * misfit**2, axis=1))])


def smooth_correlation(
    distance: Float[np.ndarray, "n n"],
    amplitude: Float[np.ndarray, " n"],
    *,
    length: float,
    contrast: float,
) -> Float[np.ndarray, "n n"]:
    """exp(-d / length) times a Gaussian of the difference in daily amplitude.

    Land and sea differ in the amplitude of their mean daily cycle, and points that differ in it
    share less of their anomalies at a given distance.

    Arguments:
        distance: of every pair of points.
        amplitude: range of the mean daily cycle at each point, positive.
        length: in the unit of the distance.
        contrast: width of the Gaussian in standard deviations of the logarithm of amplitude.
    """
    feature = np.log(amplitude)
    feature = (feature - feature.mean()) / max(feature.std(), 1e-6)
    unlike = np.subtract.outer(feature, feature) / contrast
    return np.exp(-distance / length - 0.5 * unlike**2)


def fit_climatology(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    *,
    interval: int,
    slots: int | None = None,
    harmonics: int | None = None,
) -> Climatology:
    """The climatology of a training period: slot means and EOFs of the anomalies.

    The root has orthogonal columns, leading first, so that its first k span the leading k
    empirical orthogonal functions. It is zero at points that do not vary.

    Arguments:
        fields: states, NaN where missing.
        times: minutes since `MINUTES_EPOCH`.
        interval: minutes of one forecast of the climatology.
        slots, harmonics: of the mean, see `slot_means`.

    Raises:
        UnfitPeriodError: if no point varies.
    """
    mean = slot_means(fields, times, slots=slots, harmonics=harmonics)
    return _climatology(mean, _learnable(fields, times, mean), interval)


def _learnable(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    mean: Float[np.ndarray, "slots *state"],
) -> Float[np.ndarray, "time *state"]:
    anomalies = slot_anomalies(fields, times, mean)
    return np.where(varying_points(anomalies, mean)[None], gap_filled(anomalies), 0.0)


def _climatology(
    mean: Float[np.ndarray, "slots *state"],
    anomalies: Float[np.ndarray, "time *state"],
    interval: int,
) -> Climatology:
    flat, shape = anomalies.reshape(len(anomalies), -1), mean.shape[1:]
    _, singular, vectors = np.linalg.svd(flat / len(flat) ** 0.5, full_matrices=False)
    keep = singular > singular[0] * np.finfo(np.float32).eps * len(flat)
    # Rounding would leave traces at points that do not vary.
    varying = np.sum(flat**2, axis=0) > 0
    root = np.where(varying[:, None], (vectors[keep] * singular[keep, None]).T, 0.0)
    return Climatology(
        mean=jnp.asarray(mean, jnp.float32),
        square_root=jnp.asarray(root.reshape(*shape, -1), jnp.float32),
        interval=interval,
        state_shape=shape,
    )


def fit_window_statistics(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    grid: AbstractGrid,
    *,
    select: Bool[np.ndarray, " time"] | None = None,
    interval: int = 180,
    lag_interval: int = 60,
    n_lags: int = 3,
    slots: int | None = None,
    harmonics: int | None = 1,
    taper: float = 0.71,
    smooth_weight: float = 0.1,
    smooth_length: float = 0.47,
    smooth_contrast: float = 1.5,
) -> WindowStatistics:
    """Climatology and lagged covariances of a field on its grid.

    B(l) = (1 - w) C(l) o T + w r(l) s s' o S: sampled covariances C under a Gaussian taper T,
    blended with a smooth correlation S of the same variances s^2 and of the field's mean
    autocorrelation r(l). With w = 0 this is the plain tapered covariance. Lengths are in units of
    the field's own, see `correlation_length`.

    Arguments:
        fields: states in the unit of the analysis, NaN where missing.
        times: minutes since `MINUTES_EPOCH`.
        grid: of the states, or of each of their channels, which then must be of one size.
        select: the states to use; None uses all.
        interval: minutes of one forecast of the climatology.
        lag_interval, n_lags: lags 0, 1, ..., n_lags - 1 in steps of `lag_interval` minutes.
        slots: of the mean, see `slot_means`.
        harmonics: of the daily cycle of the mean; None for plain means of the slots.
        taper: standard length of T, in correlation lengths.
        smooth_weight, smooth_contrast: w, and how unlike surfaces may be, see
            `smooth_correlation`.
        smooth_length: of S, in correlation lengths.

    Raises:
        UnfitPeriodError: if no point varies.
        ValueError: if `smooth_weight` is not within 0 to 1.

    Source: hybrid covariances, Hamill and Snyder (2000),
    doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2
    """
    if not 0 <= smooth_weight <= 1:
        raise ValueError(f"fit_window_statistics: smooth_weight {smooth_weight} not in 0..1.")
    slots = slots_of_day(times) if slots is None else slots
    if select is not None:
        fields, times = fields[select], times[select]
    mean = slot_means(fields, times, slots=slots, harmonics=harmonics)
    anomalies = _learnable(fields, times, mean)
    climatology = _climatology(mean, anomalies, interval)
    flat = anomalies.reshape(len(times), -1)
    sampled = lagged_covariances(flat, times, [k * lag_interval for k in range(n_lags)])
    deviation = np.sqrt(np.diagonal(sampled[0]))
    varying = deviation > 0
    scale, among = deviation[varying], np.ix_(varying, varying)
    between, copies = grid.pairwise(), flat.shape[1] // grid.size
    distance = np.tile(between, (copies, copies))
    length = correlation_length(sampled[0][among] / np.outer(scale, scale), distance[among])
    tables = (1 - smooth_weight) * sampled * gaussian_taper(distance, taper * length)
    if smooth_weight > 0:
        own = np.diagonal(sampled, axis1=1, axis2=2)[:, varying]
        autocorrelation = np.mean(own / scale**2, axis=1)
        smooth = smooth_correlation(
            distance,
            daily_amplitude(mean.reshape(len(mean), -1), deviation),
            length=smooth_length * length,
            contrast=smooth_contrast,
        ) * np.outer(deviation, deviation)
        tables = tables + smooth_weight * autocorrelation[:, None, None] * smooth
    return WindowStatistics(
        climatology=climatology,
        covariances=jnp.asarray(tables, jnp.float32),
        lag_interval=lag_interval,
    )
