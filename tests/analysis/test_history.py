"""The means of past departures, by hand and in a cycle."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from tests.departures import departures_of, residuals_of
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.history import LARGEST, DepartureHistory, history_of
from vardax_core.observations.operators import Identity

MEMORY = 4.0
HISTORY = DepartureHistory((MEMORY,))
KEEP = math.exp(-1 / MEMORY)
USED = jnp.asarray([True, True, False])


def updated(past, innovation=(2.0, -1.0, 9.0), used=USED, increment=(0.5, 0.25, 1.0)):
    """One cycle with HBH' = .25 and R = .75, so that z is the innovation."""
    departures = departures_of(
        jnp.asarray(innovation), jnp.full((3,), 0.25), jnp.full((3,), math.sqrt(0.75)), used
    )
    return HISTORY.update(past, departures, residuals_with(jnp.asarray(increment)))


def residuals_with(increment):
    return residuals_of(jnp.zeros_like(increment), increment=increment)


def test_one_cycle_by_hand():
    """z is 2 and -1, z^2 - 1 is 3 and 0, and the increments are 1, 0.5 and 2 spreads."""
    past = updated(HISTORY.init(3, jnp.float64))
    by_hand = [[2.0, -1.0, 0.0], [3.0, 0.0, 0.0], [1.0, 0.5, 2.0], [1.0, 1.0, 0.0]]
    np.testing.assert_allclose(past, (1 - KEEP) * np.asarray(by_hand), rtol=1e-6, atol=1e-12)


def test_the_same_cycle_for_ever_is_its_own_mean():
    past = HISTORY.init(3, jnp.float64)
    for _ in range(60):
        past = updated(past)
    # exp(-60 / 4) is 3e-7.
    np.testing.assert_allclose(past[:, 0], [2.0, 3.0, 1.0, 1.0], rtol=1e-5)
    assert np.all(np.asarray(past[:2, 2]) == 0)


def test_a_cycle_without_an_observation_teaches_nothing():
    before = updated(HISTORY.init(3, jnp.float64))
    np.testing.assert_array_equal(updated(before, used=jnp.zeros(3, bool)), before)


def test_wild_departures_count_as_large_ones_and_what_is_not_finite_not_at_all():
    start = HISTORY.init(3, jnp.float64)
    wild = updated(start, innovation=(1e6, 1.0, 1.0))
    np.testing.assert_allclose(wild[:2, 0], (1 - KEEP) * np.asarray([LARGEST, LARGEST**2 - 1]))
    lost = updated(start, innovation=(math.nan, 1.0, 1.0), increment=(math.inf, math.nan, 0.0))
    assert np.all(np.isfinite(lost))
    np.testing.assert_array_equal(lost[:2, 0], start[:2, 0])
    assert lost[2, 1] == 0


def test_chance_makes_standardised_means_of_order_one():
    """z of independent cycles has such a mean of variance (1 - k) / (1 + k), near 1 / (2 m)."""
    history = DepartureHistory((50.0,))
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(400, 500)))
    past = history.init(500, z.dtype)
    ones, used = jnp.ones(500, z.dtype), jnp.ones(500, bool)
    for row in z:
        departures = departures_of(math.sqrt(2.0) * row, ones, ones, used)
        past = history.update(past, departures, residuals_with(0 * row))
    # The standard deviation of 500 values is known to 1 / sqrt(1000), here five times over.
    assert abs(np.std(history.standardised(past)[0]) - 1) < 5 / math.sqrt(1000)


def test_only_a_step_that_asks_has_a_history():
    assert history_of(ETKF(Identity((3,)))) is None


def test_each_memory_has_its_own_means():
    short, long = DepartureHistory((2.0,)), DepartureHistory((9.0,))
    both = DepartureHistory((2.0, 9.0))
    rng = np.random.default_rng(1)
    found = {h: h.init(4, jnp.float64) for h in (short, long, both)}
    for row in jnp.asarray(rng.normal(size=(5, 4))):
        ones = jnp.ones(4)
        for history, past in found.items():
            departures = departures_of(row, ones, ones, ones > 0)
            found[history] = history.update(past, departures, residuals_with(row / 2))
    apart = [h.standardised(found[h]) for h in (short, long)]
    np.testing.assert_array_equal(both.standardised(found[both]), jnp.concatenate(apart))
    assert both.size == 2 * short.size == len(found[both])


@pytest.mark.parametrize("memories", [(), (0.0,), (5.0, -1.0)])
def test_a_memory_of_nothing_is_refused(memories):
    with pytest.raises(ValueError, match="expected memories of more than 0 cycles"):
        DepartureHistory(memories)
