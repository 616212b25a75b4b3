"""Falling back to other analyses when one is not to be trusted."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.trust import DepartureMonitor, TrustState, departure_checks
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
        score: of the monitor, this cycle included.
        trust: state of the monitor after this cycle.
    """

    analysis: Analysis
    method: Int[Array, ""]
    score: Float[Array, ""]
    trust: TrustState


class Guard(eqx.Module):
    """A monitor of the departures, and what is done when it does not trust an analysis.

    The method is always run, for the monitor judges its departures. Where the monitor does not
    trust it, or the method failed, the fallbacks are tried in their order until one succeeds; the
    background is the last resort. A cycle without observations keeps its background.

    Attributes:
        monitor: judges the cycles.
        fallbacks: other methods of the same network, tried in this order.
    """

    monitor: DepartureMonitor
    fallbacks: tuple[AbstractAnalysisStep, ...]

    def judge(
        self,
        step: AbstractAnalysisStep,
        background: Float[Array, "member *state"],
        observations: Observations,
        rejected: Bool[Array, " obs"],
        observed_mean: Float[Array, " obs"],
        observed_variance: Float[Array, " obs"],
        trust: TrustState,
        *,
        key: PRNGKeyArray,
    ) -> Verdict:
        """Analyse one cycle with the first method of the chain that can be used.

        Arguments:
            step: the method itself.
            background, observations: of the cycle, after quality control.
            rejected: what the first-guess check refused.
            observed_mean, observed_variance: of the background members' equivalents of the
                observations.
            trust: state of the monitor before the cycle.
            key: for the methods, of which one makes the analysis.
        """
        own = step(background, observations, key=key)
        now = observations.at_analysis_time()
        checks, stations = departure_checks(
            now.values[0] - observed_mean,
            now.values[0] - step.operator(own.mean),
            observed_variance,
            now.error_sd[0],
            now.mask[0],
            rejected,
            trust.stations,
        )
        seen = jnp.any(now.mask[0] | rejected)
        following = self.monitor.update(trust, checks, stations, seen)
        nothing = own.result == int(ResultCode.NO_OBSERVATIONS)
        trusted = self.monitor.trusts(following)
        out = jnp.asarray(int(ResultCode.OUT_OF_DISTRIBUTION), own.result.dtype)
        reason = jnp.where(trusted | nothing | _failed(own), own.result, out)
        chosen = _plain(own)
        method = jnp.zeros((), jnp.int32)
        wanted = ~nothing & (~trusted | _failed(own))
        for number, fallback in enumerate(self.fallbacks, start=1):
            other = _if_wanted(wanted, fallback, background, observations, key, chosen)
            good = wanted & ~_failed(other)
            chosen = jax.tree.map(lambda a, b, g=good: jnp.where(g, a, b), other, chosen)
            method = jnp.where(good, number, method)
            wanted = wanted & ~good
        resort = Analysis(
            ensemble=background,
            mean=ensemble_mean(background),
            spread=ensemble_spread(background),
            result=own.result,
            diagnostics={},
        )
        chosen = jax.tree.map(lambda a, b: jnp.where(wanted, a, b), resort, chosen)
        method = jnp.where(wanted, len(self.fallbacks) + 1, method)
        analysis = Analysis(
            ensemble=chosen.ensemble,
            mean=chosen.mean,
            spread=chosen.spread,
            result=reason,
            diagnostics=own.diagnostics,
            background=own.background,
        )
        return Verdict(analysis, method, self.monitor.score(following), following)


def _if_wanted(
    wanted: Bool[Array, ""],
    fallback: AbstractAnalysisStep,
    background: Float[Array, "member *state"],
    observations: Observations,
    key: PRNGKeyArray,
    chosen: Analysis,
) -> Analysis:
    """The fallback's analysis where it is wanted, else what was chosen before.

    Side by side with others a branch would become both of its sides for all of them; here the
    fallback runs only in cycles in which at least one of them wants it.
    """
    arrays, static = eqx.partition(fallback, eqx.is_array)

    def analyse(arrays, background, observations, key):
        return _plain(eqx.combine(arrays, static)(background, observations, key=key))

    @jax.custom_batching.custom_vmap
    def either(wanted, given, chosen):
        return jax.lax.cond(wanted, lambda: analyse(*given), lambda: chosen)

    @either.def_vmap
    def _(size, batched, wanted, given, chosen):
        def spread_out(leaf, is_batched):
            return leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape))

        wanted, given, chosen = jax.tree.map(spread_out, (wanted, given, chosen), tuple(batched))

        def some():
            other = jax.vmap(analyse)(*given)
            return jax.vmap(lambda w, a, b: jax.tree.map(lambda x, y: jnp.where(w, x, y), a, b))(
                wanted, other, chosen
            )

        result = jax.lax.cond(jnp.any(wanted), some, lambda: chosen)
        return result, jax.tree.map(lambda _: True, result)

    return either(wanted, (arrays, background, observations, key), chosen)


def _failed(analysis: Analysis) -> Bool[Array, ""]:
    return (analysis.result == int(ResultCode.NON_FINITE)) | (
        analysis.result == int(ResultCode.FAILED)
    )


def _plain(analysis: Analysis) -> Analysis:
    """The analysis without what only its own method gives."""
    return Analysis(
        ensemble=analysis.ensemble,
        mean=analysis.mean,
        spread=analysis.spread,
        result=analysis.result,
        diagnostics={},
    )
