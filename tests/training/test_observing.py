"""Networks drawn for training: their shares, gaps, outages and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.training.observing import (
    FixedNetwork,
    GaussianErrors,
    LaplaceErrors,
    RandomNetwork,
    RecurringNetwork,
)

N, DRAWS = 40, 2000
NOW = jnp.zeros((), jnp.int32)
ERRORS = (0.25, 4.0)


def drawn(system, key):
    keys = jax.random.split(key, DRAWS)
    draw = jax.jit(jax.vmap(lambda k: system.draw(N, jnp.dtype(float), cycle=NOW, key=k)))
    return tuple(np.asarray(x) for x in draw(keys))


def test_a_fixed_network_is_the_same_each_time(key):
    mask, error_sd = drawn(FixedNetwork(1.5, every=2), key)
    assert np.all(mask == (np.arange(N) % 2 == 0))
    assert np.all(error_sd == 1.5)


def test_shares_and_errors_fill_their_ranges(key):
    mask, error_sd = drawn(RandomNetwork(ERRORS, observed=(0.2, 1.0), outage=0.0), key)
    share = mask.mean(axis=1)
    assert share.min() == pytest.approx(0.2, abs=0.5 / N)
    assert share.max() == pytest.approx(1.0, abs=0.5 / N)
    # A mean of 2000 uniform draws of sd 0.8 / 12^0.5 is within five standard errors of 0.6.
    assert share.mean() == pytest.approx(0.6, abs=5 * 0.8 / (12 * DRAWS) ** 0.5)
    log_variance = 2 * np.log(error_sd[:, 0])
    assert np.all(error_sd == error_sd[:, :1])
    assert log_variance.min() >= np.log(0.25) - 1e-12
    assert log_variance.max() <= np.log(4) + 1e-12
    spread = np.log(16) / 12**0.5
    assert log_variance.mean() == pytest.approx(0, abs=5 * spread / DRAWS**0.5)
    # No point is preferred.
    assert np.all(np.abs(mask.mean(axis=0) - 0.6) < 5 * 0.5 / DRAWS**0.5 + 0.02)


def test_the_typical_error_is_in_the_middle_of_those_drawn(key):
    """Of a log-uniform variance, the median is the root of the product of its ends."""
    assert FixedNetwork(1.5, every=2).typical_error == 1.5
    system = RandomNetwork((0.01, 4.0))
    _, error_sd = drawn(system, key)
    below = np.mean(error_sd[:, 0] < system.typical_error)
    assert below == pytest.approx(0.5, abs=5 * 0.5 / DRAWS**0.5)


def test_half_of_the_networks_have_gaps(key):
    """At half coverage scattered points change about every second step, clustered ones rarely."""
    mask, _ = drawn(RandomNetwork(ERRORS, observed=(0.5, 0.5), outage=0.0), key)
    changes = np.mean(mask != np.roll(mask, 1, axis=1), axis=1)
    clustered = np.mean(changes < 0.35)
    assert clustered == pytest.approx(0.5, abs=0.1)


def test_outages_are_as_frequent_as_asked(key):
    mask, _ = drawn(RandomNetwork(ERRORS, outage=0.1), key)
    outages = np.mean(~mask.any(axis=1))
    assert outages == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / DRAWS) ** 0.5)


@pytest.mark.parametrize(
    "wrong", [{"observed": (0.0, 1.0)}, {"error_variance": (4.0, 0.25)}, {"outage": 1.0}]
)
def test_impossible_ranges_are_refused(wrong):
    with pytest.raises(ValueError, match="RandomNetwork: 0 < observed"):
        RandomNetwork(**{"error_variance": ERRORS, **wrong})
    with pytest.raises(ValueError, match="FixedNetwork: error_sd must be > 0"):
        FixedNetwork(0.0)


@pytest.mark.parametrize(("errors", "kurtosis"), [(GaussianErrors(), 3), (LaplaceErrors(), 6)])
def test_errors_have_the_spread_that_is_said_and_their_own_tails(errors, kurtosis, key):
    """Of 4e5 draws the standard errors are 1/630 (mean), 1/400 (sd of Laplace's) and .1 (kurtosis:
    Laplace's eighth moment is 8!/16 in units of its variance)."""
    system = FixedNetwork(1.5, errors=errors)
    _, error_sd = system.draw(400_000, jnp.dtype(float), cycle=NOW, key=key)
    drawn = np.asarray(system.errors.draw(error_sd, key=key)) / 1.5
    assert abs(drawn.mean()) < 5 / 630
    assert drawn.std() == pytest.approx(1, abs=5 / 400)
    assert np.mean(drawn**4) == pytest.approx(kurtosis, abs=0.5)


def test_a_recurring_network_begins_anew(key):
    there = jax.random.bernoulli(key, 0.5, (3, N))
    system = RecurringNetwork(there, 2.0)
    for cycle in range(7):
        mask, error_sd = system.draw(N, jnp.dtype(float), cycle=jnp.asarray(cycle), key=key)
        np.testing.assert_array_equal(mask, there[cycle % 3])
        np.testing.assert_array_equal(error_sd, 2.0)
    assert system.typical_error == 2.0


@pytest.mark.parametrize(("rows", "error_sd"), [(0, 1.0), (2, 0.0)])
def test_a_network_without_cycles_or_errors_is_refused(rows, error_sd):
    with pytest.raises(ValueError, match="RecurringNetwork: error_sd must be > 0"):
        RecurringNetwork(jnp.ones((rows, N), bool), error_sd)
