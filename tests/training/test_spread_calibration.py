"""The calibration of an analysis' spread in its own cycles."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.spread_calibration import (
    TOLERANCE,
    LostStreamsError,
    calibrate_spread,
)
from vardax_core.training.twin_cycles import TwinPlan

PLAN = TwinPlan(streams=32, cycles=100, spin_up=30, members=10, start_sd=2.0)
NEAR = jnp.full((3,), 8.0)


def step_with(bias: float, key) -> LocalTransformStep:
    """A filter whose anomalies are multiplied by about exp(tanh(bias) s^2 / (s^2 + R))."""
    operator = Identity((3,))
    made = LocalTransformStep.create(
        operator, FiniteSizeETKF(operator), centre=8.0, scale=12.0, reach=1, width=8, key=key
    )
    last = made.network.last.bias
    return eqx.tree_at(lambda s: s.network.last.bias, made, last.at[-2].set(bias))


def calibrate(step, error_sd: float, *, near=NEAR, **options):
    return calibrate_spread(
        step, Lorenz63(), FixedNetwork(error_sd), near, PLAN, repeats=1, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bias", "error_sd"),
    [
        pytest.param(-0.5, 2**0.5, id="narrow"),
        pytest.param(1.5, 2**0.5, id="wide", marks=pytest.mark.ladder),
        pytest.param(1.5, 8.0, id="wide and hardly felt", marks=pytest.mark.ladder),
    ],
)
def test_the_spread_becomes_the_error_and_never_worse(bias, error_sd, key):
    """Judged on twins that the calibration never met, to the tolerance and twice their noise.

    With an error of 8 the inflation acts behind a gain s^2 / (s^2 + R) of a few per cent.
    """
    step = step_with(bias, key)
    calibrated, found = calibrate(step, error_sd, key=key)
    (before,), (after,) = (
        calibrate(s, error_sd, trials=1, key=jax.random.fold_in(key, 1))[1].before
        for s in (step, calibrated)
    )
    assert abs(before.log) > 0.25
    assert abs(after.log) <= TOLERANCE + 3 * after.error
    assert found.converged
    moved = float(calibrated.network.last.bias[-2] - step.network.last.bias[-2])
    assert moved == pytest.approx(found.moved)
    others = eqx.tree_at(lambda s: s.network.last.bias, calibrated, step.network.last.bias)
    assert eqx.tree_equal(others, step)


@pytest.mark.slow
def test_what_is_not_mended_stays_as_it_was_and_says_so(key):
    step = step_with(-0.5, key)
    same, found = calibrate(step, 2**0.5, trials=1, key=key)
    assert not found.converged
    assert found.moved == 0
    assert eqx.tree_equal(same, step)
    assert "did not come within 2 %" in found.words
    assert json.loads(json.dumps(found.numbers(), allow_nan=False))["words"] == found.words


def test_cycles_that_do_not_stay_finite_are_refused(key):
    with pytest.raises(LostStreamsError, match="0 of 32 streams stayed"):
        calibrate(step_with(-0.5, key), 2**0.5, near=jnp.nan * NEAR, key=key)
