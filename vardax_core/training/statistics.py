"""Climatologies and space-time covariances fitted to a training period of a gridded field."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vardax_core.models.climatology import MINUTES_A_DAY, Climatology

EARTH_RADIUS_KM = 6371.0


class UnfitPeriodError(ValueError):
    """A training period from which the wanted statistics cannot be computed."""


class WindowStatistics(eqx.Module):
    """What a linear method needs to know about a field and its recent past.

    Attributes:
        climatology: mean for each slot of the day and the square root of the covariance of the
            anomalies about it, as sampled (columns are EOFs times their standard deviation,
            leading first).
        covariances: B(l)[i, j], the covariance of the anomaly at point i with the anomaly at
            point j `l` steps earlier, for lags 0, 1, ...; jointly positive semi-definite.
        lag_interval: minutes between two lags.
    """

    climatology: Climatology
    covariances: Float[Array, "lag n n"]
    lag_interval: int = eqx.field(static=True)

    @property
    def variance(self) -> Float[Array, "*state"]:
        """Climatological variance at every point."""
        return jnp.diagonal(self.covariances[0]).reshape(self.climatology.state_shape)


def great_circle_distance(
    latitude: Float[np.ndarray, " y"], longitude: Float[np.ndarray, " x"]
) -> Float[np.ndarray, "n n"]:
    """Distance in km between all points of a latitude-longitude grid (degrees), row-major."""
    phi, lam = np.meshgrid(np.deg2rad(latitude), np.deg2rad(longitude), indexing="ij")
    unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], -1)
    unit = unit.reshape(-1, 3).astype(np.float64)
    squared = sum(np.subtract.outer(c, c) ** 2 for c in unit.T)
    return EARTH_RADIUS_KM * 2 * np.arcsin(np.minimum(1.0, np.sqrt(squared) / 2))


def gaussian_taper(distance: Float[np.ndarray, "n n"], length: float) -> Float[np.ndarray, "n n"]:
    """exp(-d^2 / (2 length^2)), with both in km; an infinite length leaves everything."""
    return np.exp(-0.5 * (distance / length) ** 2)


def slot_means(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    *,
    slots: int = 24,
    harmonics: int | None = None,
) -> Float[np.ndarray, "slots *state"]:
    """Mean of a field in each of `slots` equal parts of the day, in float64.

    Arguments:
        fields: states at `times`.
        times: minutes since `MINUTES_EPOCH`.
        slots: equal parts of the day.
        harmonics: smooth the daily cycle by a mean and this many harmonics of the day; None
            keeps the plain means.

    Raises:
        UnfitPeriodError: if a slot is empty, so that its mean is unknown.
    """
    slot = (times % MINUTES_A_DAY) * slots // MINUTES_A_DAY
    empty = sorted(set(range(slots)) - set(slot.tolist()))
    if empty:
        raise UnfitPeriodError(
            f"slot_means: no training state falls in slot(s) {empty} of {slots} of the day; "
            "take a longer period or fewer slots."
        )
    means = np.stack([fields[slot == s].mean(axis=0, dtype=np.float64) for s in range(slots)])
    if harmonics is None:
        return means
    angle = 2 * np.pi * np.arange(slots) / slots
    waves = [f(k * angle) for k in range(1, harmonics + 1) for f in (np.cos, np.sin)]
    basis = np.linalg.qr(np.stack([np.ones(slots), *waves], axis=1))[0]
    return np.tensordot(basis @ basis.T, means, axes=1)


def slot_anomalies(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    mean: Float[np.ndarray, "slots *state"],
) -> Float[np.ndarray, "time *state"]:
    """Departures from the mean of each state's slot of the day, in float64."""
    slots = mean.shape[0]
    return fields.astype(np.float64) - mean[(times % MINUTES_A_DAY) * slots // MINUTES_A_DAY]


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
        distance: km.
        amplitude: range of the mean daily cycle at each point, positive.
        length: km.
        contrast: width of the Gaussian in standard deviations of the logarithm of amplitude.
    """
    feature = np.log(amplitude)
    feature = (feature - feature.mean()) / max(feature.std(), 1e-12)
    unlike = np.subtract.outer(feature, feature) / contrast
    return np.exp(-distance / length - 0.5 * unlike**2)


def fit_climatology(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    *,
    interval: int,
    slots: int = 24,
    harmonics: int | None = None,
) -> Climatology:
    """The climatology of a training period: slot means and EOFs of the anomalies.

    The root has orthogonal columns, leading first, so that its first k span the leading k
    empirical orthogonal functions.

    Raises:
        UnfitPeriodError: if a slot of the day holds no state.
    """
    mean = slot_means(fields, times, slots=slots, harmonics=harmonics)
    anomalies = slot_anomalies(fields, times, mean).reshape(len(times), -1)
    _, singular, vectors = np.linalg.svd(anomalies / len(times) ** 0.5, full_matrices=False)
    keep = singular > singular[0] * np.finfo(np.float32).eps * len(times)
    root = (vectors[keep] * singular[keep, None]).T
    return Climatology(
        mean=jnp.asarray(mean, jnp.float32),
        square_root=jnp.asarray(root.reshape(*fields.shape[1:], -1), jnp.float32),
        interval=interval,
        state_shape=fields.shape[1:],
    )


def fit_window_statistics(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    latitude: Float[np.ndarray, " y"],
    longitude: Float[np.ndarray, " x"],
    *,
    select: Bool[np.ndarray, " time"] | None = None,
    interval: int = 180,
    lag_interval: int = 60,
    n_lags: int = 3,
    harmonics: int | None = 1,
    taper_km: float = 450.0,
    smooth_weight: float = 0.1,
    smooth_km: float = 300.0,
    smooth_contrast: float = 1.5,
) -> WindowStatistics:
    """Climatology and lagged covariances of a field on a latitude-longitude grid.

    B(l) = (1 - w) C(l) o T + w r(l) s s' o S: sampled covariances C under a Gaussian taper T,
    blended with a smooth correlation S of the same variances s^2 and of the field's mean
    autocorrelation r(l). With w = 0 this is the plain tapered covariance.

    Arguments:
        fields: states in the unit of the analysis.
        times: minutes since `MINUTES_EPOCH`.
        latitude, longitude: degrees.
        select: the states to use; None uses all.
        interval: minutes of one forecast of the climatology.
        lag_interval, n_lags: lags 0, 1, ..., n_lags - 1 in steps of `lag_interval` minutes.
        harmonics: of the daily cycle of the mean; None for plain hourly means.
        taper_km: standard length of T.
        smooth_weight, smooth_km, smooth_contrast: w, and the arguments of `smooth_correlation`.

    Raises:
        UnfitPeriodError: if a slot of the day holds no selected state.
        ValueError: if `smooth_weight` is not within 0 to 1.

    Source: hybrid covariances, Hamill and Snyder (2000),
    doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2
    """
    if not 0 <= smooth_weight <= 1:
        raise ValueError(f"fit_window_statistics: smooth_weight {smooth_weight} not in 0..1.")
    if select is not None:
        fields, times = fields[select], times[select]
    climatology = fit_climatology(fields, times, interval=interval, harmonics=harmonics)
    mean = slot_means(fields, times, harmonics=harmonics)
    anomalies = slot_anomalies(fields, times, mean).reshape(len(times), -1)
    sampled = lagged_covariances(anomalies, times, [k * lag_interval for k in range(n_lags)])
    distance = great_circle_distance(latitude, longitude)
    tables = (1 - smooth_weight) * sampled * gaussian_taper(distance, taper_km)
    if smooth_weight > 0:
        deviation = np.sqrt(np.diagonal(sampled[0]))
        autocorrelation = np.trace(sampled / np.outer(deviation, deviation), axis1=1, axis2=2)
        autocorrelation = autocorrelation / len(deviation)
        smooth = smooth_correlation(
            distance,
            np.ptp(mean, axis=0).reshape(-1),
            length=smooth_km,
            contrast=smooth_contrast,
        ) * np.outer(deviation, deviation)
        tables = tables + smooth_weight * autocorrelation[:, None, None] * smooth
    return WindowStatistics(
        climatology=climatology,
        covariances=jnp.asarray(tables, jnp.float32),
        lag_interval=lag_interval,
    )
