"""A guard of increments in state space: what was never seen of them is not taken."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import special

from vardax_core.analysis.possible import AbstractRequirement, Possible, unusable
from vardax_core.cycling.marks import (
    KINDS,
    MARKS,
    AbstractMark,
    Balance,
    Increment,
    Masked,
    as_field,
    channel_means,
    logarithms,
    mean_of,
    normalisation,
)
from vardax_core.models.base import AbstractBalancedModel, AbstractForecastModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.departures import Departures
from vardax_core.state.grids.base import Mask
from vardax_core.types import Analysis, ResultCode, ensemble_mean, ensemble_spread

FALSE_ALARMS = 1e-6
"""Probability that a cycle in which all is well is stopped."""
FEWEST, MEMORY = 20, 200
"""Cycles before which nothing is judged, and that are remembered."""
TAIL_MEMORY = 1000
"""Cycles that rare deviations are remembered."""
IMMATERIAL = math.log(9.0)
"""No mark is wrong that differs from what is expected by less than a factor of 3 in amplitude."""
RARE = 2.0
"""Standard deviations from which a deviation belongs to the tail."""
GAUSSIAN_EXCESS = 1.746
"""What the square of a standard normal beyond `RARE` exceeds the square of that by on average."""
CAUSE = "increment_cause"
MARKED, SQUARES = "increment_marks", "increment_squares"
AWAY, EXPECTED = "increment_predictor", "increment_expected"
"""Diagnostics of an analysis: number of the kind of mark that was wrong, or 0; all marks; the
squares of the increment over the background's spread; and the parts of `Expected`."""


def _quantiles(marks: int) -> Float[np.ndarray, " cycle"]:
    """Standard deviations that a mark may be off after so many cycles; none before `FEWEST`."""
    freedom = np.arange(MEMORY + 1) - 1
    found = -special.stdtrit(np.maximum(freedom, 1), FALSE_ALARMS / marks / 2)
    return np.where(np.arange(MEMORY + 1) < FEWEST, np.inf, found)


class IncrementState(eqx.Module):
    """What is remembered of increments; part of the state of a cycle.

    Attributes:
        count: cycles taken in, up to `MEMORY`.
        predictor: mean and variance of the logarithm of the number of observations used.
        moments: of each mark its mean, its variance, its covariance with the predictor, the share
            of its deviations beyond `RARE`, and the mean of what they exceed the square of that by.
        usual: mean square of the normalised increment at each place.
    """

    count: Float[Array, ""]
    predictor: Float[Array, "2"]
    moments: Float[Array, "5 mark"]
    usual: Float[Array, "channel *grid"]


class Expected(eqx.Module):
    """What a cycle's marks are expected to be.

    Attributes:
        away: logarithm of the number of observations, over its mean of past cycles.
        value, sd: by the marks of past cycles and the number of observations.
        limit: deviation from which a mark is wrong.
    """

    away: Float[Array, ""]
    value: Float[Array, " mark"]
    sd: Float[Array, " mark"]
    limit: Float[Array, " mark"]


class IncrementGuard(eqx.Module):
    """Judges each increment by the marks of those before it.

    Each mark is predicted by a linear regression on the logarithm of the number of observations,
    over the last `MEMORY` cycles, with a slope that is 0 +- 1 before any is seen, so that a cycle
    with an unusual number of observations has wide limits. The limits are those of a prediction
    by Student's t for the rate `FALSE_ALARMS` of all marks together, wider by the root of what the
    tail of past deviations is longer than a Gaussian one. A mark that is wrong is learned from as
    if it were at its limit: a change that stays is taken for usual after some ten cycles.

    Attributes:
        marks: what is judged.
        apart: whether the first axis of a state is that of the channel.

    Source: Pickands (1975), doi:10.1214/aos/1176343003, on the excesses over a high level.
    """

    marks: tuple[AbstractMark, ...]
    apart: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(
        cls,
        model: AbstractForecastModel,
        mask: Mask | None = None,
        *,
        apart: bool,
        balance: bool = False,
    ) -> "IncrementGuard":
        """The guard of a model's states.

        Arguments:
            model: of the forecast.
            mask: True at the points that belong to the state, or None for all.
            apart: whether the first axis of a state is that of the channel.
            balance: whether increments are held against the model's balance.

        Raises:
            ValueError: if the model has none.
        """
        further: list[AbstractMark] = []
        if mask is not None and not np.all(mask):
            further.append(Masked(jnp.asarray(mask, bool)))
        if balance:
            if not isinstance(model, AbstractBalancedModel):
                raise ValueError(
                    f"IncrementGuard: {type(model).__name__} has no field that its states are in "
                    "balance with; leave the balance out."
                )
            further.append(Balance(model))
        return cls((*MARKS, *further), apart)

    def init(self, ensemble: Float[Array, "member *state"]) -> IncrementState:
        """The state before the first cycle."""
        shape = ensemble.shape[1:] if self.apart else (1, *ensemble.shape[1:])
        dtype, number = ensemble.dtype, len(self.causes(shape[0]))
        share = 2 * special.ndtr(-RARE)
        rows = [0.0, 0.0, 0.0, share, share * GAUSSIAN_EXCESS]
        return IncrementState(
            count=jnp.zeros((), dtype),
            predictor=jnp.zeros((2,), dtype),
            moments=jnp.broadcast_to(jnp.asarray(rows, dtype)[:, None], (len(rows), number)),
            usual=jnp.ones(shape, dtype),
        )

    @property
    def mask(self) -> Bool[Array, "*grid"] | None:
        """True at the points that belong to the state; None for all."""
        masks = [mark.mask for mark in self.marks if isinstance(mark, Masked)]
        return masks[0] if masks else None

    def causes(self, channels: int) -> tuple[int, ...]:
        """The number of the kind, see `KINDS`, of each mark of states with so many channels."""
        return tuple(
            KINDS.index(type(mark)) + 1
            for mark in self.marks
            for _ in range(channels if mark.apart else 1)
        )

    def usual(
        self, state: IncrementState, mean: Float[Array, " channel"]
    ) -> Float[Array, "channel *grid"]:
        """What is usual at each place, drawn to the mean of its channel by the weight of `FEWEST`
        cycles.

        Arguments:
            state: what is remembered.
            mean: of what is usual, over the grid.
        """
        drawn = FEWEST * as_field(mean, state.usual)
        return (state.count * state.usual + drawn) / (state.count + FEWEST)

    def measured(self, made: Increment) -> Float[Array, " mark"]:
        """All marks of an increment."""
        return logarithms([mark.of(made) for mark in self.marks])

    def expected(self, state: IncrementState, count: Float[Array, ""]) -> Expected:
        """What the marks of a cycle with so many observations are expected to be."""
        mean, variance, covariance, share, excess = state.moments
        tiny = jnp.finfo(mean.dtype).tiny
        number = jnp.maximum(state.count, 1.0)
        about, spread = state.predictor
        slope = covariance / (spread + variance / number + tiny)
        left = jnp.maximum(variance - slope * covariance, tiny)
        away = jnp.log(count) - about
        unknown = away**2 / (1 + number * spread / left)
        sd = jnp.sqrt(left * (1 + 1 / number) + unknown)
        table = jnp.asarray(_quantiles(mean.size), mean.dtype)
        tail = jnp.sqrt(jnp.maximum(excess / share / GAUSSIAN_EXCESS, 1.0))
        limit = jnp.maximum(table[state.count.astype(jnp.int32)] * tail * sd, IMMATERIAL)
        return Expected(away, mean + slope * away, sd, limit)

    def judged(
        self, marks: Float[Array, " mark"], expected: Expected, channels: int
    ) -> Int[Array, ""]:
        """The number of the kind of mark that is furthest beyond its limit, 0 where none is."""
        kinds = self.causes(channels)
        low = np.array([KINDS[kind - 1].low for kind in kinds])
        high = np.array([KINDS[kind - 1].high for kind in kinds])
        away = (marks - expected.value) / expected.limit
        wrong = jnp.maximum(jnp.where(high, away, -1.0), jnp.where(low, -away, -1.0))
        worst = jnp.argmax(wrong)
        numbers = jnp.asarray(kinds, jnp.int32)
        return jnp.where(wrong[worst] > 1, numbers[worst], 0)

    def requirement(
        self,
        state: IncrementState,
        possible: Possible,
        operator: AbstractObservationOperator,
        departures: Departures,
        last: Float[Array, "member *state"],
    ) -> "PlausibleIncrement":
        """What the analyses of a cycle are held against.

        Arguments:
            state: before the cycle.
            possible: what is held first.
            operator: observation operator H.
            departures: of the cycle's background.
            last: analysis ensemble of the last cycle.
        """
        return PlausibleIncrement(
            possible, self, state, operator, departures, mean_of(last, self.apart)
        )

    def update(
        self,
        state: IncrementState,
        analysis: Analysis,
        departures: Departures,
        taken: Bool[Array, ""],
    ) -> IncrementState:
        """Take one cycle in.

        Arguments:
            state: before it.
            analysis: with the marks of the method's own.
            departures: of the cycle.
            taken: whether the analysis is the method's own.
        """
        marks, dtype = analysis.diagnostics[MARKED], state.count.dtype
        known = jnp.any(departures.used) & jnp.all(jnp.isfinite(marks))
        expected = Expected(analysis.diagnostics[AWAY], *analysis.diagnostics[EXPECTED])
        away = jnp.clip(marks - expected.value, -expected.limit, expected.limit)
        number = jnp.minimum(state.count + 1, MEMORY)
        weight = 1 / number
        mean, variance, covariance, share, excess = state.moments
        x = expected.away
        y = expected.value + away - mean
        squared = away**2 / expected.sd**2 - RARE**2
        rare = (squared > 0) & (state.count >= FEWEST)
        slow = 1 / jnp.minimum(state.count * TAIL_MEMORY / MEMORY + FEWEST, TAIL_MEMORY)
        moments = jnp.stack(
            [
                mean + weight * y,
                (1 - weight) * (variance + weight * y**2),
                (1 - weight) * (covariance + weight * x * y),
                share + slow * (rare.astype(dtype) - share),
                excess + slow * (jnp.where(rare, squared, 0.0) - excess),
            ]
        )
        about, spread = state.predictor
        predictor = jnp.stack([about + weight * x, (1 - weight) * (spread + weight * x**2)])
        squares = analysis.diagnostics[SQUARES]
        following = IncrementState(
            count=number,
            predictor=predictor,
            moments=moments,
            usual=jnp.where(taken, state.usual + weight * (squares - state.usual), state.usual),
        )
        return jax.tree.map(lambda new, old: jnp.where(known, new, old), following, state)


class PlausibleIncrement(AbstractRequirement):
    """A range of values, and increments that are like those before.

    Attributes:
        possible: the range.
        guard: judges the increments.
        state: what it remembers.
        operator: observation operator H.
        departures: of the cycle's background.
        last: mean of the last analysis.
    """

    possible: Possible
    guard: IncrementGuard
    state: IncrementState
    operator: AbstractObservationOperator
    departures: Departures
    last: Float[Array, "channel *grid"]

    def increment(self, analysis: Analysis, background: Float[Array, "member *state"]) -> Increment:
        """Set an analysis beside its background."""
        departures, apart = self.departures, self.guard.apart

        def channels(field: Float[Array, "*state"]) -> Float[Array, "channel *grid"]:
            return field if apart else field[None]

        before = ensemble_mean(background)
        change = analysis.mean - before
        spread = ensemble_spread(analysis.ensemble)
        variance = channels(ensemble_spread(background) ** 2)
        mean_variance, mean_usual = channel_means(variance, self.state.usual)
        found = self.operator(analysis.mean) - self.operator(before)
        root = jnp.sqrt(departures.expected_variance)
        return Increment.of(
            plain=channels(change),
            scale=normalisation(variance, mean_variance),
            spread=channels(spread),
            away=channels(before) - self.last,
            usual=self.guard.usual(self.state, mean_usual),
            mean_usual=mean_usual,
            mask=self.guard.mask,
            innovation=departures.innovation / root,
            equivalent=found / root,
            used=departures.used,
            refused=departures.rejected,
        )

    def analysis(self, analysis: Analysis, background: Float[Array, "member *state"]) -> Analysis:
        """Give the background in place of an analysis that is not possible, or whose increment is
        unlike all before, with the code IMPLAUSIBLE; see `AbstractRequirement`."""
        held = self.possible.analysis(analysis, background)
        start = background if held.background is None else held.background
        seen, start = jax.lax.optimization_barrier((held, start))
        made = self.increment(seen, start)
        marks = self.guard.measured(made)
        expected = self.guard.expected(self.state, made.count)
        cause = self.guard.judged(marks, expected, len(made.plain))
        judged = jnp.any(self.departures.used) & ~unusable(held)
        judged = judged & (held.result != int(ResultCode.NO_OBSERVATIONS))
        cause = jnp.where(judged, cause, 0)
        wrong = cause > 0
        code = jnp.asarray(int(ResultCode.IMPLAUSIBLE), held.result.dtype)
        return Analysis(
            ensemble=jnp.where(wrong, start, held.ensemble),
            mean=jnp.where(wrong, ensemble_mean(start), held.mean),
            spread=jnp.where(wrong, ensemble_spread(start), held.spread),
            result=jnp.where(wrong, code, held.result),
            diagnostics={
                **held.diagnostics,
                CAUSE: cause,
                MARKED: jnp.where(judged, marks, jnp.nan),
                SQUARES: made.squares,
                AWAY: expected.away,
                EXPECTED: jnp.stack([expected.value, expected.sd, expected.limit]),
            },
            background=held.background,
        )


def without_marks(analysis: Analysis) -> Analysis:
    """The analysis without the marks that are of no use after the cycle."""
    left_out = (MARKED, SQUARES, AWAY, EXPECTED)
    kept = {name: value for name, value in analysis.diagnostics.items() if name not in left_out}
    return dataclasses.replace(analysis, diagnostics=kept)
