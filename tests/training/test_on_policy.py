"""Training on policy: it learns, it is deterministic, it survives a stream gone wrong."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_transform import FEATURES, LocalTransformStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.history import DepartureHistory
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.two_scale_lorenz96 import TwoScaleLorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.ensemble_scores import CRPS, LocalEnergyScore
from vardax_core.training.nature import Nature, resolved_of
from vardax_core.training.observing import FixedNetwork, RandomNetwork, RecurringNetwork
from vardax_core.training.on_policy import OnPolicySettings, train_on_policy, typical_nearness
from vardax_core.training.on_policy_cycles import OnPolicyCycles, advance_shares
from vardax_core.types import PAST_STATISTICS

SETTINGS = OnPolicySettings(steps=40, streams=4, members=(8,), spin_up=50, chunk=20)
OPERATOR = Identity((12,))
MODEL = Lorenz96(state_shape=(12,))
NETWORK = FixedNetwork(1.0)


def slow_part(state):
    return state[:12]


def untrained(first_guess, history=None):
    return LocalTransformStep.create(
        OPERATOR,
        first_guess,
        centre=2.3,
        scale=3.6,
        reach=2,
        width=8,
        depth=2,
        history=history,
        key=jax.random.key(0),
    )


@pytest.mark.parametrize(
    "first_guess",
    [
        pytest.param(None, id="alone", marks=pytest.mark.slow),
        pytest.param(ETKF(OPERATOR, 1.05), id="hybrid"),
        pytest.param(IterativeETKF(OPERATOR, iterations=2), id="iterative", marks=pytest.mark.slow),
    ],
)
def test_two_trainings_give_the_same_weights(first_guess, key):
    trained = [
        train_on_policy(untrained(first_guess), MODEL, NETWORK, SETTINGS, key=key)[0]
        for _ in range(2)
    ]
    for a, b in zip(*(jax.tree.leaves(t.network) for t in trained), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.all(np.isfinite(a))


@pytest.mark.slow
def test_one_training_meets_many_networks_and_cycles_without_any(key):
    networks = RandomNetwork((0.25, 4.0), outage=0.3)
    trained, curve = train_on_policy(
        untrained(ETKF(OPERATOR, 1.05)), MODEL, networks, SETTINGS, key=key
    )
    assert np.all(np.isfinite(curve))
    for leaf in jax.tree.leaves(eqx.filter(trained.network, eqx.is_inexact_array)):
        assert np.all(np.isfinite(leaf))


class InUnit(AbstractForecastModel):
    """A model of states in another unit, so many of which are one of its own."""

    model: Lorenz96
    unit: float = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True, default=(12,))
    interval: int = eqx.field(static=True, default=MODEL.interval)

    def step(self, state, time, *, key):
        return self.unit * self.model.step(state / self.unit, time, key=key)


@pytest.mark.slow
def test_another_unit_trains_the_same_network(key):
    """Nothing in a training is a number in the unit of the state. Powers of two round alike."""
    unit = 2.0**-12
    own = untrained(ETKF(OPERATOR, 1.05))
    other = dataclasses.replace(own, centre=unit * own.centre, scale=unit * own.scale)
    networks = []
    for step, size, model in ((own, 1.0, MODEL), (other, unit, InUnit(MODEL, unit))):
        settings = SETTINGS._replace(shock=0.2)
        observing = FixedNetwork(size)
        trained, _ = train_on_policy(step, model, observing, settings, key=key)
        networks.append(jax.tree.leaves(trained.network))
    moved = 0.0
    for a, b, start in zip(*networks, jax.tree.leaves(own.network), strict=True):
        # The unit that is divided out and back, and the logarithm of a density, round otherwise in
        # single precision; a number in one unit would move the weights as training does.
        np.testing.assert_allclose(a, b, atol=1e-4)
        moved = max(moved, float(np.abs(np.asarray(a) - np.asarray(start)).max()))
    assert moved > 1e-2


def test_streams_are_trusted_by_the_error_of_the_observations():
    assert typical_nearness(FixedNetwork(1.0), 3.6) == 0.5
    assert typical_nearness(FixedNetwork(100.0), 3.6) == 1.8
    assert typical_nearness(RandomNetwork((0.01, 0.01)), 3.6) == pytest.approx(0.05)


@pytest.mark.slow
def test_training_lowers_the_score(key):
    """Beside a training whose rates are next to nothing, over the same random numbers."""
    settings = SETTINGS._replace(steps=200, streams=8, chunk=50)
    idle = settings._replace(learning_rate=1e-12, matrix_rate=1e-12)
    curves = [
        train_on_policy(untrained(None), MODEL, NETWORK, s, key=key)[1] for s in (settings, idle)
    ]
    trained, untouched = (c[2:, 0].mean() for c in curves)
    assert trained < untouched


def test_a_stream_that_is_not_finite_starts_anew(key):
    """Weights that blow the analysis up give gradients that are skipped, not weights of NaN."""
    step = untrained(None)
    wild = eqx.tree_at(lambda s: s.network.last.bias, step, step.network.last.bias + 1e30)
    trained, _ = train_on_policy(wild, MODEL, NETWORK, SETTINGS._replace(steps=20), key=key)
    for leaf in jax.tree.leaves(eqx.filter(trained.network, eqx.is_inexact_array)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.slow
@pytest.mark.parametrize("score", [CRPS(1.0), LocalEnergyScore(1.0)], ids=["crps", "energy"])
def test_other_scores_train_as_well(score, key):
    settings = SETTINGS._replace(steps=200, streams=8, chunk=50, score=score)
    idle = settings._replace(learning_rate=1e-12, matrix_rate=1e-12)
    curves = [
        train_on_policy(untrained(None), MODEL, NETWORK, s, key=key)[1] for s in (settings, idle)
    ]
    trained, untouched = (c[2:, 0].mean() for c in curves)
    assert trained < untouched


@pytest.mark.slow
def test_sizes_natures_and_observing_systems_share_the_streams(key):
    natures = (Nature(MODEL), Nature(Lorenz96(forcing=9.0, state_shape=(12,))))
    systems = (NETWORK, FixedNetwork(0.5, every=3))
    settings = SETTINGS._replace(streams=8, members=(4, 7), steps=20)
    step = LocalTransformStep.create(
        OPERATOR, None, centre=2.3, scale=3.6, reach=2, width=8, depth=2, counts=True, key=key
    )
    trained, curve = train_on_policy(step, MODEL, systems, settings, natures=natures, key=key)
    assert np.all(np.isfinite(curve))
    for leaf in jax.tree.leaves(eqx.filter(trained.network, eqx.is_inexact_array)):
        assert np.all(np.isfinite(leaf))
    before, after = (np.asarray(s.network.first.weight) for s in (step, trained))
    counted = after - before
    assert np.abs(counted.reshape(5, -1, 8)[:, FEATURES]).max() > 1e-4
    short = settings._replace(streams=6)
    with pytest.raises(ValueError, match=r"2 natures times 2 observing systems, got 6"):
        train_on_policy(step, MODEL, systems, short, natures=natures, key=key)


@pytest.mark.slow
def test_neighbouring_streams_are_observed_by_different_systems(key):
    systems = (FixedNetwork(1.0), FixedNetwork(0.5, every=3))
    step = untrained(None)
    cycles = OnPolicyCycles(step, MODEL, (Nature(MODEL),), systems, 0.5, 0.0, 0.0, 7.0, key)
    group = cycles.start(4, 6, 10, key=key)
    (given,) = cycles.given((group,), (jnp.zeros((), jnp.int32), key))
    for stream in range(4):
        system = systems[stream % 2]
        seen = jnp.arange(12) % system.every == 0
        np.testing.assert_array_equal(given.observations.mask[stream, 0], seen)
        np.testing.assert_array_equal(given.observations.error_sd[stream, 0], system.error_sd)
        error = (given.observations.values[stream, 0] - given.truth[stream])[seen]
        assert np.abs(error).max() < 5 * system.error_sd


@pytest.mark.slow
def test_the_past_is_learned_from(key):
    """The weights of every mean move, though all means are zero at first and now and then again."""
    step = untrained(ETKF(OPERATOR, 1.05), DepartureHistory((10.0,)))
    natures = (Nature(MODEL), Nature(Lorenz96(forcing=12.0, state_shape=(12,))))
    settings = SETTINGS._replace(forget=0.1)
    trained, curve = train_on_policy(step, MODEL, NETWORK, settings, natures=natures, key=key)
    assert np.all(np.isfinite(curve))

    def of_the_past(made):
        weight = made.network.first.weight
        taps = 2 * made.network.first.reach + 1
        return np.asarray(weight).reshape(taps, -1, weight.shape[1])[:, -len(PAST_STATISTICS) :]

    moved = np.abs(of_the_past(trained) - of_the_past(step)).max(axis=(0, 2))
    assert np.all(moved > 1e-4)


def test_each_share_of_the_streams_follows_its_own_nature(key):
    """One step of each, beside the models themselves."""
    two = TwoScaleLorenz96(slow=12, fast=3)
    natures = (Nature(MODEL), Nature(two, slow_part, jnp.zeros(48)))
    states = jax.random.normal(key, (2, 12)), 0.1 * jax.random.normal(key, (2, 48))
    moved = advance_shares(natures, states, key)
    now = jnp.zeros((), jnp.int32)
    for nature, before, after in zip(natures, states, moved, strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(other, nature.step(one, now, key=key), rtol=1e-5)
    expected = np.concatenate([moved[0], moved[1][:, :12]])
    np.testing.assert_array_equal(resolved_of(natures, moved), expected)


@pytest.mark.slow
def test_truths_of_another_state_and_a_network_that_moves_are_learned_from(key):
    """The forecast has no fast variables; every third point is seen in turn."""
    two = TwoScaleLorenz96(slow=12, fast=3)
    there = jnp.arange(12)[None] % 3 == jnp.arange(3)[:, None]
    system = RecurringNetwork(there, 0.5)
    settings = SETTINGS._replace(steps=200, streams=8, chunk=50)
    idle = settings._replace(learning_rate=1e-12, matrix_rate=1e-12)
    natures = (Nature(two, slow_part, jnp.zeros(48)),)
    curves = [
        train_on_policy(untrained(None), MODEL, system, s, natures=natures, key=key)[1]
        for s in (settings, idle)
    ]
    trained, untouched = (c[2:, 0].mean() for c in curves)
    assert trained < untouched
    cycles = OnPolicyCycles(untrained(None), MODEL, natures, (system,), 0.5, 0.0, 0.0, 7.0, key)
    group = cycles.start(4, 6, 10, key=key)
    for number in range(4):
        (given,) = cycles.given((group,), (jnp.asarray(number, jnp.int32), key))
        np.testing.assert_array_equal(given.observations.mask[0, 0], there[number % 3])
        np.testing.assert_array_equal(given.truth, given.natures[0][:, :12])
