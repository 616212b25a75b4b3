"""Twins: one nature for every method, however it is looked at."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.two_scale_lorenz96 import TwoScaleLorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.nature import Nature
from vardax_core.training.observing import FixedNetwork, RandomNetwork, RecurringNetwork
from vardax_core.training.twin_cycles import cycle_twin, twin_start

N, CYCLES = 8, 12
MODEL = Lorenz96(state_shape=(N,))


def look(memory, truth, given, output):
    window = given.observations
    kept = (truth, window.values, window.mask, output.analysis.ensemble, memory)
    return memory + 1, kept


@functools.cache
def run(inflation=1.0, every=1, forecast_steps=1, nature=None):
    program = CycleProgram(
        model=MODEL,
        step=ETKF(Identity((N,)), inflation=inflation),
        adaptation=None,
        score_weights=jnp.ones(N, jnp.float32),
        spread_scale=1.0,
        forecast_steps=forecast_steps,
    )
    near = jnp.full((N,), 8.0, jnp.float32)
    truth, ensemble = twin_start(Nature(MODEL), near, 10, 1.0, 50, key=jax.random.key(3))
    kept = jax.jit(
        lambda: cycle_twin(
            program,
            RandomNetwork((0.25, 4.0)),
            truth,
            ensemble,
            CYCLES,
            look,
            jnp.zeros((), jnp.int32),
            every=every,
            nature=nature,
            key=jax.random.key(4),
        )
    )()
    return truth, kept


@pytest.mark.slow
def test_two_methods_see_the_same_nature():
    (_, plain), (_, inflated) = run(), run(inflation=1.5)
    for mine, other in zip(plain[:3], inflated[:3], strict=True):
        # Two compiled programs may round differently; chaos has had 12 cycles of 0.05.
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)
    assert not np.array_equal(plain[3], inflated[3])


def test_every_third_cycle_is_the_same_cycle():
    (_, each), (_, third) = run(), run(every=3)
    for whole, part in zip(each, third, strict=True):
        # Loops of another shape may round differently; chaos has had 12 cycles of 0.05.
        np.testing.assert_allclose(np.asarray(whole)[2::3], part, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(third[4], [2, 5, 8, 11])


def test_nature_advances_by_the_interval_of_the_cycle():
    start, (truth, *_) = run(forecast_steps=2)
    now = jnp.zeros((), jnp.int32)
    for _ in range(2):
        start = MODEL.step(start, now, key=jax.random.key(0))
    np.testing.assert_allclose(truth[0], start, rtol=1e-5)


def test_nature_may_be_another_model_than_the_forecast():
    other = Lorenz96(forcing=9.0, state_shape=(N,))
    start, (truth, *_) = run(nature=Nature(other))
    expected = other.step(start, jnp.zeros((), jnp.int32), key=jax.random.key(0))
    np.testing.assert_allclose(truth[0], expected, rtol=1e-5)


def slow_part(state):
    return state[:N]


def test_a_nature_may_have_more_to_its_state_than_the_forecast():
    """Its slow variables are observed and scored; its own state goes on with the fast ones."""
    two = TwoScaleLorenz96(slow=N, fast=4)
    nature = Nature(two, slow_part, jnp.zeros(two.state_shape))
    given_start, members = twin_start(nature, jnp.zeros(N), 10, 1.0, 200, key=jax.random.key(3))
    assert given_start.shape == (N * 5,)
    assert members.shape == (10, N)
    # Ten members of unit error: their mean is within five standard errors of the slow variables.
    assert np.abs(members.mean(axis=0) - given_start[:N]).max() < 5 / 10**0.5
    program = CycleProgram(MODEL, ETKF(Identity((N,)), 1.05), None, jnp.ones(N), 1.0)

    def look(memory, state, given, output):
        return memory, (state, given.truth, given.observations.values[0])

    states, truths, values = jax.jit(
        lambda: cycle_twin(
            program,
            FixedNetwork(0.1),
            given_start,
            members,
            3,
            look,
            nature=nature,
            key=jax.random.key(4),
        )
    )()
    now = jnp.zeros((), jnp.int32)
    expected = two.step(given_start, now, key=jax.random.key(0))
    np.testing.assert_allclose(states[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(truths, states[:, :N])
    assert np.abs(values - truths).max() < 0.1 * 5
    with pytest.raises(ValueError, match=r"near has the shape \(3,\), a state of the model"):
        Nature(two, slow_part, jnp.zeros(3))


def test_a_network_that_moves_is_told_the_cycle():
    there = jnp.arange(N)[None] % 3 == jnp.arange(3)[:, None]
    program = CycleProgram(MODEL, ETKF(Identity((N,)), 1.05), None, jnp.ones(N), 1.0)
    near = jnp.full((N,), 2.3)
    truth, ensemble = twin_start(Nature(MODEL), near, 10, 1.0, 50, key=jax.random.key(3))

    def look(memory, state, given, output):
        return memory, given.observations.mask[0]

    seen = jax.jit(
        lambda: cycle_twin(
            program, RecurringNetwork(there, 1.0), truth, ensemble, 7, look, key=jax.random.key(4)
        )
    )()
    np.testing.assert_array_equal(seen, np.asarray(there)[np.arange(7) % 3])


def test_cycles_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="multiple of every, got 12 and 5"):
        run(every=5)
