"""Laws of the local transform, for every first guess and whatever its weights are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.amortized.ring_network import RingConvolution, ring_neighbours
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import ring_network
from vardax_core.analysis.history import DepartureHistory
from vardax_core.observations.operators import Identity
from vardax_core.types import PAST_STATISTICS, Observations, ResultCode, WindowShapeError

N, REACH, MEMBERS = 24, 2, 10
RADIUS = 1.5
"""Of the LETKF; its taper ends at twice of it."""
PAST = jnp.asarray(np.random.default_rng(3).normal(0, 3, (len(PAST_STATISTICS), N)))
"""Departures that were unlike those of a good cycle; steps without a history pay no heed."""


def random_step(first_guess, key, history=None):
    """A step with weights everywhere, as after training."""
    step = LocalTransformStep.create(
        Identity((N,)),
        first_guess,
        centre=0.0,
        scale=1.0,
        reach=REACH,
        width=8,
        depth=2,
        history=history,
        key=key,
    )
    weight = 0.3 * jax.random.normal(key, step.network.last.weight.shape)
    return eqx.tree_at(lambda s: s.network.last.weight, step, weight)


def letkf():
    return LETKF(Identity((N,)), ring_network(N, np.arange(float(N)), RADIUS))


FIRST_GUESSES = {
    "none": lambda: None,
    "etkf": lambda: ETKF(Identity((N,)), rotate=False),
    "finite-size": lambda: FiniteSizeETKF(Identity((N,)), rotate=False),
    "letkf": letkf,
    "iterative": lambda: IterativeETKF(Identity((N,)), rotate=False),
}
LOCAL = ("none", "letkf")
"""First guesses that leave points alone that no observation reaches."""
HISTORIES = {"no history": None, "history": DepartureHistory((50.0,))}


@pytest.fixture(params=HISTORIES)
def history(request):
    return HISTORIES[request.param]


@pytest.fixture(params=FIRST_GUESSES)
def step(request, key, history):
    return random_step(FIRST_GUESSES[request.param](), key, history)


def window(values, error_sd=0.5, past=PAST):
    row = jnp.asarray(values)[None]
    now = jnp.zeros(1, jnp.int32)
    return Observations.from_values(row, jnp.full_like(row, error_sd), now, past)


@pytest.fixture
def background(key):
    return jax.random.normal(jax.random.fold_in(key, 1), (MEMBERS, N))


@pytest.mark.parametrize("local", LOCAL)
def test_far_from_any_observation_the_analysis_is_the_background(local, key, history, background):
    step = random_step(FIRST_GUESSES[local](), key, history)
    values = jnp.full(N, jnp.nan).at[8].set(3.0)
    analysis = step(background, window(values), key=key)
    changed = np.flatnonzero(np.any(np.asarray(analysis.ensemble != background), axis=0))
    assert 8 in changed
    far = [i for i in range(N) if abs(i - 8) > REACH + 2 * RADIUS]
    np.testing.assert_allclose(analysis.ensemble[:, far], background[:, far], atol=1e-12)


def test_no_observation_gives_the_background_bit_for_bit(step, key, background):
    analysis = step(background, window(jnp.full(N, jnp.nan)), key=key)
    np.testing.assert_array_equal(analysis.ensemble, background)
    assert analysis.result == int(ResultCode.NO_OBSERVATIONS)


def test_useless_observations_give_the_background(step, key, background):
    values = jnp.linspace(-2.0, 2.0, N)
    analysis = step(background, window(values, 1e8), key=key)
    np.testing.assert_allclose(analysis.ensemble, background, atol=1e-6)


def test_permuting_the_members_permutes_the_analysis(step, key, background):
    order = jax.random.permutation(key, MEMBERS)
    observations = window(jnp.linspace(-2.0, 2.0, N))
    once = step(background, observations, key=key).ensemble[order]
    again = step(background[order], observations, key=key).ensemble
    np.testing.assert_allclose(again, once, atol=1e-10)


def test_turning_the_ring_turns_the_analysis(step, key, background):
    values = jnp.linspace(-2.0, 2.0, N)
    past = jnp.roll(PAST, 7, axis=1)
    turned = step(jnp.roll(background, 7, axis=1), window(jnp.roll(values, 7), past=past), key=key)
    straight = step(background, window(values), key=key)
    np.testing.assert_allclose(turned.ensemble, jnp.roll(straight.ensemble, 7, axis=1), atol=1e-9)


def test_an_untrained_hybrid_is_its_first_guess(key, background):
    guess = ETKF(Identity((N,)), 1.02)
    step = LocalTransformStep.create(
        Identity((N,)), guess, centre=0.0, scale=1.0, reach=REACH, key=key
    )
    observations = window(jnp.linspace(-2.0, 2.0, N))
    np.testing.assert_allclose(
        step(background, observations, key=key).ensemble,
        guess(background, observations, key=key).ensemble,
        atol=1e-12,
    )


def test_ring_convolution_is_a_periodic_convolution(key):
    layer = RingConvolution.create(1, 1, 1, key=key)
    x = jnp.arange(5.0)
    w = layer.weight[:, 0]
    by_hand = [w[0] * x[(i - 1) % 5] + w[1] * x[i] + w[2] * x[(i + 1) % 5] for i in range(5)]
    np.testing.assert_allclose(layer(x[:, None])[:, 0], jnp.asarray(by_hand))
    np.testing.assert_array_equal(ring_neighbours(x, 1)[0], jnp.asarray([4.0, 0.0, 1.0]))


def test_gains_that_reach_around_the_ring_are_refused(key):
    with pytest.raises(ValueError, match="lower the reach"):
        LocalTransformStep.create(Identity((4,)), None, centre=0.0, scale=1.0, reach=2, key=key)


def test_a_past_that_nobody_knows_is_one_as_expected(key, background):
    step = random_step(None, key, HISTORIES["history"])
    values = jnp.linspace(-2.0, 2.0, N)
    unknown = step(background, window(values, past=None), key=key)
    usual = step(background, window(values, past=jnp.zeros_like(PAST)), key=key)
    np.testing.assert_array_equal(unknown.ensemble, usual.ensemble)
    unusual = step(background, window(values), key=key)
    assert np.any(np.asarray(unusual.ensemble != usual.ensemble))


def test_a_past_of_other_observations_is_refused(key, background):
    step = random_step(None, key, HISTORIES["history"])
    observations = eqx.tree_at(lambda o: o.past, window(jnp.zeros(N)), PAST[:, :-1])
    with pytest.raises(WindowShapeError, match=f"a multiple of 4 and {N}, got \\(4, {N - 1}\\)"):
        step(background, observations, key=key)
