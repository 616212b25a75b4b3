"""What the statistics of a cycle look at, with all that cannot be scored taken out."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.observations.departures import Departures, Residuals
from vardax_core.types import ensemble_mean, ensemble_spread


class Smoothed(NamedTuple):
    """What is known by now of an earlier analysis.

    Attributes:
        mean, spread: of its members; NaN where there are none yet.
        truth: true state of its time; NaN where it is not known.
    """

    mean: Float[Array, "*state"]
    spread: Float[Array, "*state"]
    truth: Float[Array, "*state"]


class Scored(eqx.Module):
    """A field beside its truth at the points that are scored; all is zero elsewhere.

    Attributes:
        weights: of the points.
        truth: true state.
        mean, spread: what is scored.
        lost: whether there is something to score, but nothing that is finite.
    """

    weights: Float[Array, "*grid"]
    truth: Float[Array, "*grid"]
    mean: Float[Array, "*grid"]
    spread: Float[Array, "*grid"]
    lost: Bool[Array, ""]

    @property
    def weight(self) -> Float[Array, ""]:
        """Sum of the weights."""
        return jnp.sum(self.weights)

    @property
    def error(self) -> Float[Array, "*grid"]:
        """Mean - truth."""
        return self.mean - self.truth


class FieldView(eqx.Module):
    """One channel of a cycle; with several, every array has the channel as one more first axis.

    A point is scored where its weight is positive and its truth finite. A scored point where the
    analysis or the background is not finite goes to `non_finite_weight` and is zero elsewhere.

    Attributes:
        analysis, background: with the same weights.
        members: of the analysis.
        non_finite_weight: weight of the points that should have been scored.
        smoothed: an earlier analysis with its own weights, or None.
        key: breaks ties of truth and members.
        spread_scale: spread, in the unit of the state, around which bins of spread lie.
    """

    analysis: Scored
    background: Scored
    members: Float[Array, "member *grid"]
    non_finite_weight: Float[Array, ""]
    smoothed: Scored | None
    key: PRNGKeyArray
    spread_scale: float = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        truth: Float[Array, "*grid"],
        weights: Float[Array, "*grid"],
        background: Float[Array, "first *grid"],
        members: Float[Array, "member *grid"],
        mean: Float[Array, "*grid"],
        spread: Float[Array, "*grid"],
        smoothed: Smoothed | None,
        key: PRNGKeyArray,
        *,
        spread_scale: float,
    ) -> "FieldView":
        """Take out what cannot be scored; see `CycleView.of` for the arguments."""
        first, first_spread = ensemble_mean(background), ensemble_spread(background)
        finite = jnp.isfinite(mean) & jnp.isfinite(spread) & jnp.all(jnp.isfinite(members), axis=0)
        finite &= jnp.isfinite(first) & jnp.isfinite(first_spread)
        wanted = (weights > 0) & jnp.isfinite(truth)
        scored = wanted & finite

        def clean(field: Array) -> Array:
            return jnp.where(scored, field, 0.0)

        lost = jnp.any(wanted) & ~jnp.any(scored)
        w, truth = clean(weights), clean(truth)
        return cls(
            analysis=Scored(w, truth, clean(mean), clean(spread), lost),
            background=Scored(w, truth, clean(first), clean(first_spread), lost),
            members=jax.vmap(clean)(members),
            non_finite_weight=jnp.sum(jnp.where(wanted & ~finite, weights, 0.0)),
            smoothed=None if smoothed is None else _scored_alone(smoothed, weights),
            key=key,
            spread_scale=spread_scale,
        )


def _scored_alone(smoothed: Smoothed, weights: Float[Array, "*grid"]) -> Scored:
    mean, spread, truth = smoothed
    scored = (weights > 0) & jnp.isfinite(truth) & jnp.isfinite(mean) & jnp.isfinite(spread)
    fields = (jnp.where(scored, x, 0.0) for x in (weights, truth, mean, spread))
    return Scored(*fields, lost=jnp.zeros((), bool))


class CycleView(eqx.Module):
    """A cycle as its statistics see it.

    Attributes:
        fields: states; `channels` says whether there is one axis more.
        departures: innovations.
        residuals: of the analysis.
        channels: whether the first axis of a state is the channel.
        reported: whether the observations are real.
    """

    fields: FieldView
    departures: Departures
    residuals: Residuals
    channels: bool = eqx.field(static=True, default=False)
    reported: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(
        cls,
        *,
        truth: Float[Array, "*state"],
        weights: Float[Array, "*state"],
        background: Float[Array, "member *state"],
        members: Float[Array, "analysed *state"],
        mean: Float[Array, "*state"],
        spread: Float[Array, "*state"],
        departures: Departures,
        residuals: Residuals,
        key: PRNGKeyArray,
        smoothed: Smoothed | None = None,
        spread_scale: float = 1.0,
        channels: bool = False,
        reported: bool = False,
    ) -> "CycleView":
        """Look at a cycle; all floating-point arrays have one dtype.

        Arguments:
            truth: true state; NaN where it is not known.
            weights: weight of each point in the score (area, say); 0 where not to be scored.
            background: members.
            members, mean, spread: of the analysis.
            departures: of the background.
            residuals: of the analysis.
            key: breaks ties in the rank histogram.
            smoothed: an earlier analysis, or None without a smoother.
            spread_scale: spread, in the unit of the state, around which the bins of the
                spread-error diagram lie; the same for all cycles that are to be added.
            channels: whether the first axis of a state is the channel, so that each is scored
                apart.
            reported: whether the observations are real.
        """
        view = functools.partial(FieldView.of, spread_scale=spread_scale)
        given = (truth, weights, background, members, mean, spread)
        if not channels:
            fields = view(*given, smoothed, key)
        else:
            keys = jax.random.split(key, truth.shape[0])
            axes = (0, 0, 1, 1, 0, 0, None if smoothed is None else 0, 0)
            fields = jax.vmap(view, in_axes=axes)(*given, smoothed, keys)
        return cls(fields, departures, residuals, channels, reported)
