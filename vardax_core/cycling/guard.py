"""Falling back to other analyses when one is not to be trusted."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.branches import where_wanted
from vardax_core.analysis.possible import AbstractRequirement, Possible, unusable
from vardax_core.cycling.trust import DepartureMonitor, TrustState, departure_checks
from vardax_core.observations.departures import Departures
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class Verdict(eqx.Module):
    """What became of one cycle's analysis.

    Attributes:
        analysis: the first one of the chain that could be used; its result says why the method
            itself was not taken, if it was not.
        method: 0 for the method itself, k for the k-th fallback, one more for the background.
        score: of the monitor, this cycle included; NaN without one.
        trust: state of the monitor after this cycle, or None without one.
    """

    analysis: Analysis
    method: Int[Array, ""]
    score: Float[Array, ""]
    trust: TrustState | None


class Guard(eqx.Module):
    """A monitor of the departures, and what is done when it does not trust an analysis.

    The method is always run, for the monitor judges its departures. Where the method failed, the
    fallbacks are tried in their order until one succeeds, and the background is the last resort.
    Where the monitor does not trust it, so are those fallbacks that are better than an analysis
    that is not trusted; if none is, the analysis stays, and its result says that it is not
    trusted. A cycle without observations keeps its background.

    Attributes:
        monitor: judges the cycles.
        fallbacks: other methods of the same observing network, tried in this order.
        better: which of the fallbacks replace an analysis that is not trusted; None for all of
            them, and then the background.
    """

    monitor: DepartureMonitor
    fallbacks: tuple[AbstractAnalysisStep, ...]
    better: Bool[Array, " fallback"] | None = None

    def judge(
        self,
        step: AbstractAnalysisStep,
        background: Float[Array, "member *state"],
        observations: Observations,
        departures: Departures,
        trust: TrustState,
        *,
        possible: AbstractRequirement = Possible(),  # noqa: B008 (frozen)
        key: PRNGKeyArray,
    ) -> Verdict:
        """Analyse one cycle with the first method of the chain that can be used.

        Arguments:
            step: the method itself.
            background, observations: of the cycle, after quality control.
            departures: of the background.
            trust: state of the monitor before the cycle.
            possible: what every analysis is held against.
            key: for the methods, of which one makes the analysis.
        """
        own = possible.analysis(step(background, observations, key=key), background)
        residuals = departures.residuals(step.operator, own.mean, own.ensemble)
        checks, stations = departure_checks(departures, residuals, trust.stations)
        seen = jnp.any(departures.used | departures.rejected)
        following = self.monitor.update(trust, checks, stations, seen)
        nothing = own.result == int(ResultCode.NO_OBSERVATIONS)
        trusted = self.monitor.trusts(following)
        out = jnp.asarray(int(ResultCode.OUT_OF_DISTRIBUTION), own.result.dtype)
        failed = unusable(own)
        reason = jnp.where(trusted | nothing | failed, own.result, out)
        failed, doubted = failed & ~nothing, ~nothing & ~trusted & ~failed
        replaceable = True if self.better is None else jnp.any(self.better)
        arrays, static = eqx.partition((self, possible), eqx.is_array)

        def otherwise(arrays, background, observations, key, own, failed, doubted):
            guard, possible = eqx.combine(arrays, static)
            return guard._instead(possible, background, observations, key, own, failed, doubted)

        plain = _plain(own)
        chosen, method = where_wanted(
            failed | (doubted & replaceable),
            otherwise,
            (arrays, background, observations, key, plain, failed, doubted),
            (plain, jnp.zeros((), jnp.int32)),
        )
        analysis = Analysis(
            ensemble=chosen.ensemble,
            mean=chosen.mean,
            spread=chosen.spread,
            result=reason,
            diagnostics=own.diagnostics,
            background=own.background,
        )
        return Verdict(analysis, method, self.monitor.score(following), following)

    def _instead(
        self,
        possible: AbstractRequirement,
        background: Float[Array, "member *state"],
        observations: Observations,
        key: PRNGKeyArray,
        own: Analysis,
        failed: Bool[Array, ""],
        doubted: Bool[Array, ""],
    ) -> tuple[Analysis, Int[Array, ""]]:
        """The first analysis of the chain that can be used, and its number.

        Arguments:
            possible, background, observations, key: see `judge`.
            own: the method's analysis.
            failed: whether it cannot be used.
            doubted: whether it can, and the monitor does not trust it.
        """
        chosen, method = own, jnp.zeros((), jnp.int32)
        for number, fallback in enumerate(self.fallbacks, start=1):
            better = True if self.better is None else self.better[number - 1]
            wanted = failed | (doubted & better)
            other = _if_wanted(wanted, fallback, possible, background, observations, key, chosen)
            good = wanted & ~unusable(other)
            chosen = jax.tree.map(lambda a, b, g=good: jnp.where(g, a, b), other, chosen)
            method = jnp.where(good, number, method)
            failed, doubted = failed & ~good, doubted & ~good
        resort = Analysis(
            ensemble=background,
            mean=ensemble_mean(background),
            spread=ensemble_spread(background),
            result=own.result,
            diagnostics={},
        )
        wanted = failed | doubted if self.better is None else failed
        chosen = jax.tree.map(lambda a, b: jnp.where(wanted, a, b), resort, chosen)
        return chosen, jnp.where(wanted, len(self.fallbacks) + 1, method)


def _if_wanted(
    wanted: Bool[Array, ""],
    fallback: AbstractAnalysisStep,
    possible: AbstractRequirement,
    background: Float[Array, "member *state"],
    observations: Observations,
    key: PRNGKeyArray,
    chosen: Analysis,
) -> Analysis:
    """The fallback's analysis where it is wanted, else what was chosen before."""
    arrays, static = eqx.partition((fallback, possible), eqx.is_array)

    def analyse(arrays, background, observations, key):
        fallback, possible = eqx.combine(arrays, static)
        made = fallback(background, observations, key=key)
        return _plain(possible.analysis(made, background))

    return where_wanted(wanted, analyse, (arrays, background, observations, key), chosen)


def _plain(analysis: Analysis) -> Analysis:
    """The analysis without what only its own method gives."""
    return Analysis(
        ensemble=analysis.ensemble,
        mean=analysis.mean,
        spread=analysis.spread,
        result=analysis.result,
        diagnostics={},
    )
