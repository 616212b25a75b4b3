"""On-line calibration of the analysis spread from the innovations of past cycles."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.possible import Possible
from vardax_core.observations.departures import Departures
from vardax_core.types import Analysis, Observations, ResultCode


class SpreadState(eqx.Module):
    """Exponentially forgotten sums over past cycles; part of the state of a cycle.

    Attributes:
        squared_error: mean over withheld observations of (y - H m)^2 - r^2.
        variance: mean over withheld observations of (H s)^2.
        weight: number of cycles that the sums stand for.
    """

    squared_error: Float[Array, ""]
    variance: Float[Array, ""]
    weight: Float[Array, ""]


class SpreadAdaptation(eqx.Module):
    """A factor on the analysis spread, learned from observations withheld from the analysis.

    In every cycle each observation site is withheld once: the analysis from the other sites is
    compared with it. A calibrated analysis has E[(y - H m)^2] = r^2 + (H s)^2 there, so the
    factor is the square root of the ratio of the sums of (y - H m)^2 - r^2 and of (H s)^2; a
    prior of `prior_cycles` cycles pulls it to one. The factor applied in a cycle comes from
    earlier cycles only, and the analysis that is judged is the one without it, so nothing is
    fed back. H must carry a standard deviation to a standard deviation, as sampling at points
    does.

    Attributes:
        folds: groups into which the sites are drawn at random in each cycle.
        memory: cycles after which a cycle's weight has fallen to 1/e.
        prior_cycles: weight of the prior.
        smallest, largest: range of the factor.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108 for the innovation statistics;
    Li, Kalnay and Miyoshi (2009), doi:10.1002/qj.371 for their use on line.
    """

    folds: int = eqx.field(static=True, default=5)
    memory: float = eqx.field(static=True, default=10.0)
    prior_cycles: float = eqx.field(static=True, default=4.0)
    smallest: float = eqx.field(static=True, default=0.5)
    largest: float = eqx.field(static=True, default=2.0)

    def __check_init__(self):
        if self.folds < 2 or self.memory <= 0 or self.prior_cycles <= 0:
            raise ValueError(
                "SpreadAdaptation: folds >= 2, memory > 0 and prior_cycles > 0 are needed, got "
                f"{self.folds}, {self.memory} and {self.prior_cycles}."
            )
        if not 0 < self.smallest <= 1 <= self.largest:
            raise ValueError(
                "SpreadAdaptation: the range must hold 1 and be positive, got "
                f"{self.smallest} to {self.largest}."
            )

    def init(self, dtype: DTypeLike = jnp.float32) -> SpreadState:
        """The state before the first cycle, with factor one."""
        zero = jnp.zeros((), dtype)
        return SpreadState(squared_error=zero, variance=zero, weight=zero)

    def factor(self, state: SpreadState) -> Float[Array, ""]:
        """The factor on the spread of the next analysis."""
        started = (state.weight > 0) & (state.variance > 0)
        weight = jnp.where(started, state.weight, 1.0)
        variance = jnp.where(started, state.variance, 1.0)
        prior = self.prior_cycles * variance / weight
        squared = (state.squared_error + prior) / (variance + prior)
        bounded = jnp.clip(squared, self.smallest**2, self.largest**2)
        return jnp.where(started, jnp.sqrt(bounded), 1.0)

    def apply(self, analysis: Analysis, factor: Float[Array, ""]) -> Analysis:
        """Scale the spread and the members' departures from the mean."""
        mean = analysis.mean[None]
        return Analysis(
            ensemble=mean + factor * (analysis.ensemble - mean),
            mean=analysis.mean,
            spread=factor * analysis.spread,
            result=analysis.result,
            diagnostics={**analysis.diagnostics, "spread_factor": factor},
        )

    def adapted(
        self, analysis: Analysis, state: SpreadState, possible: Possible
    ) -> tuple[Analysis, Float[Array, ""]]:
        """The analysis with the spread that past cycles ask for, and the factor on it.

        Only an analysis with the code OK is changed, and only if what comes out is possible; its
        diagnostics stay.
        """
        ok = analysis.result == int(ResultCode.OK)
        factor = jnp.where(ok, self.factor(state), 1.0).astype(analysis.spread.dtype)
        scaled = possible.analysis(self.apply(analysis, factor), analysis.ensemble)
        keep = ok & (scaled.result == int(ResultCode.OK))
        found = Analysis(
            ensemble=jnp.where(keep, scaled.ensemble, analysis.ensemble),
            mean=analysis.mean,
            spread=jnp.where(keep, scaled.spread, analysis.spread),
            result=analysis.result,
            diagnostics=analysis.diagnostics,
        )
        return found, factor

    def update(
        self,
        state: SpreadState,
        step: AbstractAnalysisStep,
        background: Float[Array, "member *state"],
        observations: Observations,
        departures: Departures,
        *,
        key: PRNGKeyArray,
    ) -> SpreadState:
        """Take one cycle into the sums.

        A cycle without an observation at the analysis time that could be withheld, or whose
        partial analyses are not finite, leaves the state as it was.

        Arguments:
            state: before the cycle.
            step: the analysis whose spread is judged.
            background, observations, departures: of the cycle.
            key: for the folds and the partial analyses.
        """
        fold_key, step_key = jax.random.split(key)
        sites = observations.mask.shape[1]
        fold = jax.random.permutation(fold_key, jnp.arange(sites)) % self.folds

        def partial(index: Array) -> tuple[Array, Array, Array]:
            withheld = fold == index
            rest = eqx.tree_at(
                lambda o: o.mask, observations, observations.mask & ~withheld[None, :]
            )
            analysis = step.analyse(background, rest, key=step_key)
            judged = withheld & departures.used & jnp.any(rest.mask)
            left = departures.residuals(step.operator, analysis.mean, analysis.ensemble)
            error = left.residual**2 - departures.error_sd**2
            variance = step.operator(analysis.spread) ** 2
            return masked_sum(error, judged), masked_sum(variance, judged), jnp.sum(judged)

        error, variance, count = jax.tree.map(jnp.sum, jax.lax.map(partial, jnp.arange(self.folds)))
        usable = (count > 0) & jnp.isfinite(error) & jnp.isfinite(variance)
        number = jnp.maximum(count, 1).astype(error.dtype)
        keep = jnp.exp(jnp.asarray(-1 / self.memory, error.dtype))
        new = SpreadState(
            squared_error=keep * state.squared_error + error / number,
            variance=keep * state.variance + variance / number,
            weight=keep * state.weight + 1,
        )
        return jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, state)


def masked_sum(values: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Sum where the mask holds; what the rest contains does not matter."""
    return jnp.sum(jnp.where(mask, values, 0.0))
