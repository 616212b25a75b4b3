"""The forecast-analysis cycle as a pure function."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

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
from vardax_core.calibration.statistics import CycleView, Smoothed, cycle_statistics
from vardax_core.cycling.adaptation import SpreadAdaptation, SpreadState
from vardax_core.cycling.biases import BiasCorrection, BiasState
from vardax_core.cycling.given import with_given, without_bias
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.increments import CAUSE, IncrementGuard, IncrementState, without_marks
from vardax_core.cycling.keys import Purpose
from vardax_core.cycling.recovery import restarted
from vardax_core.cycling.smoother import AbstractSmoother, SmoothingState, smooth
from vardax_core.cycling.trust import TrustState
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.departures import Departures, Residuals
from vardax_core.observations.placement import Placement, ReportedErrors, with_placement
from vardax_core.types import Analysis, Observations


class CycleState(eqx.Module):
    """Everything that the next cycle needs.

    Attributes:
        ensemble: analysis ensemble of the last cycle.
        cycle: number of cycles done.
        time: valid time of the ensemble in minutes since `MINUTES_EPOCH`.
        spread: sums of the spread adaptation.
        trust: what the guard's monitor remembers, or None without a guard.
        smoothing: what the smoother remembers, or None without one.
        past: means of past departures, see `DepartureHistory`, or None where the step
            does not look at them.
        bias: what is known of the biases of observations, or None where none is carried.
        increments: what is remembered of them, or None where no guard judges them.
    """

    ensemble: Float[Array, "member *state"]
    cycle: Int[Array, ""]
    time: Int[Array, ""]
    spread: SpreadState
    trust: TrustState | None = None
    smoothing: SmoothingState | None = None
    past: Float[Array, "statistic obs"] | None = None
    bias: BiasState | None = None
    increments: IncrementState | None = None


class CycleInput(eqx.Module):
    """What one cycle is given; a segment stacks them along a leading axis.

    Attributes:
        observations: the window.
        quality: quality-control codes of the last row of the window.
        truth: true state at the analysis time, NaN where not known.
        valid: False for the padding at the end of the last segment.
        withheld: at the analysis time, one row of observations that the analysis must not see; or
            None for no such observation.
        placement: where the observations are; None for an observing network that stays.
        background: members that are given from outside, or one state about which those of the
            model are laid; NaN where nothing is given, and None where nothing ever is.
        forecast: members as a model outside of the program made them, in place of its own; one
            that was lost is NaN and is estimated, see `possible_members`. None for the program's.
    """

    observations: Observations
    quality: Int[Array, " obs"]
    truth: Float[Array, "*state"]
    valid: Bool[Array, ""]
    withheld: Observations | None = None
    placement: Placement | None = None
    background: Float[Array, "given *state"] | None = None
    forecast: Float[Array, "member *state"] | None = None


class CycleOutput(eqx.Module):
    """What one cycle leaves behind.

    Attributes:
        background: background ensemble.
        analysis: the analysis, spread adapted.
        departures, residuals: of the analysis time, those of withheld observations among them.
        spread_factor: factor that the adaptation put on the spread.
        method: 0 where the program's own step made the analysis, else which fallback, see
            `Verdict`; one more than the background for members drawn from the climate.
        trust_score: of the guard's monitor, NaN without a guard.
        statistics: sums for verification by the names of `SUMS`, with the channel as their first
            axis where they are of fields and a state has channels.
        replaced_members: how many members' forecasts were impossible and estimated.
        smoothed: what is known by now of an earlier cycle, or None without a smoother.
        correction: bias that was taken off every record, or None where none is.
        increment_cause: number of the kind of mark by which the method's own increment was not
            taken, see `KINDS`; 0 where it was.
    """

    background: Float[Array, "member *state"]
    analysis: Analysis
    departures: Departures
    residuals: Residuals
    spread_factor: Float[Array, ""]
    method: Int[Array, ""]
    trust_score: Float[Array, ""]
    statistics: dict[str, Array]
    replaced_members: Int[Array, ""]
    smoothed: Smoothed | None = None
    correction: Float[Array, " obs"] | None = None
    increment_cause: Int[Array, ""] | None = None


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
        if given.placement is not None:
            placed = with_placement(self, given.placement)
            return placed.run(state, dataclasses.replace(given, placement=None), keys=keys)
        correction = None
        if self.bias is not None:
            correction = self.bias.correction(state.bias, given.observations.values.dtype)
            withheld = given.withheld and without_bias(given.withheld, correction)
            own = without_bias(given.observations, correction)
            given = dataclasses.replace(given, observations=own, withheld=withheld)
        origin = Origin(
            ensemble=state.ensemble,
            time=state.time,
            key=keys[Purpose.FORECAST],
            model=self.model,
            steps=self.forecast_steps,
            valid_range=self.valid_range,
            climate=self.climate,
        )
        within = Possible(self.valid_range, self.climate)
        if given.forecast is None:
            background, replaced = origin.forecast(state.ensemble)
        else:
            background, replaced = origin.possible(given.forecast)
        if given.background is not None:
            background = with_given(background, given.background)
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

        possible: AbstractRequirement = within
        if self.increments is not None and state.increments is not None:
            possible = self.increments.requirement(
                state.increments, within, self.step.operator, departures, state.ensemble
            )
        analysis_key = keys[Purpose.ANALYSIS]
        method = jnp.zeros((), jnp.int32)
        trust, trust_score = state.trust, jnp.full((), jnp.nan, background.dtype)
        if guard is None or trust is None:
            raw = possible.analysis(step(background, observations, key=analysis_key), background)
            method = jnp.where(unusable(raw), 1, method).astype(method.dtype)
        else:
            verdict = guard.judge(
                step,
                background,
                observations,
                departures,
                trust,
                possible=possible,
                key=analysis_key,
            )
            raw, method = verdict.analysis, verdict.method
            trust, trust_score = verdict.trust, verdict.score
        increments, cause = state.increments, None
        if self.increments is not None and increments is not None:
            cause = raw.diagnostics[CAUSE]
            increments = self.increments.update(increments, raw, departures, method == 0)
            raw = without_marks(raw)
        analysis, spread, factor = raw, state.spread, jnp.ones((), background.dtype)
        if self.adaptation is not None:
            analysis, factor = self.adaptation.adapted(raw, state.spread, within)
            updated = self.adaptation.update(
                state.spread,
                step,
                background,
                observations,
                departures,
                key=keys[Purpose.ADAPTATION],
            )
            spread = jax.tree.map(
                lambda new, old: jnp.where(unusable(raw), old, new), updated, state.spread
            )
        if self.climate is not None:
            analysis = drawn_back(analysis, self.climate)
            analysis, method = restarted(
                analysis,
                method,
                departures,
                number=2 + (0 if guard is None else len(guard.fallbacks)),
                climate=self.climate,
                valid_range=self.valid_range,
                operator=self.step.operator,
                time=state.time + self.interval,
                key=keys[Purpose.INITIAL],
            )

        residuals = departures.residuals(self.step.operator, analysis.mean, analysis.ensemble)
        if history is not None and past is not None:
            past = history.update(past, departures, residuals)
        bias = state.bias
        if self.bias is not None and bias is not None and correction is not None:
            ours = (step, background, observations, departures)
            apart = functools.partial(self.bias.without_own, *ours, key=keys[Purpose.BIAS])
            apart = jax.lax.cond(given.valid, apart, lambda: departures)
            time = state.time + self.interval
            bias = self.bias.update(bias, apart, correction, time, self.interval)
        smoothing, smoothed = state.smoothing, None
        if self.smoother is not None and smoothing is not None:
            smoothing, smoothed = smooth(
                self.smoother, smoothing, background, analysis.ensemble, given.truth
            )
        view = CycleView.of(
            truth=given.truth,
            weights=self.score_weights,
            background=background,
            analysis=analysis,
            departures=departures,
            residuals=residuals,
            key=keys[Purpose.VERIFICATION],
            smoothed=smoothed,
            spread_scale=self.spread_scale,
            channels=self.channels,
            reported=self.reported,
        )
        output = CycleOutput(
            background=background,
            analysis=analysis,
            departures=departures,
            residuals=residuals,
            spread_factor=factor,
            method=method,
            trust_score=trust_score,
            statistics=cycle_statistics(view),
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
            trust=trust,
            smoothing=smoothing,
            past=past,
            bias=bias,
            increments=increments,
        )
        return following, output
