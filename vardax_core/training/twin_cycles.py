"""A nature run and a forecast-analysis cycle of it, side by side in one scan."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.possible import Climate
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.models.attractor import spin_up
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.quality import QualityCode
from vardax_core.training.nature import Nature, nature_of
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.types import Observations

Memory = TypeVar("Memory")
Look = Callable[[Memory, Array, CycleInput, CycleOutput], tuple[Memory, PyTree]]
"""(memory, state of the nature, what the cycle was given, what it left) -> (memory, what is kept of
it). Of the nature's state, what the cycle is given has the part that the forecast model knows."""


CLIMATE_BOUND = 7.0
"""Standard deviations of the climate beyond which no state is possible."""


def climate_range(centre: float, scale: float) -> tuple[float, float]:
    """Smallest and largest possible value of a state.

    Arguments:
        centre, scale: rough mean and standard deviation of the climate.
    """
    return centre - CLIMATE_BOUND * scale, centre + CLIMATE_BOUND * scale


def _climate_of(valid_range: tuple[float, float], dtype: DTypeLike) -> Climate | None:
    """The climate that a range would be the `climate_range` of; None for one without an end."""
    low, high = valid_range
    if not math.isfinite(high - low):
        return None
    centre, scale = (high + low) / 2, (high - low) / (2 * CLIMATE_BOUND)
    return Climate(jnp.asarray(centre, dtype), jnp.asarray(scale, dtype))


def twin_program(
    model: AbstractForecastModel,
    step: AbstractAnalysisStep,
    *,
    valid_range: tuple[float, float] = (-math.inf, math.inf),
    spread_scale: float = 1.0,
    dtype: DTypeLike = jnp.float32,
) -> CycleProgram:
    """The cycle of a perfect-model twin: nothing adapted, every point scored alike.

    Arguments:
        model: of nature and forecast.
        step: the analysis.
        valid_range: see `CycleProgram`; the climate is taken to be such that this is its
            `climate_range`.
        spread_scale: see `CycleProgram`.
        dtype: of the state.
    """
    return CycleProgram(
        model=model,
        step=step,
        adaptation=None,
        score_weights=jnp.ones(model.state_shape, dtype),
        spread_scale=spread_scale,
        valid_range=valid_range,
        climate=_climate_of(valid_range, dtype),
    )


class TwinPlan(NamedTuple):
    """How many twins are cycled, and for how long.

    Attributes:
        streams: twins side by side.
        cycles: of each, after the spin-up.
        spin_up: cycles of each before.
        members: ensemble size.
        start_sd: error of the first ensemble, unit of the state; that of the observations by
            default.
        attractor: model steps from the start of a nature run to the attractor.
    """

    streams: int = 8
    cycles: int = 800
    spin_up: int = 200
    members: int = 24
    start_sd: float | None = None
    attractor: int = 1000


def cycle_twins(
    program: CycleProgram,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    look: Look,
    memory: PyTree = (),
    *,
    nature: Nature | None = None,
    key: PRNGKeyArray,
) -> PyTree:
    """Cycle independent twins side by side, see `cycle_twin`.

    Arguments:
        program, observing, look, memory, nature: of every twin.
        near: a state from whose surroundings the model finds its attractor.
        plan: how many, and how long.
        key: everything random follows from it.

    Returns:
        What `look` kept after the spin-up, stacked over streams and cycles.
    """

    start_sd = observing.typical_error if plan.start_sd is None else plan.start_sd
    nature = nature_of(nature, program.model)

    def one(k: PRNGKeyArray) -> PyTree:
        k_start, k_cycles = jax.random.split(k)
        truth, ensemble = twin_start(
            nature, near, plan.members, start_sd, plan.attractor, key=k_start
        )
        length = plan.spin_up + plan.cycles
        given = (program, observing, truth, ensemble, length, look, memory)
        return cycle_twin(*given, nature=nature, key=k_cycles)

    streams = jax.vmap(one)(jax.random.split(key, plan.streams))
    return jax.tree.map(lambda leaf: leaf[:, plan.spin_up :], streams)


def cycle_twin(
    program: CycleProgram,
    observing: AbstractObservingSystem,
    truth: Float[Array, "*nature"],
    ensemble: Float[Array, "member *state"],
    cycles: int,
    look: Look,
    memory: PyTree = (),
    *,
    every: int = 1,
    nature: Nature | None = None,
    key: PRNGKeyArray,
) -> PyTree:
    """Cycle one twin and keep what `look` makes of it.

    Truths and observations depend on the key and not on the program: two programs with one key see
    the same nature.

    Arguments:
        program: forecast, quality control, analysis and guard, as in operation.
        observing: what each cycle observes.
        truth: state of the nature one cycle before the first analysis.
        ensemble: its ensemble there.
        cycles: number of cycles, a multiple of `every`.
        look: called after every cycle.
        memory: what the first call of `look` is given.
        every: what was kept is returned for the last of so many cycles.
        nature: makes the truth; the forecast's own model, without error, if there is none.
        key: everything random follows from it.

    Returns:
        What `look` kept, stacked over cycles // every.

    Raises:
        ValueError: if `cycles` is not a multiple of `every`.
    """
    if cycles % every:
        raise ValueError(
            f"cycle_twin: cycles must be a multiple of every, got {cycles} and {every}."
        )
    nature = nature_of(nature, program.model)
    n_obs = program.step.operator.obs_size
    k_nature, k_method = jax.random.split(key)

    def cycle(carry: tuple, number: Array) -> tuple[tuple, PyTree]:
        truth, state, memory = carry
        k_truth, k_network, k_error = jax.random.split(jax.random.fold_in(k_nature, number), 3)
        truth = _advance(nature, truth, state.time, program.forecast_steps, k_truth)
        known = nature.resolved(truth)
        mask, sd = observing.draw(n_obs, known.dtype, cycle=number, key=k_network)
        error = observing.errors.draw(sd, key=k_error)
        values = jnp.where(mask, program.step.operator(known) + error, 0.0)
        now = state.time[None] + program.interval
        window = Observations(values[None], mask[None], sd[None], now)
        quality = jnp.where(mask, int(QualityCode.KEPT), int(QualityCode.MISSING))
        given = CycleInput(window, quality, known, jnp.asarray(True))
        state, output = program.run(state, given, keys=cycle_keys(k_method, state.cycle))
        memory, kept = look(memory, truth, given, output)
        return (truth, state, memory), kept

    def stretch(carry: tuple, numbers: Array) -> tuple[tuple, PyTree]:
        carry, kept = jax.lax.scan(cycle, carry, numbers)
        return carry, jax.tree.map(lambda leaf: leaf[-1], kept)

    start = (truth, program.initial_state(ensemble, jnp.zeros((), jnp.int32)), memory)
    numbers = jnp.arange(cycles)
    if every == 1:
        return jax.lax.scan(cycle, start, numbers)[1]
    return jax.lax.scan(stretch, start, numbers.reshape(-1, every))[1]


def twin_start(
    nature: Nature,
    near: Float[Array, "*state"],
    members: int,
    start_sd: float,
    steps: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "*nature"], Float[Array, "member *state"]]:
    """A state on the nature's attractor, and an ensemble about what is resolved of it.

    Arguments:
        nature: makes the truth.
        near: a state from whose surroundings a nature finds its attractor that has none of its own.
        members: ensemble size.
        start_sd: standard deviation of the members' errors, unit of the state.
        steps: model steps to the attractor.
        key: everything random follows from it.
    """
    k_away, k_run, k_members = jax.random.split(key, 3)
    begin = nature.begin(near)
    away = begin + jax.random.normal(k_away, begin.shape, begin.dtype)
    truth = spin_up(nature.model, away, steps, key=k_run)
    known = nature.resolved(truth)
    noise = jax.random.normal(k_members, (members, *known.shape), known.dtype)
    return truth, known[None] + start_sd * noise


def _advance(
    nature: Nature,
    truth: Float[Array, "*nature"],
    time: Array,
    steps: int,
    key: PRNGKeyArray,
) -> Float[Array, "*nature"]:
    def body(index: Array, x: Array) -> Array:
        now = time + index * nature.model.interval
        return nature.step(x, now, key=jax.random.fold_in(key, index))

    if steps == 1:
        return body(jnp.zeros((), jnp.int32), truth)
    return jax.lax.fori_loop(0, steps, body, truth)
