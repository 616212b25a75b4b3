"""The calibration of an analysis' spread in its own cycles."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.spread_calibration import calibrate_spread
from vardax_core.training.twin_cycles import TwinPlan

PLAN = TwinPlan(streams=32, cycles=200, spin_up=50, members=10, start_sd=2.0)


@pytest.fixture
def step(key):
    """A filter whose spread is 1.5 times too large wherever all is observed."""
    operator = Identity((3,))
    made = LocalTransformStep.create(
        operator, FiniteSizeETKF(operator), centre=8.0, scale=12.0, reach=1, width=8, key=key
    )
    bias = made.network.last.bias
    return eqx.tree_at(lambda s: s.network.last.bias, made, bias.at[-2].set(1.5))


def test_the_spread_becomes_the_error(step, key):
    """32 x 200 cycles, of which ten or so belong together, give the ratio to a few per cent."""
    near = jnp.full((3,), 8.0)
    calibrated, ratios = calibrate_spread(
        step, Lorenz63(), FixedNetwork(2**0.5), near, PLAN, rounds=8, key=key
    )
    assert ratios[0] > 1.2
    assert abs(ratios[-1] - 1) < 0.1
    moved = float(calibrated.network.last.bias[-2] - step.network.last.bias[-2])
    np.testing.assert_allclose(moved, -np.log(ratios).sum(), rtol=1e-6)
    others = eqx.tree_at(lambda s: s.network.last.bias, calibrated, step.network.last.bias)
    assert eqx.tree_equal(others, step)


def test_cycles_that_do_not_stay_finite_are_refused(step, key):
    nowhere = jnp.full((3,), jnp.nan)
    with pytest.raises(ValueError, match="0 of 32 streams stayed"):
        calibrate_spread(step, Lorenz63(), FixedNetwork(1.0), nowhere, PLAN, key=key)
