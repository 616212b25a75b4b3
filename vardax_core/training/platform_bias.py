"""Biases of platforms, and what they tell of a platform that is not there."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance
from vardax_core.training.covariogram import Start
from vardax_core.training.withheld import withheld_neighbours

LEAST_RECORDS = 3
"""Of a platform whose bias is estimated."""
SWEEPS = 50


@dataclass(frozen=True)
class PlatformBiases:
    """Mean departures of platforms in a training period.

    Attributes:
        level: mean departure of the observing network, the background's bias with its sign turned.
        bias: of each platform beyond the level, as estimated; zero where unknown. Their mean over
            the known anchors is zero, so that level and biases are not confounded.
        sd: standard error of each.
        known: platforms with enough records.
        between_sd: of the true biases of platforms.
        within_sd: of a departure about its platform's bias and its day's mean.
    """

    level: float
    bias: Float[np.ndarray, " platform"]
    sd: Float[np.ndarray, " platform"]
    known: Bool[np.ndarray, " platform"]
    between_sd: float
    within_sd: float

    def shrunk(
        self,
        expected: Float[np.ndarray, " platform"] | None = None,
        expected_sd: Float[np.ndarray, " platform"] | None = None,
    ) -> Float[np.ndarray, " platform"]:
        """Biases drawn towards what is expected of each platform without its own records.

        Arguments:
            expected: zero by default.
            expected_sd: `between_sd` by default.
        """
        expected = np.zeros_like(self.bias) if expected is None else expected
        variance = self.between_sd**2 if expected_sd is None else expected_sd**2
        share = variance / np.maximum(variance + self.sd**2, np.finfo(float).tiny)
        return np.where(self.known, expected + share * (self.bias - expected), expected)


def platform_biases(
    departures: Float[np.ndarray, " obs"],
    platforms: Int[np.ndarray, " obs"],
    days: Int[np.ndarray, " obs"],
    *,
    count: int | None = None,
    anchors: Bool[np.ndarray, " platform"] | None = None,
) -> PlatformBiases:
    """Estimate a bias for each platform beside a mean for each day.

    departure = level + mean of the day + bias of the platform + rest, by least squares in turns.
    Standard errors allow for the autocorrelation of the rest from one day to the next.

    Arguments:
        departures: observed minus background, of the training period; finite.
        platforms: number of each record's platform.
        days: or whatever the network's mean is taken over, in order of time.
        count: of platforms; the largest number by default.
        anchors: platforms whose biases have a mean of zero; all by default.

    Raises:
        ValueError: if fewer than two platforms have `LEAST_RECORDS` records, or no anchor.
    """
    count = int(platforms.max(initial=-1)) + 1 if count is None else count
    _, day = np.unique(days, return_inverse=True)
    number = np.bincount(platforms, minlength=count)
    known = number >= LEAST_RECORDS
    if known.sum() < 2:
        raise ValueError(
            f"platform_biases: {int(known.sum())} platforms have {LEAST_RECORDS} records or more, "
            "two are needed to tell a bias from the network's mean; give a longer training period."
        )
    anchored = known if anchors is None else known & anchors
    if not anchored.any():
        raise ValueError(
            f"platform_biases: no anchor has {LEAST_RECORDS} records or more, and one is needed to "
            "tell biases from the network's mean; give a longer training period, or let more "
            "streams be anchors."
        )
    used = known[platforms]
    d, platform, day = departures[used], platforms[used], day[used]
    per_day = np.maximum(np.bincount(day), 1)
    per_platform = np.maximum(np.bincount(platform, minlength=count), 1)
    bias = np.zeros(count)
    for _ in range(SWEEPS):
        mean = np.bincount(day, d - bias[platform]) / per_day
        bias = np.bincount(platform, d - mean[day], minlength=count) / per_platform
        bias = np.where(known, bias - bias[anchored].mean(), 0.0)
    level = float(mean[per_day > 0].mean())
    rest = d - mean[day] - bias[platform]
    freedom = max(len(d) - known.sum() - len(per_day) + 1, 1)
    within = float(np.sum(rest**2) / freedom)
    order = np.lexsort((day, platform))
    pairs = (np.diff(platform[order]) == 0) & (np.diff(day[order]) == 1)
    product = (rest[order][1:] * rest[order][:-1])[pairs]
    lag_one = float(product.mean() / within) if product.size > 10 and within > 0 else 0.0
    lag_one = min(max(lag_one, 0.0), 0.9)
    error = within * (1 + lag_one) / (1 - lag_one) / per_platform
    between = max(float(bias[known].var(ddof=1) - error[known].mean()), 0.0)
    sd = np.where(known, np.sqrt(error), np.inf)
    return PlatformBiases(level, bias, sd, known, between**0.5, within**0.5)


@dataclass(frozen=True)
class ExpectedBiases:
    """What each platform's bias is expected to be from the others'.

    Attributes:
        bias, sd: of each platform.
        fit: of what the covariates leave.
        slopes: of the covariates.
    """

    bias: Float[np.ndarray, " platform"]
    sd: Float[np.ndarray, " platform"]
    fit: CovarianceFit
    slopes: Float[np.ndarray, " covariate"]


def expected_biases(
    biases: PlatformBiases,
    straight: Float[np.ndarray, "platform straight"],
    covariates: Float[np.ndarray, "platform covariate"],
    *,
    most: int = 40,
    key: PRNGKeyArray,
) -> ExpectedBiases:
    """Interpolate the biases of the other platforms to each, known or not.

    A bias is a linear function of covariates, as of the height, plus a field that is interpolated,
    plus the platform's own. None of a platform's own records enters.

    Arguments:
        biases: of the training period.
        straight: place of each platform in an embedding.
        covariates: of each platform; the level is no covariate.
        most: neighbours of a platform.
        key: of the fit.

    Source: Chiles and Delfiner (2012), doi:10.1002/9781118136188, section 3.4.
    """
    known = biases.known
    design = np.column_stack([np.ones(len(known)), covariates])
    slopes = np.linalg.lstsq(design[known], biases.bias[known], rcond=None)[0]
    rest = np.where(known, biases.bias - design @ slopes, 0.0)
    variance = max(float(rest[known].var()), float(np.finfo(np.float32).tiny))
    # Half as far as the network is wide, in the middle of what the fit searches.
    width = float(np.ptp(straight[known], axis=0).max()) or 1.0
    dtype = jnp.zeros(()).dtype
    records = LocalRecords.of(
        jnp.asarray(rest, dtype),
        jnp.asarray(np.where(known, biases.sd, 1.0), dtype),
        jnp.asarray(straight, dtype),
        mask=jnp.asarray(known),
    )
    start = Start(
        SpaceTimeCovariance.of((variance / 2, width / 8, np.inf)), (variance / 2) ** 0.5, 0.0
    )
    fit = fit_covariance(records, start=start, most=most, key=key)
    records = fit.with_errors(records)
    everyone = np.arange(len(known))
    around = withheld_neighbours(records, everyone, everyone, speed=0.0, most=most)
    found = eqx.filter_jit(interpolate)(
        LocalTargets.at(records.straight),
        records,
        jnp.asarray(around.indices),
        jnp.asarray(around.near),
        fit.covariance,
    )
    weights = np.asarray(jax.device_get(found.weights), np.float64)
    expected = np.zeros(len(known))
    for i in everyone:
        others = known & (everyone != i)
        own = np.linalg.lstsq(design[others], biases.bias[others], rcond=None)[0]
        index = around.indices[i]
        left = biases.bias[index] - design[index] @ own
        expected[i] = design[i] @ own + np.sum(np.where(weights[i] == 0, 0.0, weights[i] * left))
    sd = np.sqrt(np.asarray(found.variance, np.float64) + fit.nugget_sd**2)
    return ExpectedBiases(expected, sd, fit, slopes)
