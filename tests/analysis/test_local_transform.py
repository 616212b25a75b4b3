"""Laws of the local transform, for every first guess and whatever its weights are."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_departures import LocalDepartures
from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.amortized.ring_network import RingConvolution, ring_neighbours
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import ring_network
from vardax_core.analysis.history import DepartureHistory
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.linear import LinearMatrix, WeightedPoints
from vardax_core.observations.nonlinear import absolute, clipped, logarithm, square
from vardax_core.observations.operators import Identity, PointSampling
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


@functools.cache
def compiled(first_guess, history):
    """The random step with a first guess and a history, by their names."""
    made = random_step(FIRST_GUESSES[first_guess](), jax.random.key(0), HISTORIES[history])
    return eqx.filter_jit(made)


@pytest.fixture(params=HISTORIES)
def history(request):
    return request.param


@pytest.fixture(params=FIRST_GUESSES)
def step(request, history):
    return compiled(request.param, history)


def window(values, error_sd=0.5, past=PAST):
    row = jnp.asarray(values)[None]
    now = jnp.zeros(1, jnp.int32)
    return Observations.from_values(row, jnp.full_like(row, error_sd), now, past)


@pytest.fixture
def background(key):
    return jax.random.normal(jax.random.fold_in(key, 1), (MEMBERS, N))


@pytest.mark.parametrize("local", LOCAL)
def test_far_from_any_observation_the_analysis_is_the_background(local, key, history, background):
    values = jnp.full(N, jnp.nan).at[8].set(3.0)
    analysis = compiled(local, history)(background, window(values), key=key)
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
        eqx.filter_jit(step)(background, observations, key=key).ensemble,
        eqx.filter_jit(guess)(background, observations, key=key).ensemble,
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
    step = compiled("none", "history")
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


class Foreign(AbstractObservationOperator):
    """An operator from elsewhere, that does not say which points it looks at."""

    state_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def obs_size(self):
        return 3

    @property
    def linear(self):
        return False

    def __call__(self, state):
        return jnp.sinh(state[jnp.array([2, 9, 14])]) - state[jnp.array([3, 10, 15])]


OPERATORS = {
    "identity": lambda: Identity((N,)),
    "points": lambda: PointSampling(jnp.array([2, 7, 7, 19]), (N,)),
    "weighted": lambda: WeightedPoints(
        jnp.array([[0, 1], [8, 9], [N - 1, 0]]),
        jnp.array([[0.25, 0.75], [0.5, 0.5], [2.0, -1.0]]),
        (N,),
    ),
    "matrix": lambda: LinearMatrix(jnp.asarray(np.random.default_rng(2).normal(size=(5, N))), (N,)),
    "absolute": lambda: absolute((N,)),
    "square": lambda: square((N,)),
    "logarithm": lambda: logarithm((N,)),
    "clipped": lambda: clipped((N,), lower=-1.935, upper=1.935),
    "square_of_points": lambda: square((2,)) @ PointSampling(jnp.array([4, 11]), (N,)),
    "points_of_square": lambda: PointSampling(jnp.array([4, 11]), (N,)) @ square((N,)),
    "matrix_of_points": lambda: (
        LinearMatrix(jnp.array([[1.0, -2.0], [0.5, 0.5]]), (2,))
        @ PointSampling(jnp.array([4, 5]), (N,))
    ),
    "foreign": lambda: Foreign((N,)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_untrained_increment_is_the_scalar_kalman_update_of_any_operator(name, key):
    """One observation at a time, of a state of both signs: increments s_i^2 H'_i d / (H S H' + R).

    With a spread of .01 every H is linear across the members to 2 %, the curvature of the
    logarithm at the smallest state; the floor of the spread, .001, is part of s.
    """
    operator = OPERATORS[name]()
    step = LocalTransformStep.create(
        operator, None, centre=0.0, scale=1e-3, reach=REACH, width=8, depth=2, key=key
    )
    signs = jnp.where(jnp.arange(N) % 2 == 0, 1.0, -1.0)
    mean = signs * jnp.linspace(0.5, 2.5, N)
    draws = jax.random.normal(key, (40, N))
    draws = (draws - jnp.mean(draws, axis=0)[None]) / jnp.std(draws, axis=0, ddof=1)[None]
    background = mean[None] + 0.01 * draws
    slopes = jax.jacobian(operator)(mean)
    spread = 0.01 + 1e-6
    departure, chosen = 0.02, jnp.eye(operator.obs_size, dtype=bool)
    explained = spread**2 * jnp.sum(slopes**2, axis=1)
    error = jnp.sqrt(jnp.maximum(explained, 1e-4))
    values = jnp.where(chosen, operator(mean)[None] + departure, jnp.nan)
    analyse = jax.vmap(lambda v, e: step(background, window(v, e, past=None), key=key).mean)
    found = jax.jit(analyse)(values, error) - mean[None]
    wanted = spread**2 * slopes * departure / (explained + error**2)[:, None]
    largest = jnp.max(jnp.abs(wanted), axis=1, keepdims=True)
    assert float(jnp.max(jnp.abs(found - wanted) / (largest + 1e-9))) < 0.03


def test_points_are_put_on_the_grid_as_by_the_adjoint(key, background):
    """Averages over the observations of a point, to the bit: trained weights have met these."""
    operator = PointSampling(jnp.array([2, 7, 7, 19]), (N,))
    error_sd, mask = jnp.array([0.3, 0.7, 1.1, 0.2]), jnp.array([1.0, 1.0, 1.0, 0.0])
    departures, mean = jnp.array([0.1, 0.7, -0.2, 5.0]), jnp.mean(background, axis=0)

    @jax.jit
    def both(background):
        spread = jnp.std(background, axis=0, ddof=1)
        seen = LocalDepartures.of(operator, background, spread, mask, error_sd)
        count = operator.adjoint(mean, mask)
        averages = [operator.adjoint(mean, x * mask) for x in (departures, error_sd)]
        departure, error = (x / jnp.maximum(count, 1.0) for x in averages)
        error = jnp.where(count > 0, error, 1.0)
        return (seen.on_grid(departures), seen.error_sd, seen.weights), (departure, error, count)

    for one, other in zip(*both(background), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_members_turn_back_an_observation_says_little(key):
    """|x| of members on both sides of zero: no increment beyond what they agree on."""
    operator = absolute((N,))
    step = LocalTransformStep.create(
        operator, None, centre=0.0, scale=1.0, reach=REACH, width=8, depth=2, key=key
    )
    draws = jax.random.normal(key, (40, N))
    anomalies = draws - jnp.mean(draws, axis=0)[None]
    values = jnp.full(N, 2.0)
    analyse = jax.jit(lambda b, v: step(b, window(v), key=key).mean)
    far = analyse(anomalies + 10.0, values + 9.0) - 10.0
    both = analyse(anomalies + 0.01, values) - 0.01
    assert float(jnp.min(far)) > 0.5
    assert float(jnp.max(jnp.abs(both))) < 0.5
    assert float(jnp.mean(jnp.abs(both))) < 0.2 * float(jnp.mean(far))
