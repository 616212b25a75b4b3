"""What the departures of an analysis are like in twin cycles like those it was trained in."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.cycle import CycleInput, CycleProgram
from vardax_core.cycling.trust import DepartureMonitor, departure_checks
from vardax_core.models.attractor import spin_up
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.quality import QualityCode
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.types import Observations, ensemble_mean


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
    n_obs = step.operator.obs_size
    now = jnp.zeros((), jnp.int32)

    @eqx.filter_jit
    def streams(step: AbstractAnalysisStep, keys: Array) -> Array:
        program = CycleProgram(
            model=model,
            step=step,
            adaptation=None,
            score_weights=jnp.ones(model.state_shape, near.dtype),
            spread_scale=1.0,
        )

        def one(key: PRNGKeyArray) -> Array:
            k_point, k_members, k_cycles, k_method = jax.random.split(key, 4)
            k_away, k_run = jax.random.split(k_point)
            away = near + jax.random.normal(k_away, near.shape, near.dtype)
            truth = spin_up(model, away, size.attractor, key=k_run)
            noise = jax.random.normal(k_members, (size.members, *model.state_shape), truth.dtype)
            state = program.initial_state(truth[None] + size.start_sd * noise, now)

            def cycle(carry, k):
                truth, state, last = carry
                k_truth, k_network, k_error = jax.random.split(k, 3)
                truth = model.step(truth, state.time, key=k_truth)
                mask, sd = observing.draw(n_obs, truth.dtype, key=k_network)
                error = sd * jax.random.normal(k_error, (n_obs,), truth.dtype)
                values = jnp.where(mask, step.operator(truth) + error, 0.0)
                window = Observations(
                    values[None], mask[None], sd[None], state.time[None] + program.interval
                )
                quality = jnp.where(mask, int(QualityCode.KEPT), int(QualityCode.MISSING))
                given = CycleInput(window, quality, truth, jnp.asarray(True))
                state, output = program.run(state, given, key=k_method)
                used = output.quality == int(QualityCode.KEPT)
                checks, last = departure_checks(
                    values - ensemble_mean(step.operator.ensemble(output.background)),
                    values - step.operator(output.analysis.mean),
                    output.background_equivalent_variance,
                    sd,
                    used,
                    mask & ~used,
                    last,
                )
                return (truth, state, last), checks

            start = (truth, state, jnp.zeros((n_obs,), truth.dtype))
            length = size.spin_up + size.cycles
            return jax.lax.scan(cycle, start, jax.random.split(k_cycles, length))[1]

        return jax.vmap(one)(keys)

    checks = streams(step, jax.random.split(key, size.streams))
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
