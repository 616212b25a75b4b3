"""A monitor calibrated on a twin: quiet there, not where the observations are wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.cycling.trust import CHECKS, DepartureMonitor
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.trusted_cycles import calibrated_monitor, trusted_checks
from vardax_core.training.twin_cycles import TwinPlan

N = 12
MODEL = Lorenz96(state_shape=(N,))
STEP = FiniteSizeETKF(Identity((N,)))
NEAR = jnp.full((N,), 8.0, jnp.float32)
SIZE = TwinPlan(streams=4, cycles=400, spin_up=100, members=14, attractor=200)


@pytest.fixture(scope="module")
def usual():
    return trusted_checks(STEP, MODEL, FixedNetwork(1.0), NEAR, SIZE, key=jax.random.key(0))


def test_the_checks_of_a_filter_that_works_are_near_zero(usual):
    """Bias and persistence are averages of products of mean zero; chi2 and residual are near it
    for a filter whose spread is about right."""
    assert usual.shape == (4, 400, len(CHECKS))
    mean = dict(zip(CHECKS, usual.mean(axis=(0, 1)), strict=True))
    assert abs(mean["bias"]) < 0.1
    assert abs(mean["persistence"]) < 0.3
    assert abs(mean["chi2"]) < 0.5
    assert abs(mean["residual"]) < 0.2
    assert mean["rejected"] < 0.01


def test_other_streams_are_quiet_and_other_errors_are_not(usual):
    monitor = DepartureMonitor.calibrated(usual)
    quiet = trusted_checks(STEP, MODEL, FixedNetwork(1.0), NEAR, SIZE, key=jax.random.key(1))

    def largest(checks):
        def body(state, row):
            state = monitor.update(state, row, state.stations, jnp.asarray(True))
            return state, monitor.score(state)

        run = jax.vmap(lambda rows: jax.lax.scan(body, monitor.init(1, rows.dtype), rows)[1])
        return np.asarray(run(jnp.asarray(checks))).max(axis=1)

    # One alarm in 1000 cycles has probability 0.01; two of these four streams of 400, 1e-4.
    assert np.sum(largest(quiet) > monitor.threshold) <= 1
    shifted = quiet.copy()
    shifted[:, 200:, CHECKS.index("chi2")] += 3.0
    assert np.all(largest(shifted) > monitor.threshold)


@pytest.mark.slow
def test_one_call_gives_the_same_monitor(usual):
    small = SIZE._replace(streams=12, cycles=160, spin_up=20)
    made = [
        calibrated_monitor(STEP, MODEL, FixedNetwork(1.0), NEAR, small, key=jax.random.key(2))
        for _ in range(2)
    ]
    for a, b in zip(*map(jax.tree.leaves, made), strict=True):
        np.testing.assert_array_equal(a, b)
