"""Twins: one nature for every method, however it is looked at."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import RandomNetwork
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
    truth, ensemble = twin_start(MODEL, near, 10, 1.0, 50, key=jax.random.key(3))
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
    start, (truth, *_) = run(nature=other)
    expected = other.step(start, jnp.zeros((), jnp.int32), key=jax.random.key(0))
    np.testing.assert_allclose(truth[0], expected, rtol=1e-5)


def test_cycles_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="multiple of every, got 12 and 5"):
        run(every=5)
