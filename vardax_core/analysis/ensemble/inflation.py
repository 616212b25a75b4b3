"""Inflation schemes that wrap any analysis step."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.transform import (
    check_members,
    whitened_ensemble,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean, ensemble_spread

LIMITS = (0.9, 4.0)
"""Smallest and largest factor on the variance that innovations put."""


class Inflated(AbstractAnalysisStep):
    """Multiplies the analysis anomalies by a factor that may be looked for without compiling anew.

    Attributes:
        step: the analysis whose members are inflated.
        factor: on the anomalies.
    """

    step: AbstractAnalysisStep
    factor: Float[Array, ""]

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.step.operator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("Inflated", background)
        analysis = self.step.analyse(background, observations, key=key)
        factor = jnp.broadcast_to(self.factor.astype(background.dtype), background.shape[1:])
        return scaled_about_mean(analysis, factor)


class RelaxationToPriorSpread(AbstractAnalysisStep):
    """Widens the analysis at every point towards the spread of the background.

    The anomalies are multiplied by 1 + weight (sb - sa) / sa, where sb and sa are the spreads
    before and after.

    Attributes:
        step: the analysis that is widened.
        weight: 0 for none, 1 for the full background spread.

    Source: Whitaker and Hamill (2012), doi:10.1175/MWR-D-11-00276.1
    """

    step: AbstractAnalysisStep
    weight: float = eqx.field(static=True)

    def __check_init__(self):
        check_weight("RelaxationToPriorSpread", self.weight)

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.step.operator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("RelaxationToPriorSpread", background)
        analysis = self.step.analyse(background, observations, key=key)
        before, after = ensemble_spread(background), ensemble_spread(analysis.ensemble)
        return scaled_about_mean(analysis, relaxing_factor(before, after, self.weight))


def relaxing_factor(
    before: Float[Array, "*state"],
    after: Float[Array, "*state"],
    weight: float | Float[Array, ""],
) -> Float[Array, "*state"]:
    """Factor on anomalies that widens a spread towards that of before: 1 + weight (sb - sa) / sa.

    Arguments:
        before, after: spread of the background and of the analysis; where the latter is zero the
            factor is one.
        weight: 0 for none, 1 for the full background spread.
    """
    ratio = jnp.where(after > 0, before / jnp.where(after > 0, after, 1.0), 1.0)
    return 1 + weight * (ratio - 1)


class RelaxationToPriorPerturbations(AbstractAnalysisStep):
    """Mixes the background anomalies back into the analysis anomalies.

    Attributes:
        step: the analysis whose members are mixed; its members must match the background's.
        weight: 0 for none, 1 for the background anomalies alone.

    Source: Zhang et al. (2004), doi:10.1175/1520-0493(2004)132<1238:IOIEAO>2.0.CO;2
    """

    step: AbstractAnalysisStep
    weight: float = eqx.field(static=True)

    def __check_init__(self):
        check_weight("RelaxationToPriorPerturbations", self.weight)

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.step.operator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("RelaxationToPriorPerturbations", background)
        analysis = self.step.analyse(background, observations, key=key)
        centre = ensemble_mean(analysis.ensemble)[None]
        mixed = (1 - self.weight) * (analysis.ensemble - centre)
        mixed = mixed + self.weight * (background - ensemble_mean(background)[None])
        ensemble = centre + mixed
        return replace(analysis, ensemble=ensemble, spread=ensemble_spread(ensemble))


class InnovationInflation(AbstractAnalysisStep):
    """Inflates the background of each cycle by what its innovation says of the spread.

    The innovation alone gives l = (d'd - p) / tr(Y'Y) with an error variance of
    (2 / p) ((p + tr(Y'Y)) / tr(Y'Y))^2, for whitened d and Y; it is combined with a prior that
    the factor on the variance is `prior` within `prior_sd`.

    Attributes:
        step: the analysis that follows.
        errors: observation error model R of the step.
        prior, prior_sd: mean and standard deviation of the factor on the variance before the
            innovation is seen.
        limits: smallest and largest factor applied.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108; Miyoshi (2011),
    doi:10.1175/2010MWR3570.1
    """

    step: AbstractAnalysisStep
    errors: AbstractErrorModel = DiagonalErrorModel()
    prior: float = eqx.field(static=True, default=1.05)
    prior_sd: float = eqx.field(static=True, default=0.05)
    limits: tuple[float, float] = eqx.field(static=True, default=LIMITS)

    def __check_init__(self):
        if not (self.prior > 0 and self.prior_sd > 0 and 0 < self.limits[0] < self.limits[1]):
            raise ValueError(
                "InnovationInflation: prior, prior_sd and limits must be positive and the limits "
                f"ordered, got {self.prior}, {self.prior_sd}, {self.limits}."
            )

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.step.operator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("InnovationInflation", background)
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        count = jnp.maximum(jnp.sum(observations.mask[-1]), 1).astype(background.dtype)
        trace = jnp.sum(whitened.anomalies**2) / (background.shape[0] - 1)
        square = jnp.sum(whitened.innovation**2)
        factor = innovation_factor(square, count, trace, self.prior, self.prior_sd, self.limits)
        mean = ensemble_mean(background)[None]
        inflated = mean + jnp.sqrt(factor) * (background - mean)
        analysis = self.step.analyse(inflated, observations, key=key)
        return replace(
            analysis, diagnostics={**analysis.diagnostics, "inflation": jnp.sqrt(factor)}
        )


def innovation_factor(
    square: Float[Array, "*any"],
    count: Float[Array, "*any"],
    trace: Float[Array, "*any"],
    prior: float,
    prior_sd: float,
    limits: tuple[float, float] = LIMITS,
) -> Float[Array, "*any"]:
    """The factor on the background's variance given innovations; see `InnovationInflation`.

    Arguments:
        square: d'd of whitened innovations.
        count: p, of the observations.
        trace: tr(Y'Y) of the whitened equivalents' anomalies over sqrt(M - 1).
        prior, prior_sd, limits: as of `InnovationInflation`.
    """
    # As shares of p + tr(Y'Y), so that no spread and no trace is too small or too large.
    total = count + trace
    total = jnp.where(total > 0, total, 1.0)
    share, expected = trace / total, (count + prior * trace) / total
    surprise = (square - count) / total - prior * share
    weight = prior_sd**2 * share
    noise = 2 / jnp.where(count > 0, count, 1.0) * expected**2
    known = weight * share + noise
    change = jnp.where(known > 0, weight * surprise / jnp.where(known > 0, known, 1.0), 0.0)
    return jnp.clip(prior + change, *limits)


def check_weight(method: str, weight: float) -> None:
    """Raise a ValueError unless a relaxation weight lies in [0, 1]."""
    if not 0 <= weight <= 1:
        raise ValueError(f"{method}: weight must lie in [0, 1], got {weight}.")


def scaled_about_mean(analysis: Analysis, factor: Float[Array, "*state"]) -> Analysis:
    """The analysis with the anomalies of its members multiplied point by point."""
    centre = ensemble_mean(analysis.ensemble)[None]
    ensemble = centre + factor[None] * (analysis.ensemble - centre)
    return replace(analysis, ensemble=ensemble, spread=ensemble_spread(ensemble))
