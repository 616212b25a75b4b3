"""Starting again from the climate where an ensemble has lost its truth for good."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from vardax_core.analysis.branches import where_wanted
from vardax_core.analysis.possible import Climate, Range, bounds_of
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.departures import Departures
from vardax_core.types import Analysis, ResultCode, ensemble_mean, ensemble_spread

COLLAPSED = 0.01
"""Share of the observation error below which a spread takes no notice of observations."""
CERTAIN = 4.75
"""Standard normal quantile of a probability of 1e-6."""


def collapsed(departures: Departures) -> Bool[Array, ""]:
    """Whether members are so much alike at the observations used that none is listened to."""
    used = departures.used
    there = jnp.sum(jnp.where(used, departures.variance, 0.0))
    error = jnp.sum(jnp.where(used, departures.error_sd**2, 0.0))
    return jnp.any(used) & (there < COLLAPSED**2 * error)


def misfits(departures: Departures) -> Bool[Array, ""]:
    """Whether sum (O-B)^2 / (HBH' + R) is beyond what chance makes of chi^2(p) once in 1e6.

    Source: Wilson and Hilferty (1931), doi:10.1073/pnas.17.12.684, on the quantile.
    """
    squared = departures.innovation**2 / departures.expected_variance
    found = jnp.sum(jnp.where(departures.used, squared, 0.0))
    count = jnp.maximum(jnp.sum(departures.used), 1).astype(found.dtype)
    part = 2 / (9 * count)
    return found > count * (1 - part + CERTAIN * jnp.sqrt(part)) ** 3


def restarted(
    analysis: Analysis,
    method: Int[Array, ""],
    departures: Departures,
    *,
    number: int,
    climate: Climate,
    valid_range: Range,
    operator: AbstractObservationOperator,
    time: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Analysis, Int[Array, ""]]:
    """Draw the ensemble from the climate where it is lost and the climate fits better.

    It is lost where it has collapsed and misfits what is observed: members that are all alike stay
    so whatever is observed, and a filter without spread believes none of it. Such an ensemble is
    given up only if the mean of the climate is nearer to the observations than its own, so that
    nothing is lost with it.

    Arguments:
        analysis: of the cycle.
        method: that made it.
        departures: of its background.
        number: of the climate among the methods.
        climate: whence the members are drawn.
        valid_range: smallest and largest possible value, unit of the state.
        operator: observation operator H.
        time: of the analysis in minutes since `MINUTES_EPOCH`.
        key: for the draws.

    Returns:
        The analysis, with the code FAILED where it was drawn anew, and the method.
    """
    lost = collapsed(departures) & misfits(departures)
    arrays, static = eqx.partition((climate, operator), eqx.is_array)

    def draw(arrays, like, time, key):
        climate, operator = eqx.combine(arrays, static)
        members = jnp.clip(climate.draw(like, time, key=key), *bounds_of(valid_range, like))
        return members, ensemble_mean(operator.ensemble(members))

    members, equivalent = where_wanted(
        lost,
        draw,
        (arrays, analysis.ensemble, time, key),
        (analysis.ensemble, departures.mean),
    )

    def misfit(equivalent: Array) -> Array:
        scaled = (departures.values - equivalent) / departures.error_sd
        return jnp.sum(jnp.where(departures.used, scaled**2, 0.0))

    again = lost & (misfit(equivalent) < misfit(departures.mean))
    code = jnp.asarray(int(ResultCode.FAILED), analysis.result.dtype)
    found = Analysis(
        ensemble=jnp.where(again, members, analysis.ensemble),
        mean=jnp.where(again, ensemble_mean(members), analysis.mean),
        spread=jnp.where(again, ensemble_spread(members), analysis.spread),
        result=jnp.where(again, code, analysis.result),
        diagnostics=analysis.diagnostics,
        background=analysis.background,
    )
    return found, jnp.where(again, jnp.asarray(number, method.dtype), method)
