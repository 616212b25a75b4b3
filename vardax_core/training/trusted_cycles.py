"""What the departures of an analysis are like in twin cycles like those it was trained in."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.cycling.trust import DepartureMonitor, departure_checks, usual_stations
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import TwinPlan, cycle_twins, twin_program


def trusted_checks(
    step: AbstractAnalysisStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    valid_range: tuple[float, float] = (-math.inf, math.inf),
    key: PRNGKeyArray,
) -> Float[np.ndarray, "stream cycle check"]:
    """The checks of every cycle of perfect-model twins, see `departure_checks`.

    Arguments:
        step: the analysis.
        model: of nature and forecast.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: how many twins, and how long.
        valid_range: of the state, as in the cycle that is to be guarded.
        key: everything random follows from it.
    """
    program = twin_program(model, step, valid_range=valid_range, dtype=near.dtype)

    def look(
        stations: Array, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[Array, Array]:
        checks, stations = departure_checks(output.departures, output.residuals, stations)
        return stations, checks

    stations = usual_stations(step.operator.obs_size, near.dtype)

    @eqx.filter_jit
    def checks(program: CycleProgram) -> Array:
        return cycle_twins(program, observing, near, plan, look, stations, key=key)

    return np.asarray(checks(program))


def calibrated_monitor(
    step: AbstractAnalysisStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    false_alarms: float = 0.01,
    period: int = 1000,
    valid_range: tuple[float, float] = (-math.inf, math.inf),
    key: PRNGKeyArray,
) -> DepartureMonitor:
    """The monitor of an analysis, calibrated on twin cycles without a fault.

    Arguments:
        step, model, observing, near, plan, valid_range, key: see `trusted_checks`.
        false_alarms: probability of at least one alarm in `period` such cycles.
        period: cycles.
    """
    checks = trusted_checks(step, model, observing, near, plan, valid_range=valid_range, key=key)
    return DepartureMonitor.calibrated(checks, false_alarms=false_alarms, period=period)
