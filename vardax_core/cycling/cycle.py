"""The forecast-analysis cycle as a pure function."""

import dataclasses
import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.history import history_of
from vardax_core.analysis.origin import Origin, needs_origin, with_origin
from vardax_core.analysis.possible import (
    AbstractRequirement,
    Climate,
    Possible,
    Range,
    drawn_back,
    unusable,
)
from vardax_core.cycling.adaptation import SpreadAdaptation, SpreadState
from vardax_core.cycling.biases import BiasCorrection, BiasState
from vardax_core.cycling.given import all_given, with_given, without_bias
from vardax_core.cycling.guard import Guard, Verdict
from vardax_core.cycling.increments import CAUSE, IncrementGuard, IncrementState, without_marks
from vardax_core.cycling.keys import Purpose
from vardax_core.cycling.passed import CycleInput, CycleOutput, CycleState
from vardax_core.cycling.recovery import restarted
from vardax_core.cycling.smoother import AbstractSmoother, SmoothingState, smooth
from vardax_core.cycling.verification import Made, Verification, with_sums
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.departures import Departures
from vardax_core.observations.placement import ReportedErrors, with_placement
from vardax_core.types import Analysis, Observations


class CycleProgram(eqx.Module):
    """One method's forecast-analysis cycle.

    Attributes:
        model: forecast model.
        step: analysis step.
        adaptation: on-line adaptation of the spread, or None.
        score_weights: weight of every point in the verification; 0 where not scored.
        spread_scale: unit of the bins of the spread-error diagram.
        forecast_steps: model steps from one analysis to the next.
        first_guess_limit: k of the first-guess check |O-B| > k sqrt(HBH' + R).
        guard: when not to trust the step and what to do then, or None.
        smoother: corrects earlier analyses by later ones beside the cycle, or None.
        valid_range: smallest and largest possible value of the state; a member with a forecast
            beyond is estimated, see `possible_members`, and an analysis beyond is not taken, see
            `Possible`.
        channels: whether the first axis of a state is the channel, so that each is scored apart.
        reported: whether the observations are real, so that the withheld ones are what there is to
            be scored by.
        errors: what was found of the errors of real observations; whoever makes the inputs of
            cycles applies it.
        climate: of the state; bounds the spread of analyses, see `drawn_back`, and gives members
            where there are no others. None where it is not known.
        bias: takes the biases of platforms off their records, or None.
        increments: judges increments in state space, or None.
    """

    model: AbstractForecastModel
    step: AbstractAnalysisStep
    adaptation: SpreadAdaptation | None
    score_weights: Float[Array, "*state"]
    spread_scale: float = eqx.field(static=True)
    forecast_steps: int = eqx.field(static=True, default=1)
    first_guess_limit: float = eqx.field(static=True, default=6.0)
    guard: Guard | None = None
    smoother: AbstractSmoother | None = None
    valid_range: Range = eqx.field(static=True, default=(-math.inf, math.inf))
    climate: Climate | None = None
    channels: bool = eqx.field(static=True, default=False)
    reported: bool = eqx.field(static=True, default=False)
    errors: ReportedErrors | None = eqx.field(static=True, default=None)
    bias: BiasCorrection | None = None
    increments: IncrementGuard | None = None

    @property
    def interval(self) -> int:
        """Minutes from one analysis to the next."""
        return self.forecast_steps * self.model.interval

    def initial_state(
        self, ensemble: Float[Array, "member *state"], time: Int[Array, ""]
    ) -> CycleState:
        """The state before the first cycle, from an ensemble valid one interval before it."""
        adaptation = self.adaptation or SpreadAdaptation()
        history = history_of(self.step)
        return CycleState(
            ensemble=ensemble,
            cycle=jnp.zeros((), jnp.int32),
            time=time.astype(jnp.int32),
            spread=adaptation.init(ensemble.dtype),
            trust=None
            if self.guard is None
            else self.guard.monitor.init(self.step.operator.obs_size, ensemble.dtype),
            smoothing=None
            if self.smoother is None
            else SmoothingState.start(self.smoother, ensemble),
            past=None
            if history is None
            else history.init(self.step.operator.obs_size, ensemble.dtype),
            bias=None if self.bias is None else self.bias.init(ensemble.dtype),
            increments=None if self.increments is None else self.increments.init(ensemble),
        )

    def fitted(self, state: CycleState) -> CycleState:
        """A stored state with room for what it does not hold yet."""
        increments, bias = state.increments, state.bias
        if self.increments is not None and increments is None:
            increments = self.increments.init(state.ensemble)
        if self.bias is not None:
            bias = self.bias.fitted(state.bias, state.ensemble.dtype)
        return dataclasses.replace(state, bias=bias, increments=increments)

    def run(
        self, state: CycleState, given: CycleInput, *, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        """One cycle: forecast, quality control, analysis, verification.

        Arguments:
            state: as the last cycle left it.
            given: observations and truth of this one.
            keys: of this cycle, see `cycle_keys`.
        """
        following, output = self.advance(state, given, keys=keys)
        made = Made.of(output, given.truth)
        return following, with_sums(
            output, self.verification.sums(made, key=keys[Purpose.VERIFICATION])
        )

    @property
    def verification(self) -> Verification:
        """How its cycles are verified."""
        return Verification(self.score_weights, self.spread_scale, self.channels, self.reported)

    def advance(
        self, state: CycleState, given: CycleInput, *, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        """One cycle without its verification, on which nothing that follows depends.

        Arguments:
            state: as the last cycle left it.
            given: observations of this one, and its truth where a smoother is to be scored.
            keys: of this cycle, see `cycle_keys`.

        Returns:
            The following state, and the output with no statistics; see `verification`.
        """
        if given.placement is not None:
            placed = with_placement(self, given.placement)
            return placed.advance(state, dataclasses.replace(given, placement=None), keys=keys)
        given, correction = self._without_bias(state, given)
        origin, background, replaced = self._background(state, given, keys)
        step, guard = self.step, self.guard
        if needs_origin((step, guard)):
            step, guard = with_origin((step, guard), origin)
        departures = Departures.of(
            self.step.operator,
            background,
            given.observations,
            quality=given.quality,
            withheld=given.withheld,
            limit=self.first_guess_limit,
        )
        observations = departures.window(given.observations)
        history, past = history_of(step), state.past
        if history is not None and past is not None:
            observations = dataclasses.replace(observations, past=history.standardised(past))
        ours = _Seen(step, background, observations, departures)

        verdict = self._verdict(state, guard, ours, keys[Purpose.ANALYSIS])
        raw, increments, cause = self._without_marks(state, verdict, departures)
        adapted, spread, factor = self._adapted(state, raw, ours, keys[Purpose.ADAPTATION])
        analysis, method = self._within_climate(
            state, adapted, verdict.method, departures, keys[Purpose.INITIAL]
        )
        if (own := all_given(given.background)) is not None:
            # Their spread does not come from the cycles before, and what is known of the state is
            # how such forecasts err.
            analysis, method = jax.tree.map(
                lambda free, held: jnp.where(own, free, held),
                (adapted, verdict.method),
                (analysis, method),
            )

        residuals = departures.residuals(self.step.operator, analysis.mean, analysis.ensemble)
        if history is not None and past is not None:
            past = history.update(past, departures, residuals)
        smoothing, smoothed = state.smoothing, None
        if self.smoother is not None and smoothing is not None:
            smoothing, smoothed = smooth(
                self.smoother, smoothing, background, analysis.ensemble, given.truth
            )
        output = CycleOutput(
            background=background,
            analysis=analysis,
            departures=departures,
            residuals=residuals,
            spread_factor=factor,
            method=method,
            trust_score=verdict.score,
            statistics={},
            replaced_members=replaced,
            smoothed=smoothed,
            correction=correction,
            increment_cause=cause,
        )
        following = CycleState(
            ensemble=analysis.ensemble,
            cycle=state.cycle + 1,
            time=state.time + self.interval,
            spread=spread,
            trust=verdict.trust,
            smoothing=smoothing,
            past=past,
            bias=self._bias_after(state, given.valid, ours, correction, keys[Purpose.BIAS]),
            increments=increments,
        )
        return following, output

    def _without_bias(
        self, state: CycleState, given: CycleInput
    ) -> tuple[CycleInput, Float[Array, " obs"] | None]:
        """The input with the known biases taken off its records, and these."""
        if self.bias is None:
            return given, None
        correction = self.bias.correction(state.bias, given.observations.values.dtype)
        withheld = given.withheld and without_bias(given.withheld, correction)
        own = without_bias(given.observations, correction)
        return dataclasses.replace(given, observations=own, withheld=withheld), correction

    def _background(
        self, state: CycleState, given: CycleInput, keys: Key[Array, " purpose"]
    ) -> tuple[Origin, Float[Array, "member *state"], Int[Array, ""]]:
        """Where the background comes from, its members, and how many were replaced."""
        origin = Origin(
            ensemble=state.ensemble,
            time=state.time,
            key=keys[Purpose.FORECAST],
            model=self.model,
            steps=self.forecast_steps,
            valid_range=self.valid_range,
            climate=self.climate,
        )
        if given.forecast is None:
            background, replaced = origin.forecast(state.ensemble)
        else:
            background, replaced = origin.possible(given.forecast)
        if given.background is not None:
            background = with_given(background, given.background)
        return origin, background, replaced

    def _verdict(
        self, state: CycleState, guard: Guard | None, ours: "_Seen", key: PRNGKeyArray
    ) -> Verdict:
        """The method's own analysis, or what takes its place."""
        within = Possible(self.valid_range, self.climate)
        possible: AbstractRequirement = within
        if self.increments is not None and state.increments is not None:
            operator = self.step.operator
            possible = self.increments.requirement(
                state.increments, within, operator, ours.departures, state.ensemble
            )
        step, background, observations, departures = ours
        if guard is None or state.trust is None:
            made = possible.analysis(step(background, observations, key=key), background)
            method = jnp.where(unusable(made), 1, 0).astype(jnp.int32)
            return Verdict(made, method, jnp.full((), jnp.nan, background.dtype), state.trust)
        return guard.judge(
            step, background, observations, departures, state.trust, possible=possible, key=key
        )

    def _without_marks(
        self, state: CycleState, verdict: Verdict, departures: Departures
    ) -> tuple[Analysis, IncrementState | None, Int[Array, ""] | None]:
        """The analysis, what is remembered of increments, and why one was not taken."""
        raw = verdict.analysis
        if self.increments is None or state.increments is None:
            return raw, state.increments, None
        taken = verdict.method == 0
        remembered = self.increments.update(state.increments, raw, departures, taken)
        return without_marks(raw), remembered, raw.diagnostics[CAUSE]

    def _adapted(
        self, state: CycleState, raw: Analysis, ours: "_Seen", key: PRNGKeyArray
    ) -> tuple[Analysis, SpreadState, Float[Array, ""]]:
        """The analysis with its spread adapted, the sums after it, and the factor."""
        if self.adaptation is None:
            return raw, state.spread, jnp.ones((), raw.mean.dtype)
        within = Possible(self.valid_range, self.climate)
        analysis, factor = self.adaptation.adapted(raw, state.spread, within)
        updated = self.adaptation.update(state.spread, *ours, key=key)
        spread = jax.tree.map(
            lambda new, old: jnp.where(unusable(raw), old, new), updated, state.spread
        )
        return analysis, spread, factor

    def _within_climate(
        self,
        state: CycleState,
        analysis: Analysis,
        method: Int[Array, ""],
        departures: Departures,
        key: PRNGKeyArray,
    ) -> tuple[Analysis, Int[Array, ""]]:
        """The analysis with no more spread than the climate, or drawn from it where it is lost."""
        if self.climate is None:
            return analysis, method
        return restarted(
            drawn_back(analysis, self.climate),
            method,
            departures,
            number=2 + (0 if self.guard is None else len(self.guard.fallbacks)),
            climate=self.climate,
            valid_range=self.valid_range,
            operator=self.step.operator,
            time=state.time + self.interval,
            key=key,
        )

    def _bias_after(
        self,
        state: CycleState,
        valid: Bool[Array, ""],
        ours: "_Seen",
        correction: Float[Array, " obs"] | None,
        key: PRNGKeyArray,
    ) -> BiasState | None:
        """What is known of biases after the cycle."""
        if self.bias is None or state.bias is None or correction is None:
            return state.bias
        apart = functools.partial(self.bias.without_own, *ours, key=key)
        departures = jax.lax.cond(valid, apart, lambda: ours.departures)
        time = state.time + self.interval
        return self.bias.update(state.bias, departures, correction, time, self.interval)


class _Seen(NamedTuple):
    """What an analysis is made by and of."""

    step: AbstractAnalysisStep
    background: Float[Array, "member *state"]
    observations: Observations
    departures: Departures
