"""Statistics of innovations and residuals."""

import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array

from vardax_core.calibration.statistics.base import AbstractStatistic, Sum
from vardax_core.calibration.statistics.fields import HALF_WIDTHS, LEVEL, PIT_BIN, PIT_BINS
from vardax_core.calibration.statistics.rules import gaussian_crps, standardised
from vardax_core.calibration.statistics.view import CycleView


class Innovations(AbstractStatistic):
    """Sums over used observations.

    `innovation_sum_variance` is what the variance of the sum of innovations is expected to be;
    `chi2` the sum of innovation^2 / (HBH' + R) with diagonals only; and `signal_sum` that of
    residual (innovation - residual) / R, whose expectation is the degrees of freedom for signal.
    """

    sums = (
        Sum("observations"),
        Sum("innovation_sum_variance", 2, "observations"),
        Sum("innovation", 1, "observations"),
        Sum("squared_innovation", 2, "observations"),
        Sum("residual", 1, "observations"),
        Sum("squared_residual", 2, "observations"),
        Sum("innovation_residual", 2, "observations"),
        Sum("observed_background_variance", 2, "observations"),
        Sum("error_variance", 2, "observations"),
        Sum("chi2", 0, "observations"),
        Sum("signal_sum", 0, "observations"),
    )

    def of(self, view: CycleView) -> dict[str, Array]:
        departures = view.departures
        innovation, residual = departures.innovation, view.residuals.residual
        used = departures.used & jnp.isfinite(innovation) & jnp.isfinite(residual)
        innovation, residual = (jnp.where(used, x, 0.0) for x in (innovation, residual))
        background_variance = jnp.where(used, departures.variance, 0.0)
        mean_variance = departures.mean_variance
        error_variance = jnp.where(used, departures.error_sd, 0.0) ** 2
        total = jnp.where(used, background_variance + error_variance, 1.0)
        count = jnp.sum(used.astype(innovation.dtype))
        signal = residual * (innovation - residual) / jnp.where(used, error_variance, 1.0)
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
            "signal_sum": jnp.sum(signal),
        }


class Withheld(AbstractStatistic):
    """Sums over withheld observations; `withheld_chi2` is that of residual^2 / (HAH' + R), 1 each
    if the analysis is calibrated."""

    sums = (
        Sum("withheld_observations"),
        Sum("withheld_residual", 1, "withheld_observations"),
        Sum("withheld_squared_residual", 2, "withheld_observations"),
        Sum("withheld_squared_innovation", 2, "withheld_observations"),
        Sum("withheld_chi2", 0, "withheld_observations"),
    )

    def of(self, view: CycleView) -> dict[str, Array]:
        departures, residuals = view.departures, view.residuals
        innovation, residual = departures.innovation, residuals.residual
        withheld = departures.withheld & jnp.isfinite(innovation) & jnp.isfinite(residual)
        innovation, residual = (jnp.where(withheld, x, 0.0) for x in (innovation, residual))
        total = jnp.where(withheld, residuals.variance + departures.error_sd**2, 1.0)
        return {
            "withheld_observations": jnp.sum(withheld.astype(residual.dtype)),
            "withheld_residual": jnp.sum(residual),
            "withheld_squared_residual": jnp.sum(residual**2),
            "withheld_squared_innovation": jnp.sum(innovation**2),
            "withheld_chi2": jnp.sum(residual**2 / total),
        }


class WithheldPrediction(AbstractStatistic):
    """Sums over withheld observations of how they were predicted: by the Gaussian with the
    analysis' equivalent for its mean, and HAH' + R for its variance."""

    sums = (
        Sum("withheld_predicted_variance", 2, "withheld_observations"),
        Sum("withheld_crps_sum", 1, "withheld_observations"),
        Sum("withheld_coverage", 0, "withheld_observations", LEVEL),
        Sum("withheld_pit", 0, "withheld_observations", PIT_BIN),
    )

    def of(self, view: CycleView) -> dict[str, Array]:
        departures, residuals = view.departures, view.residuals
        variance = residuals.variance + departures.error_sd**2
        there = departures.withheld & jnp.isfinite(residuals.residual) & jnp.isfinite(variance)
        residual = jnp.where(there, residuals.residual, 0.0)
        sd = jnp.sqrt(jnp.where(there, variance, 1.0))
        one = there.astype(residual.dtype)
        score = gaussian_crps(residual, jnp.zeros_like(residual), sd)
        z = standardised(residual, sd)
        half = jnp.asarray(HALF_WIDTHS, residual.dtype)
        inside = (jnp.abs(z)[None] <= half[:, None]).astype(one.dtype) * one[None]
        bins = jnp.clip((ndtr(z) * PIT_BINS).astype(jnp.int32), 0, PIT_BINS - 1)
        return {
            "withheld_predicted_variance": jnp.sum(one * sd**2),
            "withheld_crps_sum": jnp.sum(one * score),
            "withheld_coverage": jnp.sum(inside, axis=1),
            "withheld_pit": jnp.zeros(PIT_BINS, one.dtype).at[bins].add(one),
        }
