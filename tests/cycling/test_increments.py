"""The guard of increments: what it stops, and that clean cycles are as they were without it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.increments import (
    AWAY,
    EXPECTED,
    FEWEST,
    MARKED,
    MEMORY,
    SQUARES,
    IncrementGuard,
)
from vardax_core.cycling.marks import KINDS, NAMES
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.scan import run_segment
from vardax_core.experiments.segments import restore_state, state_arrays
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import Identity
from vardax_core.types import Analysis, Observations, ResultCode, ensemble_mean

N, MEMBERS, CYCLES, FAULT = 16, 10, 60, 50
MODEL = Lorenz96(state_shape=(N,))
MASK = jnp.arange(N) != 3


FAULTS = (
    *("none", "far", "checkerboard", "shifted"),
    *("flipped", "nothing", "identical", "masked"),
)


class Faulty(AbstractAnalysisStep):
    """An ETKF that goes wrong while the window's time says so.

    Attributes:
        fault: number in `FAULTS` of what goes wrong.
        since: valid time in minutes of the first analysis that does.
    """

    operator: AbstractObservationOperator
    fault: jax.Array
    since: int = eqx.field(static=True)

    def analyse(self, background, observations, *, key) -> Analysis:
        made = ETKF(self.operator, 1.05).analyse(background, observations, key=key)
        before = ensemble_mean(background)
        sign = jnp.where(jnp.arange(N) % 2 == 0, 1.0, -1.0)[None]
        spoilt = {
            "none": made.ensemble,
            "far": made.ensemble.at[2, 5].add(1e3),
            "checkerboard": made.ensemble + sign,
            "shifted": jnp.roll(made.ensemble, 1, axis=-1),
            "flipped": made.ensemble - 2 * (made.mean - before)[None],
            "nothing": made.ensemble + (before - made.mean)[None],
            "identical": jnp.broadcast_to(made.mean[None], made.ensemble.shape),
            "masked": made.ensemble.at[:, 3].add(1.0),
        }
        changed = jnp.stack([spoilt[name] for name in FAULTS])[self.fault]
        wrong = observations.times[-1] >= self.since
        ensemble = jnp.where(wrong, changed, made.ensemble)
        mean = jnp.where(wrong, ensemble_mean(changed), made.mean)
        return dataclasses.replace(made, ensemble=ensemble, mean=mean)


class Masking(AbstractAnalysisStep):
    """A step that leaves a point as it was."""

    inner: Faulty
    operator: AbstractObservationOperator

    def analyse(self, background, observations, *, key) -> Analysis:
        made = self.inner.analyse(background, observations, key=key)
        late = (self.inner.fault == FAULTS.index("masked")) & (
            observations.times[-1] >= self.inner.since
        )
        keep = MASK | late
        return dataclasses.replace(
            made,
            ensemble=jnp.where(keep[None], made.ensemble, background),
            mean=jnp.where(keep, made.mean, ensemble_mean(background)),
        )


def program(fault, guard):
    operator = Identity((N,))
    return CycleProgram(
        model=MODEL,
        step=Masking(
            Faulty(operator, jnp.asarray(FAULTS.index(fault)), (FAULT + 1) * MODEL.interval),
            operator,
        ),
        adaptation=None,
        score_weights=jnp.ones(N),
        spread_scale=1.0,
        increments=IncrementGuard.of(MODEL, MASK, apart=False) if guard else None,
    )


@pytest.fixture(scope="module")
def inputs():
    """Cycles of a truth, and the ensemble before the first."""
    start, noise, members = jax.random.split(jax.random.key(7), 3)
    zero = jnp.zeros((), jnp.int32)
    truth = MODEL.trajectory(2.4 + jax.random.normal(start, (N,)), zero, 500 + CYCLES, key=start)
    truth = truth[500:]
    times = (1 + jnp.arange(CYCLES, dtype=jnp.int32)) * MODEL.interval
    values = truth + 0.5 * jax.random.normal(noise, truth.shape)
    window = jax.vmap(Observations.from_values)(
        values[:, None], jnp.full((CYCLES, 1, N), 0.5), times[:, None]
    )
    quality = jnp.zeros((CYCLES, N), jnp.int32)
    given = jax.vmap(CycleInput)(window, quality, truth, jnp.ones(CYCLES, bool))
    return given, truth[:1] + 0.5 * jax.random.normal(members, (MEMBERS, N))


def run(made, inputs, key):
    given, ensemble = inputs
    start = made.initial_state(ensemble, jnp.zeros((), jnp.int32))
    return run_segment(made, start, given, key=key)


@pytest.mark.slow
def test_clean_cycles_are_bit_for_bit_those_without_a_guard(inputs, key):
    state, plain = run(program("none", False), inputs, key)
    guarded_state, guarded = run(program("none", True), inputs, key)
    np.testing.assert_array_equal(guarded.analysis.ensemble, plain.analysis.ensemble)
    np.testing.assert_array_equal(guarded_state.ensemble, state.ensemble)
    assert not np.any(guarded.increment_cause)
    assert int(guarded_state.increments.count) == CYCLES


STOPPED_BY = {
    "far": {"widening", "narrowing"},
    "checkerboard": {"size", "place", "roughness", "agreement"},
    "shifted": {"size", "place", "masked"},
    "flipped": {"agreement"},
    "nothing": {"size"},
    "identical": {"narrowing"},
    "masked": {"masked", "place"},
}


@pytest.mark.parametrize("fault", STOPPED_BY)
def test_a_fault_is_stopped_in_the_cycle_in_which_it_begins(fault, inputs, key):
    _, output = run(program(fault, True), inputs, key)
    assert not np.any(output.increment_cause[:FAULT])
    assert NAMES[int(output.increment_cause[FAULT])] in STOPPED_BY[fault]
    assert int(output.analysis.result[FAULT]) == ResultCode.IMPLAUSIBLE
    assert int(output.method[FAULT]) == 1
    np.testing.assert_array_equal(output.analysis.ensemble[FAULT], output.background[FAULT])


def test_a_change_that_stays_is_usual_after_a_while(inputs, key):
    """The background is kept meanwhile, so that the observations bring the truth back."""
    guard = IncrementGuard.of(MODEL, apart=False)
    state = guard.init(inputs[1])
    number = len(guard.causes(1))
    rng = np.random.default_rng(0)
    one = jnp.asarray(10.0)
    learn = jax.jit(lambda s, m: learned(guard, s, m))
    for _ in range(MEMORY):
        state = learn(state, jnp.asarray(rng.normal(size=number) * 0.1))
    shifted = jnp.full(number, 5.0)
    assert int(guard.judged(shifted, guard.expected(state, one), 1)) > 0
    for _ in range(40):
        state = learn(state, shifted)
    assert int(guard.judged(shifted, guard.expected(state, one), 1)) == 0


def learned(guard, state, marks):
    """The state after a cycle with such marks and ten observations."""
    from vardax_core.observations.departures import Departures

    window = Observations(
        jnp.zeros((1, N)), (jnp.arange(N) < 10)[None], jnp.ones((1, N)), jnp.zeros(1, jnp.int32)
    )
    background = jnp.zeros((MEMBERS, N)).at[0].set(1.0)
    departures = Departures.of(Identity((N,)), background, window)
    mean = ensemble_mean(background)
    found = guard.expected(state, jnp.asarray(10.0))
    expected = jnp.stack([found.value, found.sd, found.limit])
    diagnostics = {MARKED: marks, SQUARES: jnp.zeros((1, N)), AWAY: found.away, EXPECTED: expected}
    made = Analysis(background, mean, mean, jnp.asarray(0), diagnostics)
    return guard.update(state, made, departures, jnp.asarray(True))


def test_nothing_is_judged_before_enough_is_known(inputs):
    guard = IncrementGuard.of(MODEL, apart=False)
    state = dataclasses.replace(guard.init(inputs[1]), count=jnp.asarray(FEWEST - 1.0))
    marks = jnp.full(len(guard.causes(1)), 1e3)
    assert int(guard.judged(marks, guard.expected(state, jnp.asarray(1.0)), 1)) == 0


def test_an_unusual_number_of_observations_has_wide_limits(inputs):
    """Nothing is known of how the marks depend on it where it never changed."""
    guard = IncrementGuard.of(MODEL, apart=False)
    state = guard.init(inputs[1])
    moments = state.moments.at[1].set(0.01)
    known = jnp.asarray([np.log(1000.0), 0.0], moments.dtype)
    state = dataclasses.replace(state, count=jnp.asarray(200.0), moments=moments, predictor=known)
    usual, few = (guard.expected(state, jnp.asarray(count)).limit for count in (1000.0, 10.0))
    assert np.all(few > 10 * usual)


def test_a_balance_is_that_of_the_model():
    """Vorticity without its streamfunction: small scales have next to none of it."""
    model = QuasiGeostrophic(size=16)
    guard = IncrementGuard.of(model, apart=True, balance=True)
    assert KINDS[guard.causes(2)[-1] - 1].__name__ == "Balance"
    with pytest.raises(ValueError, match="leave the balance out"):
        IncrementGuard.of(MODEL, apart=False, balance=True)


def test_what_is_remembered_goes_through_a_store_bit_for_bit(inputs, key):
    made = program("none", True)
    start = made.initial_state(inputs[1], jnp.zeros((), jnp.int32))
    again = restore_state(state_arrays(start))
    assert all(map(np.array_equal, jax.tree.leaves(start), jax.tree.leaves(again)))
    older = {k: v for k, v in state_arrays(start).items() if not k.startswith("increments_")}
    assert made.fitted(restore_state(older)).increments is not None
