"""The monitor of departures: its checks by hand, its false alarms, its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.departures import departures_of, residuals_of
from vardax_core.cycling.trust import CHECKS, DepartureMonitor, departure_checks

PERIOD, FALSE_ALARMS = 1000, 0.05


def monitor_of(rng, **options):
    return DepartureMonitor.calibrated(rng.standard_normal((8, 1500, len(CHECKS))), **options)


def test_checks_by_hand():
    """Two observations used, one refused by the first-guess check, one missing."""
    checks, stations = departure_checks(
        departures_of(
            jnp.array([3.0, -5.0, 7.0, jnp.nan]),
            variance=jnp.array([4.0, 9.0, 1.0, 1.0]),
            error_sd=jnp.array([5.0**0.5, 4.0, 1.0, 1.0]),
            used=jnp.array([True, True, False, False]),
            rejected=jnp.array([False, False, True, False]),
        ),
        residuals_of(jnp.array([1.0, -2.0, 6.0, jnp.nan])),
        stations=jnp.array([[0.5, 0.0, 7.0, 7.0], [1.0, 1.0, 2.0, 3.0]]),
    )
    kept = np.exp(-1 / 6)
    refused = 2 * kept + (1 - kept) * 49 / 2
    np.testing.assert_allclose(stations, [[1.0, -1.0, 0.0, 0.0], [1.0, 1.0, refused, 3.0]])
    largest = np.log(1 + 1) - np.log(1 + 2 * np.log(2 * 2))
    expected = [0.0, (2 - 2) / 2, 0.5, (3 + 10) / (5 + 16) - 1, 1 / 3, largest, np.log(refused)]
    np.testing.assert_allclose(checks, expected, rtol=1e-12)


def test_a_cycle_without_observations_says_nothing_and_changes_nothing():
    nothing, full = jnp.zeros(3, bool), jnp.full(3, jnp.nan)
    departures = departures_of(full, full, full, nothing)
    checks, stations = departure_checks(departures, residuals_of(full), jnp.ones((2, 3)))
    assert np.all(np.asarray(checks) == 0)
    monitor = monitor_of(np.random.default_rng(0))
    state = monitor.init(3, checks.dtype)
    after = monitor.update(state, checks + 9.0, stations, jnp.asarray(False))
    assert all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (state, after)), strict=True)
    )


def test_alarms_are_as_rare_as_asked(key):
    """400 periods at 5 %: the binomial has sd 1.1 %, the threshold from 232 blocks about 2 %."""
    rng = np.random.default_rng(1)
    monitor = monitor_of(rng, false_alarms=FALSE_ALARMS, period=PERIOD)
    checks = jnp.asarray(rng.standard_normal((400, PERIOD + 60, len(CHECKS))))

    def run(rows):
        def body(state, row):
            state = monitor.update(state, row, state.stations, jnp.asarray(True))
            return state, monitor.trusts(state)

        return jax.lax.scan(body, monitor.init(1, rows.dtype), rows)[1][60:].all()

    rate = 1 - np.mean(jax.vmap(run)(checks))
    assert 0.005 < rate < 0.11


@pytest.mark.parametrize("check", range(len(CHECKS)))
def test_a_lasting_shift_of_one_check_is_noticed_and_forgotten(check):
    rng = np.random.default_rng(2)
    monitor = monitor_of(rng)
    state = monitor.init(1)
    update = jax.jit(lambda s, row: monitor.update(s, row, s.stations, jnp.asarray(True)))
    trusted = []
    for cycle in range(200):
        row = rng.standard_normal(len(CHECKS))
        row[check] += 3.0 * (20 <= cycle < 40)
        state = update(state, jnp.asarray(row, jnp.float32))
        trusted.append(bool(monitor.trusts(state)))
    assert all(trusted[:20])
    assert not all(trusted[20:40])
    # After 80 cycles the long memory of 12 keeps exp(-80 / 12) of the shift.
    assert all(trusted[120:])


def test_too_few_or_broken_cycles_are_refused():
    with pytest.raises(ValueError, match="20 blocks of 50 cycles"):
        DepartureMonitor.calibrated(np.zeros((1, 500, len(CHECKS))))
    broken = np.zeros((8, 1500, len(CHECKS)))
    broken[0, 3, 1] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        DepartureMonitor.calibrated(broken)
