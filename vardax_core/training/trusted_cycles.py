"""What the departures of an analysis are like in twin cycles like those it was trained in."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.cycle import CycleInput, CycleOutput, CycleProgram
from vardax_core.cycling.trust import DepartureMonitor, departure_checks, usual_stations
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.quality import QualityCode
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import cycle_twin, twin_start


class TrustedCycles(NamedTuple):
    """How many cycles a monitor is calibrated on.

    Attributes:
        streams: twins run side by side.
        cycles: of each, after the spin-up.
        spin_up: cycles of each before.
        members: ensemble size.
        start_sd: error of the first ensemble, unit of the state.
        attractor: model steps from the start of a nature run to the attractor.
    """

    streams: int = 8
    cycles: int = 800
    spin_up: int = 200
    members: int = 24
    start_sd: float = 1.0
    attractor: int = 1000


def trusted_checks(
    step: AbstractAnalysisStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    size: TrustedCycles,
    *,
    key: PRNGKeyArray,
) -> Float[np.ndarray, "stream cycle check"]:
    """The checks of every cycle of perfect-model twins, see `departure_checks`.

    Arguments:
        step: the analysis.
        model: of nature and forecast.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        size: how much.
        key: everything random follows from it.
    """
    program = CycleProgram(
        model=model,
        step=step,
        adaptation=None,
        score_weights=jnp.ones(model.state_shape, near.dtype),
        spread_scale=1.0,
    )

    def look(
        stations: Array, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[Array, Array]:
        window = given.observations.at_analysis_time()
        used = output.quality == int(QualityCode.KEPT)
        checks, stations = departure_checks(
            jnp.nan_to_num(output.background_departure),
            jnp.nan_to_num(output.analysis_departure),
            output.background_equivalent_variance,
            window.error_sd[0],
            used,
            window.mask[0] & ~used,
            stations,
        )
        return stations, checks

    @eqx.filter_jit
    def streams(program: CycleProgram, keys: Array) -> Array:
        def one(key: PRNGKeyArray) -> Array:
            k_start, k_cycles = jax.random.split(key)
            truth, ensemble = twin_start(
                model, near, size.members, size.start_sd, size.attractor, key=k_start
            )
            stations = usual_stations(step.operator.obs_size, truth.dtype)
            length = size.spin_up + size.cycles
            return cycle_twin(
                program, observing, truth, ensemble, length, look, stations, key=k_cycles
            )

        return jax.vmap(one)(keys)

    checks = streams(program, jax.random.split(key, size.streams))
    return np.asarray(checks)[:, size.spin_up :]


def calibrated_monitor(
    step: AbstractAnalysisStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    size: TrustedCycles,
    *,
    false_alarms: float = 0.01,
    period: int = 1000,
    key: PRNGKeyArray,
) -> DepartureMonitor:
    """The monitor of an analysis, calibrated on twin cycles without a fault.

    Arguments:
        step, model, observing, near, size, key: see `trusted_checks`.
        false_alarms: probability of at least one alarm in `period` such cycles.
        period: cycles.
    """
    checks = trusted_checks(step, model, observing, near, size, key=key)
    return DepartureMonitor.calibrated(checks, false_alarms=false_alarms, period=period)
