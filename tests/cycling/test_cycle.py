"""Laws of the forecast-analysis cycle on a small Lorenz-96 twin."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.history import DepartureHistory
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.scan import run_segment
from vardax_core.experiments.segments import restore_state, state_arrays
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.observations.quality import QualityCode
from vardax_core.types import Observations, ResultCode

N, MEMBERS, CYCLES = 8, 6, 10
KEY = jax.random.key(3)
MODEL = Lorenz96(state_shape=(N,), forcing=8.0, step_size=0.05, interval=360)


def local_transform(**how) -> LocalTransformStep:
    """An amortized analysis with random weights, so that every input counts."""
    step = LocalTransformStep.create(
        Identity((N,)), centre=2.0, scale=4.0, reach=2, width=8, key=jax.random.key(7), **how
    )
    weight = step.network.last.weight
    return eqx.tree_at(
        lambda s: s.network.last.weight,
        step,
        0.1 * jax.random.normal(jax.random.key(8), weight.shape, weight.dtype),
    )


PROGRAM = CycleProgram(
    model=MODEL,
    step=ETKF(Identity((N,)), 1.05),
    adaptation=SpreadAdaptation(),
    score_weights=jnp.ones(N, jnp.float32),
    spread_scale=1.0,
)
REMEMBERING = dataclasses.replace(
    PROGRAM,
    step=local_transform(
        first_guess=ETKF(Identity((N,)), 1.05), history=DepartureHistory((5.0, 20.0))
    ),
    adaptation=None,
)


@pytest.fixture(scope="module")
def truth():
    start = MODEL.forcing + jax.random.normal(jax.random.key(1), (N,), jnp.float32)
    run = MODEL.trajectory(start, jnp.zeros((), jnp.int32), 200, key=KEY)
    return np.asarray(run[-CYCLES - 1 :])


@pytest.fixture(scope="module")
def start(truth):
    noise = np.random.default_rng(0).normal(size=(MEMBERS, N)).astype(np.float32)
    return PROGRAM.initial_state(jnp.asarray(truth[0] + noise), jnp.zeros((), jnp.int32))


@pytest.fixture
def values(truth):
    noise = np.random.default_rng(1).normal(size=(CYCLES, N)).astype(np.float32)
    return truth[1:] + noise


@pytest.fixture(scope="module")
def cycled(truth, start):
    """Run cycles first .. last - 1 as one segment padded to `CYCLES`; what is given is NaN."""

    def run(values, first=0, last=CYCLES, state=start, program=PROGRAM):
        rows = np.minimum(np.arange(first, first + CYCLES), last - 1)
        given = jnp.asarray(values[rows][:, None])
        observations = jax.vmap(Observations.from_values)(
            given,
            jnp.ones_like(given),
            jnp.asarray(rows[:, None] * MODEL.interval, jnp.int32),
        )
        missing = ~observations.mask[:, 0]
        quality = jnp.where(missing, int(QualityCode.MISSING), int(QualityCode.KEPT))
        state, output = run_segment(
            program,
            state,
            jax.vmap(CycleInput)(
                observations,
                quality.astype(jnp.int8),
                jnp.asarray(truth[1:][rows]),
                jnp.arange(CYCLES) < last - first,
            ),
            key=KEY,
        )
        return state, jax.tree.map(lambda x: np.asarray(x[: last - first]), output)

    return run


def assert_same_bits(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_an_iterative_analysis_is_told_where_the_background_came_from(cycled, values, start):
    """In every cycle that has observations; its cycles, too, are the same wherever they are cut."""
    program = dataclasses.replace(PROGRAM, step=IterativeETKF(Identity((N,))), adaptation=None)
    values[4] = np.nan
    whole_state, whole = cycled(values, program=program)
    iterated = whole.analysis.diagnostics["iterated"]
    assert iterated[np.arange(CYCLES) != 4].mean() > 0.5
    np.testing.assert_array_equal(whole.analysis.ensemble[4], whole.background[4])
    state, _ = cycled(values, 0, 6, program=program)
    state, rest = cycled(values, 6, CYCLES, state, program=program)
    assert_same_bits(state, whole_state)
    assert_same_bits(rest.analysis, jax.tree.map(lambda x: x[6:], whole.analysis))


@pytest.mark.parametrize("cuts", [(5,), (3,), (1, 4, 9)])
def test_cycles_are_the_same_bits_wherever_they_are_cut(cycled, values, start, cuts):
    whole_state, whole = cycled(values)
    state, parts = start, []
    for first, last in zip((0, *cuts), (*cuts, CYCLES), strict=True):
        state, part = cycled(values, first, last, state)
        parts.append(part)
    assert_same_bits(state, whole_state)
    assert_same_bits(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole)


def test_padding_leaves_the_state_bit_for_bit(cycled, values, start):
    state, _ = cycled(values, 0, 0, start)
    assert_same_bits(state, start)
    moved, _ = cycled(values, 0, 1, start)
    assert int(moved.cycle) == 1
    assert int(moved.time) == MODEL.interval


def test_the_run_follows_the_truth(cycled, values, truth):
    _, output = cycled(values)
    error = output.analysis.mean - truth[1:]
    # A cycled filter beats its own observations, whose errors have a mean square of 1.
    assert np.mean(error**2) < np.mean((values - truth[1:]) ** 2)
    assert (output.analysis.result == int(ResultCode.OK)).all()
    assert (output.departures.quality == int(QualityCode.KEPT)).all()


def test_a_cycle_without_observations_is_a_forecast_and_the_chain_goes_on(cycled, values):
    values[4] = np.nan
    _, output = cycled(values)
    codes = output.analysis.result.tolist()
    assert codes == [
        int(ResultCode.NO_OBSERVATIONS if i == 4 else ResultCode.OK) for i in range(CYCLES)
    ]
    np.testing.assert_array_equal(output.analysis.ensemble[4], output.background[4])
    ahead = MODEL.forecast(
        jnp.asarray(output.analysis.ensemble[3]), jnp.zeros((), jnp.int32), key=KEY
    )
    # One float32 step of values below 20: rounding of 2e-6 in each of some 20 operations.
    np.testing.assert_allclose(output.background[4], ahead, atol=5e-5)
    assert (output.departures.quality[4] == int(QualityCode.MISSING)).all()
    assert np.isnan(output.departures.innovation[4]).all()
    assert output.spread_factor[4] == 1
    assert not np.array_equal(output.analysis.ensemble[5], output.background[5])
    assert np.isfinite(output.analysis.ensemble).all()


def test_one_wild_observation_is_rejected_and_changes_nothing_else(cycled, values):
    wild, missing = values.copy(), values.copy()
    wild[4, 2] += 60
    missing[4, 2] = np.nan
    state, output = cycled(wild)
    expected = np.full((CYCLES, N), int(QualityCode.KEPT))
    expected[4, 2] = int(QualityCode.FIRST_GUESS)
    np.testing.assert_array_equal(output.departures.quality, expected)
    without_state, without = cycled(missing)
    assert_same_bits(state, without_state)
    assert_same_bits(output.analysis, without.analysis)
    assert output.departures.innovation[4, 2] > 50


def test_a_departure_of_the_whole_network_is_the_fault_of_the_background(cycled, values):
    values[4] += 60
    _, output = cycled(values)
    assert (output.departures.quality == int(QualityCode.KEPT)).all()
    assert output.analysis.mean[4].mean() > output.background[4].mean()


def test_the_past_of_the_departures_goes_with_the_state(cycled, values, start):
    """Cut anywhere and taken to the store and back, it is the same; and the analysis heeds it."""
    values[2:5, 3] = np.nan
    first = dataclasses.replace(start, past=REMEMBERING.step.history.init(N))
    whole_state, whole = cycled(values, state=first, program=REMEMBERING)
    half_state, _ = cycled(values, 0, 4, first, REMEMBERING)
    assert_same_bits(restore_state(state_arrays(half_state)), half_state)
    state, rest = cycled(values, 4, CYCLES, restore_state(state_arrays(half_state)), REMEMBERING)
    assert_same_bits(state, whole_state)
    assert_same_bits(rest.analysis, jax.tree.map(lambda x: x[4:], whole.analysis))
    forgetful = dataclasses.replace(half_state, past=jnp.zeros_like(half_state.past))
    _, other = cycled(values, 4, CYCLES, forgetful, REMEMBERING)
    assert np.any(other.analysis.ensemble != rest.analysis.ensemble)


def test_the_past_is_the_mean_of_the_departures_that_are_stored(cycled, values, start):
    values[2:5, 3] = np.nan
    history = REMEMBERING.step.history
    past = history.init(N)
    first = dataclasses.replace(start, past=past)
    state, output = cycled(values, state=first, program=REMEMBERING)
    for cycle in range(CYCLES):
        departures, residuals = jax.tree.map(
            lambda x, n=cycle: jnp.asarray(x[n]), (output.departures, output.residuals)
        )
        increment = output.analysis.mean[cycle] - output.background[cycle].mean(axis=0)
        np.testing.assert_allclose(residuals.increment, increment, atol=1e-5)
        past = history.update(past, departures, residuals)
    # Means of departures of some tens, in single precision.
    np.testing.assert_allclose(state.past, past, atol=1e-5)
    assert np.abs(past).max() > 0.01


def test_the_keys_of_every_purpose_and_cycle_differ():
    keys = {
        tuple(jax.random.key_data(cycle_key(KEY, cycle, purpose)).tolist())
        for cycle in range(3)
        for purpose in Purpose
    }
    assert len(keys) == 3 * len(Purpose)
    traced = eqx.filter_jit(cycle_key)(KEY, jnp.asarray(2, jnp.int32), Purpose.ANALYSIS)
    assert_same_bits(
        jax.random.key_data(traced), jax.random.key_data(cycle_key(KEY, 2, Purpose.ANALYSIS))
    )
