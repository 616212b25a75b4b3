"""Faults of increments and of members that `benchmarks/watch.py` injects."""

import dataclasses
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from twins.learning import program_of
from twins.settings import SETTINGS

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.inflation import RelaxationToPriorSpread
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import local_network
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.increments import IncrementGuard
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput
from vardax_core.models.base import AbstractBalancedModel, AbstractForecastModel
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import Identity, PointSampling
from vardax_core.state.grids import Plane
from vardax_core.training.twin_cycles import twin_program
from vardax_core.types import Analysis, Observations, ensemble_mean, ensemble_spread

KINDS = (
    *("member", "checkerboard", "shifted", "unit", "flipped", "frozen"),
    *("identical", "swapped", "unbalanced", "land"),
)
HALF_WIDTH, RELAXATION = 3.0, 0.3
"""Of the localization of eddies, in points, and towards the background's spread."""
FAR = 1e3
PAIRS = 40
"""Runs with and without a guard, of which its cost is found."""


class Field(AbstractBalancedModel):
    """Streamfunction, its vorticity and a temperature on 16 x 32 points: waves that come and go.

    A state is a mean and smooth waves that are forgotten after ten steps; the vorticity is the
    Laplacian of the streamfunction throughout.
    """

    balance = "vorticity"

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (3, 16, 32)

    @property
    def interval(self) -> int:
        return 360

    def waves(self, key):
        """A smooth random field of unit variance."""
        shape = self.state_shape[1:]
        y, x = (jnp.fft.fftfreq(n, 1 / n) for n in shape)
        power = jnp.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * 3.0**2))
        found = jnp.fft.ifft2(jnp.fft.fft2(jax.random.normal(key, shape)) * power).real
        return found / jnp.sqrt(jnp.mean(power**2))

    def state(self, key):
        """Waves of all channels with their scales, without a mean."""
        flow, heat = (self.waves(k) for k in jax.random.split(key))
        return jnp.stack([flow, laplacian(flow), 10 * heat])

    def mean(self):
        return jnp.asarray([0.0, 0.0, 280.0])[:, None, None]

    def step(self, state, time, *, key):
        keep = np.exp(-0.1)
        new = self.state(key)
        return self.mean() + keep * (state - self.mean()) + np.sqrt(1 - keep**2) * new

    def balanced(self, state):
        flow, vorticity, _ = state
        return jnp.stack([laplacian(flow) - vorticity, vorticity, vorticity])


def laplacian(field):
    """Of a doubly periodic field, in units of the grid."""
    around = sum(jnp.roll(field, shift, axis) for axis in (0, 1) for shift in (-1, 1))
    return around - 4 * field


class Faulty(AbstractAnalysisStep):
    """A step whose analysis is spoilt, by a number in `KINDS`; -1 for none."""

    inner: AbstractAnalysisStep
    operator: AbstractObservationOperator
    mask: jax.Array | None
    fault: jax.Array

    def analyse(self, background, observations, *, key) -> Analysis:
        made = self.inner.analyse(background, observations, key=key)
        before = ensemble_mean(background)
        if self.mask is not None:
            sea = self.mask
            made = moved(made, jnp.where(sea, made.ensemble, background))
        change = made.mean - before
        shape = before.shape
        axes = tuple(range(1, len(shape))) if len(shape) > 1 else None
        sd = jnp.sqrt(jnp.mean(ensemble_spread(background) ** 2, axis=axes, keepdims=True))
        number = sum(jnp.indices(shape[-2:] if len(shape) > 1 else shape))
        board = jnp.where(number % 2 == 0, 1.0, -1.0)
        swapped = change if len(shape) == 1 else change[jnp.asarray([1, 0, *range(2, shape[0])])]
        land = jnp.zeros(shape) if self.mask is None else jnp.where(self.mask, 0.0, 1.0)
        spoilt = {
            "member": made.ensemble.at[(2, *(0 for _ in shape[:-1]), 5)].add(FAR * jnp.max(sd)),
            "checkerboard": made.ensemble + 2 * sd * board,
            "shifted": jnp.roll(made.ensemble, shape[-1] // 8, axis=-1),
            "flipped": made.ensemble - 2 * change,
            "identical": jnp.broadcast_to(made.mean, made.ensemble.shape),
            "swapped": made.ensemble - change + swapped,
            "unbalanced": made.ensemble - change + unbalanced(change),
            "land": made.ensemble + 2 * sd * land,
        }
        ensemble = made.ensemble
        for name, changed in spoilt.items():
            ensemble = jnp.where(self.fault == KINDS.index(name), changed, ensemble)
        return moved(made, ensemble)


def moved(analysis: Analysis, ensemble) -> Analysis:
    """The same analysis with other members."""
    return dataclasses.replace(
        analysis,
        ensemble=ensemble,
        mean=ensemble_mean(ensemble),
        spread=ensemble_spread(ensemble),
    )


def unbalanced(change):
    """Vorticity without its streamfunction: of two layers the small scales alone, as strong as all
    were; of a streamfunction and its vorticity the latter alone."""
    if change.ndim == 1:
        return change
    if change.shape[0] == 3:
        return change.at[0].set(0.0)
    y, x = (jnp.fft.fftfreq(n, 1 / n) for n in change.shape[-2:])
    small = jnp.hypot(y[:, None], x[None]) > change.shape[-1] / 4
    rough = jnp.fft.ifft2(jnp.fft.fft2(change) * small).real
    return rough * jnp.sqrt(jnp.mean(change**2) / jnp.mean(rough**2))


@dataclasses.dataclass(frozen=True)
class System:
    """Something that is cycled.

    Attributes:
        program: with a guard.
        start: a truth and members, from a key.
        error: of the observations.
        unit: what a stream in another unit makes of its values.
        kinds: of faults that it can have.
    """

    program: CycleProgram
    start: Callable
    error: jax.Array
    unit: Callable
    kinds: tuple[str, ...]


def guarded(model, step, operator, *, apart, mask=None, balance=False, **further) -> CycleProgram:
    """The program of a system, its step ready to be spoilt."""
    faulty = Faulty(step, operator, mask, jnp.asarray(-1))
    made = twin_program(model, faulty, **further)
    flat = None if mask is None else np.asarray(mask)
    guard = IncrementGuard.of(model, flat, apart=apart, balance=balance)
    return dataclasses.replace(made, increments=guard)


def near(model: AbstractForecastModel, members: int, scale, centre, steps: int):
    """How truth and members start: around a state on the attractor."""

    def start(key):
        first, noise = jax.random.split(key)
        truth = centre + scale * jax.random.normal(first, model.state_shape)
        zero = jnp.zeros((), jnp.int32)
        truth = jax.lax.fori_loop(
            0, steps, lambda n, x: model.step(x, zero, key=jax.random.fold_in(first, n)), truth
        )
        around = jax.random.normal(noise, (members, *model.state_shape))
        return truth, truth + 0.3 * jnp.std(truth) * around

    return start


def lorenz96() -> System:
    setting = SETTINGS["lorenz96"]
    n = setting.model.state_shape[0]
    operator = Identity((n,))
    step = FiniteSizeETKF(operator, certainty=setting.certainty)
    return System(
        guarded(setting.model, step, operator, apart=False),
        near(setting.model, setting.members, 1.0, setting.centre, 1000),
        jnp.full(n, setting.observing.typical_error),
        lambda values: 10 * values,
        ("member", "checkerboard", "shifted", "unit", "flipped", "frozen", "identical"),
    )


def era5_like() -> System:
    model = Field()
    rng = np.random.default_rng(3)
    mask = np.ones(model.state_shape[1:], bool)
    mask[4:8, 10:16] = False
    sea = np.flatnonzero(np.broadcast_to(mask, model.state_shape))
    places = np.sort(rng.choice(sea[sea >= 2 * mask.size], 60, replace=False))
    places = np.concatenate([np.sort(rng.choice(sea[sea < mask.size], 60, replace=False)), places])
    operator = PointSampling(jnp.asarray(places), model.state_shape)
    error = jnp.where(jnp.asarray(places) < mask.size, 0.2, 2.0)

    def start(key):
        first, others = jax.random.split(key)
        draw = jax.vmap(model.state)(jax.random.split(others, 40))
        return model.mean() + model.state(first), model.mean() + draw

    return System(
        guarded(
            model,
            FiniteSizeETKF(operator, certainty=2.0),
            operator,
            apart=True,
            mask=jnp.asarray(mask),
            balance=True,
        ),
        start,
        error,
        lambda values: values - 273.15,
        KINDS,
    )


def quasi_geostrophic() -> System:
    """Without localization a filter of 24 members loses two layers of eddies within 50 cycles, and
    then nothing that is put into it looks odd."""
    points, members = 32, 24
    model = QuasiGeostrophic(size=points, length=5e5, n_steps=24)
    size = 2 * points**2
    places = np.arange(0, size, 7)
    operator = PointSampling(jnp.asarray(places), model.state_shape)
    scale = model.shear / model.deformation_radius
    axis = np.arange(points, dtype=float)
    grid = Plane.from_axes(axis, axis, periods=(points, points))
    network = local_network(grid, grid.points()[places % points**2], HALF_WIDTH)
    step = RelaxationToPriorSpread(LETKF(operator, network), RELAXATION)
    return System(
        guarded(model, step, operator, apart=True, balance=True),
        near(model, members, 3 * scale, 0.0, 600),
        jnp.full(places.size, 0.3 * scale),
        lambda values: 10 * values,
        tuple(kind for kind in KINDS if kind != "land"),
    )


SYSTEMS = {"Lorenz-96": lorenz96, "ERA5-like": era5_like, "QG": quasi_geostrophic}


def observed(system: System, truth, time, key, spoil=False) -> CycleInput:
    """Observe a truth; every second observation is of a stream that may be in another unit."""
    operator = system.program.step.operator
    values = operator(truth) + system.error * jax.random.normal(key, system.error.shape)
    last = jnp.arange(values.size) >= values.size - values.size // 2
    values = jnp.where(spoil & last, system.unit(values), values)
    window = Observations(
        values[None], jnp.ones((1, values.size), bool), system.error[None], time[None]
    )
    return CycleInput(window, jnp.zeros(values.size, jnp.int32), truth, jnp.asarray(True))


def advance(system: System, program: CycleProgram, carry, number, key):
    """One clean cycle of a truth and its filter."""
    truth, state = carry
    for_truth, for_error = jax.random.split(jax.random.fold_in(key, number))
    truth = program.model.step(truth, state.time, key=for_truth)
    given = observed(system, truth, state.time + program.interval, for_error)
    state, output = program.run(state, given, keys=cycle_keys(key, state.cycle))
    return (truth, state), output


def clean(system: System, program: CycleProgram, runs: int, cycles: int, key):
    """Cycle runs side by side; the last truths and states, and whether each cycle was stopped."""

    def one(k):
        truth, ensemble = system.start(k)
        start = program.initial_state(ensemble, jnp.zeros((), jnp.int32))

        def body(carry, number):
            carry, output = advance(system, program, carry, number, k)
            error = jnp.mean((output.analysis.mean - carry[0]) ** 2)
            kept = (output.analysis.result != 0, error, jnp.mean(output.analysis.spread**2))
            return carry, kept

        return jax.lax.scan(body, (truth, start), jnp.arange(cycles))

    return eqx.filter_jit(jax.vmap(one))(jax.random.split(key, runs))


def stopped(system: System, carry, key) -> dict[str, tuple[bool, int]]:
    """Whether a cycle with each kind of fault is stopped before commit, and by which mark."""

    @eqx.filter_jit
    def run(fault, spoil, frozen):
        truth, state = carry
        program = system.program
        for_truth, for_error = jax.random.split(key)
        truth = program.model.step(truth, state.time, key=for_truth)
        given = observed(system, truth, state.time + program.interval, for_error, spoil)
        still = jnp.where(frozen, state.ensemble, jnp.nan)
        given = dataclasses.replace(given, background=still)
        step = dataclasses.replace(program.step, fault=fault)
        _, output = dataclasses.replace(program, step=step).run(
            state, given, keys=cycle_keys(key, state.cycle)
        )
        used = output.departures.used
        last = jnp.arange(used.size) >= used.size - used.size // 2
        seen = jnp.any(used & last)
        return output.method > 0, seen, output.increment_cause

    found = {}
    for kind in ("none", *system.kinds):
        number = KINDS.index(kind) if kind in KINDS else -1
        code, seen, cause = run(
            jnp.asarray(number), jnp.asarray(kind == "unit"), jnp.asarray(kind == "frozen")
        )
        found[kind] = (bool(code) or (kind == "unit" and not bool(seen)), int(cause))
    return found


class Losing(AbstractForecastModel):
    """A model that loses half of its members, drawn anew at every step."""

    inner: AbstractForecastModel

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.inner.state_shape

    @property
    def interval(self) -> int:
        return self.inner.interval

    def step(self, state, time, *, key):
        return self.inner.step(state, time, key=key)

    def forecast(self, ensemble, time, *, key):
        made = self.inner.forecast(ensemble, time, key=key)
        lost = jax.random.permutation(key, ensemble.shape[0]) < ensemble.shape[0] // 2
        return jnp.where(lost[:, None], jnp.nan, made)


def half_lost(runs: int, cycles: int, members: int, key) -> tuple[float, float]:
    """Spread over RMSE, and the RMSE, with half of the members lost in each cycle."""
    setting = SETTINGS["lorenz96"]
    system = lorenz96()
    step = system.program.step.inner
    program = program_of(setting, step)
    program = dataclasses.replace(program, model=Losing(setting.model))
    start = near(setting.model, members, 1.0, setting.centre, 1000)
    system = dataclasses.replace(system, program=program, start=start)
    _, (_, error, variance) = clean(system, program, runs, cycles, key)
    error, variance = (np.asarray(x)[:, cycles // 10 :] for x in (error, variance))
    return float(np.sqrt(variance.mean() / error.mean())), float(np.sqrt(error.mean()))


def cost(system: System, cycles: int, key) -> tuple[float, float]:
    """What the guard adds to the processor time of a cycle, as a share, and half of its 90 %
    interval: the median over pairs of runs with and without, in turn, since a machine's pace
    changes within seconds."""
    plain = dataclasses.replace(system.program, increments=None)
    runs = [
        eqx.filter_jit(lambda k, p=p: clean(system, p, 1, cycles, k)[1])
        for p in (plain, system.program)
    ]
    for run in runs:
        jax.block_until_ready(run(key))

    def timed(run):
        began = time.process_time()
        jax.block_until_ready(run(key))
        return time.process_time() - began

    pairs = [[timed(run) for run in order] for order in [runs, runs[::-1]] * (PAIRS // 2)]
    spent = np.asarray([pair[:: 1 - 2 * (n % 2)] for n, pair in enumerate(pairs)])
    ratios = spent[:, 1] / spent[:, 0] - 1
    drawn = np.random.default_rng(0).choice(ratios, (1000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.05, 0.95))
    return float(np.median(ratios)), float(high - low) / 2
