"""Innovations and residuals: what observations differ by from a background and its analysis."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.quality import QualityCode, adaptive_first_guess_check
from vardax_core.types import Observations, ensemble_mean, ensemble_spread


class Residuals(eqx.Module):
    """The observations of an analysis time beside their equivalents in an analysis.

    Attributes:
        residual: O-A, NaN where nothing was reported.
        increment: H(A - B) as the difference of two equivalents, known where nothing was reported
            too.
        variance: of the analysis members' equivalents with the M - 1 divisor, diagonal of HAH'.
    """

    residual: Float[Array, " obs"]
    increment: Float[Array, " obs"]
    variance: Float[Array, " obs"]


class Departures(eqx.Module):
    """The observations of an analysis time beside their equivalents in the background.

    They are formed once a cycle, for all that judge the cycle. No analysis is given them, for
    they hold the observations that are withheld from it.

    Attributes:
        values: observed values, withheld ones among them; NaN where nothing was reported.
        error_sd: square root of the diagonal of R, in the unit of the values.
        used: True where the observation enters the analysis.
        rejected: True where the first-guess check refused it.
        withheld: True where there is an observation that no analysis may see.
        quality: quality-control codes after the first-guess check.
        mean: of the background members' equivalents.
        variance: of these, with the M - 1 divisor; diagonal of HBH'.
        innovation: O-B, NaN where nothing was reported.
        mean_variance: variance over the members of the mean of the used observations'
            equivalents: what correlated background errors leave of it; 0 for one member, or where
            none is used.
    """

    values: Float[Array, " obs"]
    error_sd: Float[Array, " obs"]
    used: Bool[Array, " obs"]
    rejected: Bool[Array, " obs"]
    withheld: Bool[Array, " obs"]
    quality: Int[Array, " obs"]
    mean: Float[Array, " obs"]
    variance: Float[Array, " obs"]
    innovation: Float[Array, " obs"]
    mean_variance: Float[Array, ""]

    @classmethod
    def of(
        cls,
        operator: AbstractObservationOperator,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        quality: Int[Array, " obs"] | None = None,
        withheld: Observations | None = None,
        limit: float | None = None,
    ) -> "Departures":
        """Observe a background and compare.

        Arguments:
            operator: observation operator H.
            background: members valid at the analysis time.
            observations: the window; its last row is compared.
            quality: codes of the last row; by default KEPT where it is observed, else MISSING.
            withheld: one row of observations that no analysis may see, or None for none; where
                there is another observation, that one is taken.
            limit: k of the first-guess check |O-B| > k sqrt(HBH' + R), see
                `adaptive_first_guess_check`; None for no check.
        """
        now = observations.at_analysis_time()
        observed, values, error_sd = now.mask[0], now.values[0], now.error_sd[0]
        if quality is None:
            codes = jnp.where(observed, int(QualityCode.KEPT), int(QualityCode.MISSING))
            quality = codes.astype(jnp.int8)
        equivalents = operator.ensemble(background)
        mean, variance = ensemble_mean(equivalents), ensemble_spread(equivalents) ** 2
        rejected = jnp.zeros_like(observed)
        if limit is not None:
            kept = adaptive_first_guess_check(values - mean, variance, error_sd, observed, k=limit)
            rejected = observed & ~kept
            code = jnp.asarray(int(QualityCode.FIRST_GUESS), quality.dtype)
            quality = jnp.where(rejected, code, quality)
        used, hidden = observed & ~rejected, jnp.zeros_like(observed)
        if withheld is not None:
            hidden = ~observed & withheld.mask[-1]
            values = jnp.where(hidden, withheld.values[-1], values)
            error_sd = jnp.where(hidden, withheld.error_sd[-1], error_sd)
        reported = observed | hidden
        return cls(
            values=jnp.where(reported, values, jnp.nan),
            error_sd=error_sd,
            used=used,
            rejected=rejected,
            withheld=hidden,
            quality=quality,
            mean=mean,
            variance=variance,
            innovation=jnp.where(reported, values - mean, jnp.nan),
            mean_variance=mean_equivalent_variance(equivalents, used),
        )

    @property
    def expected_variance(self) -> Float[Array, " obs"]:
        """Variance of the innovations where the statistics are right: the diagonal of HBH' + R."""
        return self.variance + self.error_sd**2

    @property
    def normalised(self) -> Float[Array, " obs"]:
        """O-B over the root of its expected variance."""
        return self.innovation / jnp.sqrt(self.expected_variance)

    def window(self, observations: Observations) -> Observations:
        """The window that the analysis sees: without what the first-guess check refused."""
        mask = observations.mask.at[-1].set(self.used)
        return dataclasses.replace(observations, mask=mask)

    def residuals(
        self,
        operator: AbstractObservationOperator,
        mean: Float[Array, "*state"],
        ensemble: Float[Array, "member *state"],
    ) -> Residuals:
        """Compare the same observations with an analysis of the background.

        Arguments:
            operator: observation operator H.
            mean: of the analysis, which need not be the members' average.
            ensemble: its members.
        """
        equivalent = operator(mean)
        return Residuals(
            residual=self.values - equivalent,
            increment=equivalent - self.mean,
            variance=ensemble_spread(operator.ensemble(ensemble)) ** 2,
        )


def mean_equivalent_variance(
    equivalents: Float[Array, "member obs"], used: Bool[Array, " obs"]
) -> Float[Array, ""]:
    """Variance over the members of the mean of the used observations' equivalents, with the
    M - 1 divisor; 0 for one member, or where none is used."""
    count = jnp.sum(used.astype(equivalents.dtype))
    means = jnp.sum(jnp.where(used[None], equivalents, 0.0), axis=1) / jnp.maximum(count, 1.0)
    return ensemble_spread(means) ** 2
