"""Members whose forecast is impossible do not spoil the others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.possible import (
    Climate,
    Possible,
    narrowed,
    nearly_in_range,
    possible_members,
)
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)

RANGE = (-10.0, 10.0)


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_mean_and_covariances_are_those_of_the_members_that_are_left(lost, key):
    ensemble = 3 + jax.random.normal(key, (8, 2, 3))
    ensemble = ensemble.at[1 : 1 + lost].set(jnp.nan)
    left = np.delete(np.asarray(ensemble), range(1, 1 + lost), axis=0).reshape(8 - lost, -1)
    repaired, replaced = possible_members(ensemble, (-100.0, 100.0))
    assert int(replaced) == lost
    flat = np.asarray(repaired).reshape(8, -1)
    np.testing.assert_allclose(flat.mean(axis=0), left.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.cov(flat.T), np.cov(left.T), rtol=1e-10, atol=1e-12)
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 9 * np.eye(8)
    assert apart.min() > 0.1


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_forecast_is_what_a_linear_model_would_have_made_of_its_analysis(lost, key):
    """Nine members of a state of five numbers of very different units: any lost one lies in the
    span of the others. What is kept stays to the bit."""
    k_state, k_model, k_away = jax.random.split(key, 3)
    units = jnp.asarray([[1.0, 1e-5, 300.0, 1.0, 1.0]])
    analyses = units * (3 + jax.random.normal(k_state, (9, 5)))
    model = jax.random.normal(k_model, (5, 5))
    forecasts = (analyses / units) @ model.T * units
    given = forecasts.at[2 : 2 + lost].set(jnp.nan)
    wide = (-1e6, 1e6)
    found, replaced = possible_members(given, wide, before=analyses)
    assert int(replaced) == lost
    np.testing.assert_allclose(found / units, forecasts / units, rtol=0, atol=2e-3)
    left = np.delete(np.arange(9), np.arange(2, 2 + lost))
    np.testing.assert_array_equal(found[left], forecasts[left])
    # A state that stays: what the others do not span is there, too.
    still = units[:, :, None] * jax.random.normal(k_away, (5, 5, 9))
    found, _ = possible_members(still.at[2].set(jnp.nan), wide, before=still)
    np.testing.assert_allclose(found, still, rtol=1e-9)
    # Analyses that say nothing of one another: the members that are left give the covariance.
    apart = 3 + jax.random.normal(k_away, (4, 400))
    other, _ = possible_members(apart.at[1].set(jnp.inf), wide, before=apart[::-1])
    rest = np.delete(np.asarray(apart), 1, axis=0)
    assert 0.5 < np.std(other[1] - rest.mean(axis=0)) / rest.std(axis=0, ddof=1).mean() < 2


def test_possible_members_stay_bit_for_bit(key):
    ensemble = jax.random.normal(key, (7, 3, 2))
    repaired, replaced = possible_members(ensemble, RANGE)
    assert np.array_equal(repaired, ensemble)
    assert int(replaced) == 0


def test_where_none_is_possible_the_ensemble_stays():
    ensemble = jnp.full((3, 2), 11.0)
    repaired, replaced = possible_members(ensemble, RANGE)
    assert np.array_equal(repaired, ensemble)
    assert int(replaced) == 3


COMPILED = eqx.filter_jit(possible_members)
CLIMATE = Climate(jnp.asarray(0.0), jnp.asarray(2.0))


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 6), st.just(3)),
        elements=st.floats(-30, 30) | st.sampled_from([np.nan, np.inf, -np.inf, 1e300]),
    )
)
def test_with_a_climate_every_ensemble_becomes_possible(values):
    """And what was possible stays; what was beyond by less than a standard deviation of the
    climate becomes the bound, and is not counted."""
    ensemble = jnp.asarray(values)
    repaired, replaced = COMPILED(
        ensemble, RANGE, CLIMATE, time=jnp.zeros((), jnp.int32), key=jax.random.key(0)
    )
    assert np.isfinite(repaired).all()
    assert (np.abs(repaired) <= 10).all()
    near = np.abs(values) <= 12
    mine = np.isfinite(values).all(axis=1) & near.all(axis=1)
    if mine.all() or 2 * mine.sum() < len(values):
        np.testing.assert_array_equal(repaired[mine], np.clip(values[mine], *RANGE))
    assert int(replaced) == len(values) - mine.sum()


def test_recombined_members_stay_in_the_range():
    ensemble = jnp.array([[9.0, 0.0], [-9.0, 0.0], [9.5, 0.0], [9.5, 0.0], [jnp.nan, 0.0]])
    repaired, _ = possible_members(ensemble, (-9.5, 9.5))
    assert (np.abs(repaired) <= 9.5).all()


def test_a_lost_member_does_not_end_the_chain(key):
    """Without the replacement the mean of every later background would not be finite."""
    n, members = 8, 6
    program = CycleProgram(
        model=Lorenz96(state_shape=(n,)),
        step=ETKF(Identity((n,)), 1.05),
        adaptation=None,
        score_weights=jnp.ones(n),
        spread_scale=1.0,
        valid_range=(-50.0, 50.0),
    )
    ensemble = 2.4 + jax.random.normal(key, (members, n))
    start = program.initial_state(ensemble.at[2].set(1e30), jnp.zeros((), jnp.int32))
    one = jnp.ones((1, n))
    truth = jnp.full(n, 2.4)
    window = Observations(truth[None], one > 0, one, jnp.zeros(1, jnp.int32))
    one_cycle = CycleInput(window, jnp.zeros(n, jnp.int32), truth, jnp.asarray(True))
    state, output = eqx.filter_jit(program.run)(start, one_cycle, keys=cycle_keys(key, start.cycle))
    assert int(output.replaced_members) == 1
    assert np.isfinite(state.ensemble).all()
    _, output = eqx.filter_jit(program.run)(state, one_cycle, keys=cycle_keys(key, state.cycle))
    assert int(output.replaced_members) == 0


BY_CHANNEL = (((0.0,), (-100.0,)), ((1.0,), (100.0,)))
"""A share and a temperature, on a ring."""


def test_each_channel_is_held_against_its_own_bounds():
    """50 is possible as a temperature and not as a share; the bounds of all would let it pass."""
    good = jnp.array([[[0.2, 0.4], [10.0, -20.0]], [[0.6, 0.2], [30.0, 40.0]]])
    ensemble = jnp.concatenate([good, good.at[0, 0, 1].set(50.0)[:1]])
    repaired, replaced = possible_members(ensemble, BY_CHANNEL)
    assert int(replaced) == 1
    np.testing.assert_allclose(repaired[:, 1].mean(axis=0), good[:, 1].mean(axis=0), rtol=1e-6)
    assert np.all((repaired[:, 0] >= 0) & (repaired[:, 0] <= 1))
    possible = Possible(BY_CHANNEL)
    made = Analysis(ensemble, ensemble_mean(ensemble), ensemble_spread(good), jnp.asarray(0), {})
    assert int(possible.analysis(made, good.repeat(2, 0)[:3]).result) == ResultCode.OUT_OF_RANGE
    fine = Analysis(good, ensemble_mean(good), ensemble_spread(good), jnp.asarray(0), {})
    assert int(possible.analysis(fine, good).result) == ResultCode.OK


def test_a_channel_lies_beyond_its_bounds_by_its_own_standard_deviation():
    sd = jnp.array([[0.05, 0.1], [5.0, 10.0]])
    climate = Climate(jnp.zeros((2, 2)), sd)
    values = jnp.array([[1.09, 1.2], [109.0, 120.0]])
    expected = [[1.0, 1.2], [100.0, 120.0]]
    np.testing.assert_allclose(nearly_in_range(values, BY_CHANNEL, climate), expected)
    np.testing.assert_allclose(nearly_in_range(values[None], BY_CHANNEL, climate)[0], expected)


def test_a_range_is_narrowed_channel_by_channel():
    assert narrowed(RANGE, -20.0, 5.0) == (-10.0, 5.0)
    assert narrowed((-np.inf, np.inf), *BY_CHANNEL) == BY_CHANNEL
    assert narrowed((-1.0, 2.0), *BY_CHANNEL) == (((0.0,), (-1.0,)), ((1.0,), (2.0,)))
