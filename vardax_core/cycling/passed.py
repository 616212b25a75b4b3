"""What a cycle is given, what it leaves, and what it hands on."""

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

from vardax_core.calibration.statistics import Smoothed
from vardax_core.cycling.adaptation import SpreadState
from vardax_core.cycling.biases import BiasState
from vardax_core.cycling.increments import IncrementState
from vardax_core.cycling.smoother import SmoothingState
from vardax_core.cycling.trust import TrustState
from vardax_core.observations.departures import Departures, Residuals
from vardax_core.observations.placement import Placement
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
            axis where they are of fields and a state has channels; none before it is verified.
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
