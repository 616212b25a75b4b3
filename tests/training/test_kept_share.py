"""The choice, in cycles of its own, of how much of a trained correction is kept."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.test_spread_calibration import NEAR, PLAN, step_with
from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.observations.operators import Identity
from vardax_core.training.kept_share import SHARES, keep_best_share
from vardax_core.training.observing import FixedNetwork
from vardax_core.types import Observations

ERROR_SD = 2**0.5


def kept(step, key):
    return keep_best_share(step, Lorenz63(), FixedNetwork(ERROR_SD), NEAR, PLAN, key=key)


@pytest.mark.slow
def test_a_harmful_correction_leaves_the_first_guess_bit_for_bit(key):
    """A network that moves the mean to and fro by a spread is worth less than nothing."""
    step = step_with(0.0, key)
    last = step.network.last
    harmful = last.weight + 3 * jax.random.normal(key, last.weight.shape)
    step = eqx.tree_at(lambda s: s.network.last.weight, step, harmful)
    same, found = kept(step, key)
    assert found.share == found.gain == 0
    assert "the filter is used" in found.words
    assert json.loads(json.dumps(found.numbers(), allow_nan=False))["finished"] is False
    background = 8 + jax.random.normal(key, (10, 3))
    window = Observations.from_values(
        jnp.zeros((1, 3)) + 9.0, jnp.full((1, 3), ERROR_SD), jnp.zeros(1, jnp.int32)
    )
    guess = step.first_guess(background, window, key=key)
    np.testing.assert_array_equal(same(background, window, key=key).ensemble, guess.ensemble)


@pytest.mark.ladder
def test_what_a_filter_lacks_is_kept(key):
    """Ten members that are laid too near together, and a correction that lays them apart again."""
    operator = Identity((3,))
    step = LocalTransformStep.create(
        operator, ETKF(operator, inflation=0.7), centre=8.0, scale=12.0, reach=1, width=8, key=key
    )
    last = step.network.last.bias
    step = eqx.tree_at(lambda s: s.network.last.bias, step, last.at[-2].set(3.0))
    _, found = kept(step, key)
    assert found.share > 0
    assert found.gain > 2 * found.error > 0
    assert [share for share, _ in found.tried] == list(SHARES)
    assert "lowers the CRPS of the filter by" in found.words


def test_without_a_first_guess_there_is_nothing_to_return_to(key):
    step = LocalTransformStep.create(Identity((3,)), None, centre=8.0, scale=12.0, reach=1, key=key)
    with pytest.raises(ValueError, match="expected an analysis that corrects a first guess"):
        kept(step, key)
