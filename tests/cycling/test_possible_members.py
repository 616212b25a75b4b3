"""Members whose forecast is impossible do not spoil the others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.origin import possible_members
from vardax_core.cycling.cycle import CycleInput, CycleProgram
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

RANGE = (-10.0, 10.0)


def test_impossible_members_become_mirror_images_of_possible_ones():
    """The possible members (1, 2) and (3, 6) have the mean (2, 4)."""
    ensemble = jnp.array([[1.0, 2.0], [jnp.nan, 0.0], [3.0, 6.0], [5.0, 11.0], [jnp.inf, 1.0]])
    repaired, replaced = possible_members(ensemble, RANGE)
    expected = [[1.0, 2.0], [3.0, 6.0], [3.0, 6.0], [1.0, 2.0], [3.0, 6.0]]
    np.testing.assert_array_equal(repaired, expected)
    assert int(replaced) == 3


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
    given = CycleInput(window, jnp.zeros(n, jnp.int32), truth, jnp.asarray(True))
    state, output = eqx.filter_jit(program.run)(start, given, key=key)
    assert int(output.replaced_members) == 1
    assert np.isfinite(state.ensemble).all()
    _, output = eqx.filter_jit(program.run)(state, given, key=key)
    assert int(output.replaced_members) == 0
