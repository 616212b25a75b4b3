"""What states, and ensembles of them, are possible."""

import functools
import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.special import chdtri

from vardax_core.analysis.branches import where_wanted
from vardax_core.models.climatology import Climatology
from vardax_core.types import Analysis, ResultCode, all_true, ensemble_mean, ensemble_spread

RARE = 1e-9
"""Probability, at a point, that members drawn from the climate spread wider than is allowed."""
RIDGE = 1e-5
"""Of the mean square of members' anomalies, below which a direction is not told from rounding."""
LEAST_ALLOWED = 2.0
"""Times the climate's standard deviation that any ensemble may spread."""

Bound = float | tuple[Any, ...]
"""Of all values, or nested in the shape of a state's last axes, one where a bound is shared:
`((1.0,), (2.0,))` on a ring of two channels."""
Range = tuple[Bound, Bound]
"""Smallest and largest possible value, unit of the state."""


def bounds_of(
    valid_range: Range, like: Float[Array, "*any"]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The ends of a range as arrays that fit against states, or ensembles of them."""

    def end(bound: Bound) -> Float[Array, "..."]:
        array = jnp.asarray(bound, like.dtype)
        if not array.ndim:
            return array
        return array.reshape((1,) * (like.ndim - array.ndim) + array.shape)

    return end(valid_range[0]), end(valid_range[1])


def narrowed(valid_range: Range, lowest: Bound, highest: Bound) -> Range:
    """The part of a range that lies within another."""
    low, high = valid_range
    return (
        _nested(np.maximum(np.asarray(low), np.asarray(lowest))),
        _nested(np.minimum(np.asarray(high), np.asarray(highest))),
    )


def _nested(bound: np.ndarray | float) -> Bound:
    return tuple(map(_nested, np.asarray(bound))) if np.ndim(bound) else float(bound)


def largest_spread(members: int) -> float:
    """How wide an ensemble may be at a point, in standard deviations of a Gaussian climate: the
    root of the quantile of chi^2(M - 1) / (M - 1) at 1 - `RARE`, and at least `LEAST_ALLOWED`."""
    freedom = max(members - 1, 1)
    return max(LEAST_ALLOWED, math.sqrt(float(chdtri(freedom, RARE)) / freedom))


class Climate(eqx.Module):
    """Where the state is when nothing is known of it.

    Attributes:
        mean, sd: of every point, or of all points alike.
        climatology: draws members with the covariances between points; without it they are
            independent at every point.
    """

    mean: Float[Array, "*#state"]
    sd: Float[Array, "*#state"]
    climatology: Climatology | None = None

    @classmethod
    def of(
        cls,
        climatology: Climatology,
        further: Float[np.ndarray, "*#state"] | float = 0.0,
        *,
        channels: bool = False,
    ) -> "Climate":
        """The climate of a climatology; a point that varied less than the root mean square over
        the grid, and happened to be calm, is taken to vary as much.

        Arguments:
            climatology: mean and covariance.
            further: variance that may be the state's too, as errors that a fit alone has found.
            channels: whether the first axis of a state is the channel; each has its own mean.
        """
        root = climatology.square_root
        variance = jnp.sum(root**2, axis=-1) + jnp.asarray(further, root.dtype)
        own = tuple(range(1, variance.ndim)) if channels else None
        least = jnp.mean(variance, axis=own, keepdims=channels)
        mean = jnp.mean(climatology.mean, axis=0)
        return cls(mean, jnp.sqrt(jnp.maximum(variance, least)), climatology)

    def draw(
        self, like: Float[Array, "member *state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "member *state"]:
        """As many members as `like` has, valid at a time (minutes since `MINUTES_EPOCH`)."""
        if self.climatology is None:
            noise = jax.random.normal(key, like.shape, like.dtype)
            shape = like.shape[1:]
            mean, sd = (jnp.broadcast_to(x, shape)[None] for x in (self.mean, self.sd))
            return (mean + sd * noise).astype(like.dtype)
        before = (time - self.climatology.interval).astype(time.dtype)
        return self.climatology.forecast(like, before, key=key).astype(like.dtype)

    def largest_sd(self, valid_range: Range, like: Float[Array, "*any"]) -> Float[Array, "..."]:
        """The largest standard deviation of the points that share a bound of a range, to fit
        against states or ensembles of them."""
        shared = jnp.asarray(valid_range[0])
        if not shared.ndim:
            return jnp.max(self.sd).astype(like.dtype)
        sd = self.sd.reshape((1,) * (shared.ndim - self.sd.ndim) + self.sd.shape)
        axes = tuple(axis for axis, size in enumerate(shared.shape) if size == 1)
        most = jnp.max(sd, axis=axes, keepdims=True).astype(like.dtype)
        return most.reshape((1,) * (like.ndim - most.ndim) + most.shape)

    def allowed_spread(self, members: int, dtype: jnp.dtype) -> Float[Array, "*#state"]:
        """Largest standard deviation of so many members, see `largest_spread`."""
        return self.sd.astype(dtype) * jnp.asarray(largest_spread(members), dtype)


def in_range(values: Float[Array, "..."], valid_range: Range) -> Bool[Array, "..."]:
    """Where values are finite and possible."""
    low, high = bounds_of(valid_range, values)
    return jnp.isfinite(values) & (values >= low) & (values <= high)


def nearly_in_range(
    values: Float[Array, "*any"], valid_range: Range, climate: Climate | None
) -> Float[Array, "*any"]:
    """Values of which those beyond the range by less than the climate's standard deviation are
    its bounds, as a Gaussian method has them of a variable that is bounded."""
    if climate is None:
        return values
    low, high = bounds_of(valid_range, values)
    sd = climate.largest_sd(valid_range, values)
    raised = jnp.where((values < low) & (values >= low - sd), low, values)
    return jnp.where((values > high) & (values <= high + sd), high, raised)


def possible_members(
    ensemble: Float[Array, "member *state"],
    valid_range: Range,
    climate: Climate | None = None,
    *,
    before: Float[Array, "member *state"] | None = None,
    time: Int[Array, ""] | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, "member *state"], Int[Array, ""]]:
    """Leave out members that left the range of the possible, as a forecast that became unstable.

    One such member would spoil the mean and the spread of all, in this cycle and in every later
    one. It is left out, and what it might have been is `estimated` from those that are possible
    and the analyses of all; without these all members become the `recombined` ones of those that
    are possible. Either is held in the range. Where fewer than half of the members are possible
    the others are drawn from the climate instead; without a climate, an ensemble of which none is
    possible stays as it is.

    Arguments:
        ensemble: the members.
        valid_range: smallest and largest possible value, unit of the state.
        climate: whence members are drawn, or None.
        before: analyses that the members are forecasts from, if they are known.
        time: for which, in minutes since `MINUTES_EPOCH`; needed with a climate.
        key: for the draws; needed with a climate.

    Returns:
        The members, bit for bit where all are possible, and the number of those left out.
    """
    members = ensemble.shape[0]
    ensemble = nearly_in_range(ensemble, valid_range, climate)
    possible = jnp.all(in_range(ensemble, valid_range).reshape(members, -1), axis=1)
    count = jnp.sum(possible, dtype=jnp.int32)
    drawing = climate is not None and time is not None and key is not None
    few = 2 * count < members if drawing else count == 0

    def without(ensemble: Array, possible: Array, before: Array | None) -> Array:
        found = recombined(ensemble, possible)
        if before is not None:
            found = estimated(ensemble, possible, before, found)
        return jnp.clip(found, *bounds_of(valid_range, found))

    lost = (count < members) & ~few
    repaired = where_wanted(lost, without, (ensemble, possible, before), ensemble)
    replaced = jnp.asarray(members, jnp.int32) - count
    if climate is None or time is None or key is None:
        return repaired, replaced
    drawn = drawn_where(few, climate, valid_range, repaired, time, key)
    own = (possible | ~few).reshape(-1, *(1,) * (ensemble.ndim - 1))
    return jnp.where(own, repaired, drawn), replaced


def estimated(
    ensemble: Float[Array, "member *state"],
    kept: Bool[Array, " member"],
    before: Float[Array, "member *state"],
    otherwise: Float[Array, "member *state"],
) -> Float[Array, "member *state"]:
    """Estimate the forecasts of lost members by the linear relation of their analyses.

    With anomalies a of analyses and f of forecasts about the means of the K members that are kept,
    in units of the spread of all analyses at every point, a lost member m is

        f_m = sum_k w_mk f_k + sqrt(g) (a_m - sum_k w_mk a_k)

    where sum_k w_mk a_k is nearest to a_m and g the growth, the root of the mean square of the f_k
    over that of the a_k. Where the forecast is linear and a_m lies in the span of the others,
    nothing is lost but rounding: the members of an analysis that was made of K others do. What
    the others do not span is taken to grow, but by less than they do, so that the ensemble stays
    uncertain there when other members are lost, too.

    Arguments:
        ensemble: forecasts, of which those that are not kept may hold anything.
        kept: two at least; they stay as they are.
        before: the analyses that they are from.
        otherwise: forecasts in place of what cannot be computed.
    """
    members = ensemble.shape[0]
    now, past = ensemble.reshape(members, -1), before.reshape(members, -1)
    known = kept[:, None].astype(now.dtype)
    count = jnp.sum(known)
    mean = jnp.sum(jnp.where(known > 0, now, 0.0), axis=0) / count
    forecasts = jnp.where(known > 0, now - mean[None], 0.0)
    past = past - jnp.sum(known * past, axis=0)[None] / count
    spread = ensemble_spread(before).reshape(-1)
    past, forecasts = (x / jnp.where(spread > 0, spread, 1.0)[None] for x in (past, forecasts))
    given = known * past
    gram = given @ given.T
    level = RIDGE * jnp.trace(gram) / count + jnp.finfo(now.dtype).tiny
    factor = jax.scipy.linalg.cho_factor(gram + level * jnp.eye(members, dtype=now.dtype))
    weights = jax.scipy.linalg.cho_solve(factor, given @ past.T).T
    growth = (jnp.sum(forecasts**2) / jnp.sum(given**2)) ** 0.25
    anomaly = weights @ forecasts + growth * (past - weights @ given)
    found = mean[None] + jnp.where(spread > 0, spread, 1.0)[None] * anomaly
    found = jnp.where(jnp.isfinite(found), found, otherwise.reshape(members, -1))
    return jnp.where(known > 0, now, found).reshape(ensemble.shape)


def recombined(
    ensemble: Float[Array, "member *state"], kept: Bool[Array, " member"]
) -> Float[Array, "member *state"]:
    """As many members with the mean and the covariances of those that are kept alone.

    x_m = mean + sqrt((M - 1) / (K - 1)) sum_k Q_mk (x_k - mean) over the K kept ones, with an
    orthogonal matrix Q that leaves the vector of ones as it is. The covariances (with divisors
    M - 1 and K - 1) are then equal to rounding, and no member is another's copy.

    Arguments:
        ensemble: members, of which those that are not kept may hold anything.
        kept: two at least.
    """
    members = ensemble.shape[0]
    flat = ensemble.reshape(members, -1)
    count = jnp.sum(kept).astype(flat.dtype)
    mean = jnp.sum(jnp.where(kept[:, None], flat, 0.0), axis=0) / jnp.maximum(count, 1.0)
    factor = jnp.sqrt((members - 1) / jnp.maximum(count - 1, 1.0))
    anomalies = jnp.where(kept[:, None], flat - mean[None], 0.0)
    mixed = jnp.asarray(_mixing(members), flat.dtype) @ anomalies
    return (mean[None] + factor * mixed).reshape(ensemble.shape)


@functools.lru_cache(maxsize=8)
def _mixing(members: int) -> np.ndarray:
    """An orthogonal matrix that leaves the vector of ones as it is and mixes all others."""
    draw = np.random.default_rng(0)
    start = draw.normal(size=(members, members))
    start[:, 0] = 1.0
    basis = np.linalg.qr(start)[0][:, 1:]
    turn = np.linalg.qr(draw.normal(size=(members - 1, members - 1)))[0]
    return np.full((members, members), 1 / members) + basis @ turn @ basis.T


def drawn_where(
    wanted: Bool[Array, ""],
    climate: Climate,
    valid_range: Range,
    otherwise: Float[Array, "member *state"],
    time: Int[Array, ""],
    key: PRNGKeyArray,
) -> Float[Array, "member *state"]:
    """Members drawn from the climate where they are wanted, else those given."""
    arrays, static = eqx.partition(climate, eqx.is_array)

    def draw(arrays, like, time, key):
        drawn = eqx.combine(arrays, static).draw(like, time, key=key)
        return jnp.clip(drawn, *bounds_of(valid_range, drawn))

    return where_wanted(wanted, draw, (arrays, otherwise, time, key), otherwise)


class AbstractRequirement(eqx.Module):
    """What the analyses of a cycle are held against."""

    @abstractmethod
    def analysis(self, analysis: Analysis, background: Float[Array, "member *state"]) -> Analysis:
        """Give the background in place of an analysis that must not be used.

        Arguments:
            analysis: of a step.
            background: that it was made of.

        Returns:
            The analysis bit for bit where it may be used; else the background, with a code that
            says why, see `unusable`.
        """


class Possible(AbstractRequirement):
    """A range of values that is possible.

    Attributes:
        valid_range: smallest and largest possible value, unit of the state.
        climate: of the state, or None.
    """

    valid_range: Range = eqx.field(static=True, default=(-math.inf, math.inf))
    climate: Climate | None = None

    def analysis(self, analysis: Analysis, background: Float[Array, "member *state"]) -> Analysis:
        """Give the background in place of an analysis that is not possible.

        Every member, the mean and the spread are held against the range. Values that are beyond
        it by less than the climate's standard deviation become its bounds.

        Arguments:
            analysis: of a step.
            background: that it was made of.

        Returns:
            The analysis bit for bit where it is possible; else the background with the code
            OUT_OF_RANGE, or the step's own code where that is the background already.
        """
        if analysis.background is not None:
            background = analysis.background
        ensemble, mean = (
            nearly_in_range(x, self.valid_range, self.climate)
            for x in (analysis.ensemble, analysis.mean)
        )
        low, high = bounds_of(self.valid_range, analysis.spread)
        spread = analysis.spread
        possible = all_true(
            in_range(ensemble, self.valid_range),
            in_range(mean, self.valid_range),
            jnp.isfinite(spread) & (spread >= 0) & (spread <= high - low),
        )
        kept = possible | unusable(analysis)
        code = jnp.where(kept, analysis.result, int(ResultCode.OUT_OF_RANGE))
        return Analysis(
            ensemble=jnp.where(possible, ensemble, background),
            mean=jnp.where(possible, mean, ensemble_mean(background)),
            spread=jnp.where(possible, analysis.spread, ensemble_spread(background)),
            result=code.astype(analysis.result.dtype),
            diagnostics=analysis.diagnostics,
            background=analysis.background,
        )


def unusable(analysis: Analysis) -> Bool[Array, ""]:
    """Whether a method failed, so that its analysis is none."""
    failures = (
        *(ResultCode.NON_FINITE, ResultCode.FAILED),
        *(ResultCode.OUT_OF_RANGE, ResultCode.IMPLAUSIBLE),
    )
    return jnp.any(jnp.stack([analysis.result == int(code) for code in failures]))


def drawn_back(analysis: Analysis, climate: Climate) -> Analysis:
    """Draw members towards their mean at points where they spread wider than the climate allows.

    A factor on the spread that is right in one cycle compounds over many where no observation
    corrects it. An analysis that had to be drawn back has the code OUT_OF_RANGE instead of OK;
    one that had not is given back bit for bit.
    """
    ensemble, mean = analysis.ensemble, ensemble_mean(analysis.ensemble)
    found = ensemble_spread(ensemble)
    limit = climate.allowed_spread(ensemble.shape[0], ensemble.dtype)
    limit = jnp.broadcast_to(limit, found.shape)
    wide = found > limit
    factor = limit / jnp.where(wide, found, limit)
    narrowed = mean[None] + factor[None] * (ensemble - mean[None])
    changed = jnp.any(wide) | jnp.any(analysis.spread > limit)
    ok = analysis.result == int(ResultCode.OK)
    code = jnp.where(changed & ok, int(ResultCode.OUT_OF_RANGE), analysis.result)
    return Analysis(
        ensemble=jnp.where(wide[None], narrowed, ensemble),
        mean=analysis.mean,
        spread=jnp.minimum(analysis.spread, limit),
        result=code.astype(analysis.result.dtype),
        diagnostics=analysis.diagnostics,
        background=analysis.background,
    )
