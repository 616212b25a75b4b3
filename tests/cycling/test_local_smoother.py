"""The amortized smoother: what holds whatever its weights, and that training is worth it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.local_smoother import LocalSmoother, closest_rotation
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.smoothing import SmoothingSettings, train_smoother
from vardax_core.training.twin_cycles import TwinPlan

N, MEMBERS, LAG, REACH = 24, 12, 2, 3


@pytest.fixture
def smoother(key):
    """With weights of no training at all, every output on."""
    made = LocalSmoother.create(LAG, centre=2.4, scale=3.6, reach=REACH, width=8, depth=2, key=key)
    leaves, structure = jax.tree.flatten(eqx.filter(made.network, eqx.is_array))
    keys = jax.random.split(key, len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    static = eqx.filter(made.network, eqx.is_array, inverse=True)
    network = eqx.combine(jax.tree.unflatten(structure, noisy), static)
    return eqx.tree_at(lambda s: s.network, made, network)


@pytest.fixture
def ensembles(key):
    """A history of three different ensembles, and a background."""
    history = 2.4 + jax.random.normal(key, (LAG + 1, MEMBERS, N))
    return history, jax.random.normal(jax.random.fold_in(key, 1), (MEMBERS, N))


@pytest.mark.slow
def test_without_a_change_the_past_stays_bit_for_bit(smoother, ensembles):
    history, background = ensembles
    after = smoother.update(history, background, background)
    assert np.array_equal(after[1:], history[:-1])
    assert np.array_equal(after[0], background)


def test_out_of_reach_of_a_change_mean_and_covariance_stay(smoother, ensembles):
    """The influence reaches `REACH` points."""
    history, background = ensembles
    analysis = background.at[:, 0].set(0.5 * background[:, 0] + 1.0)
    after = smoother.update(history, background, analysis)
    far = slice(REACH + 1, N - REACH)
    for new, old in zip(after[1:], history[:-1], strict=True):
        np.testing.assert_allclose(new.mean(0)[far], old.mean(0)[far], atol=1e-10)
        np.testing.assert_allclose(np.cov(new[:, far].T), np.cov(old[:, far].T), atol=1e-10)
        assert not np.allclose(new.mean(0)[0], old.mean(0)[0], atol=1e-3)


def test_members_turned_among_each_other_say_nothing_about_the_past(smoother, ensembles, key):
    """An analysis and the same turned give the same smoothed mean and covariance.

    The members span the state, so that the rotation is found up to what no member shows.
    """
    history, _ = ensembles
    background = jax.random.normal(key, (MEMBERS, N))
    mean = background.mean(axis=0, keepdims=True)
    analysis = mean + 0.3 + 0.8 * (background - mean)
    columns = jax.random.normal(key, (MEMBERS, MEMBERS))
    basis = jnp.linalg.qr(columns.at[:, 0].set(1.0))[0]
    small = jnp.linalg.qr(jax.random.normal(key, (MEMBERS - 1, MEMBERS - 1)))[0]
    rotation = basis @ jax.scipy.linalg.block_diag(jnp.eye(1), small) @ basis.T
    turned = mean + 0.3 + 0.8 * rotation @ (background - mean)
    straight, found = (smoother.update(history, background, a)[1:] for a in (analysis, turned))
    np.testing.assert_allclose(found.mean(axis=1), straight.mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(found.std(axis=1), straight.std(axis=1), atol=1e-3)
    np.testing.assert_allclose(closest_rotation(background, turned), rotation, atol=1e-3)


def test_members_without_spread_stay_finite(smoother):
    equal = jnp.ones((MEMBERS, N))
    after = smoother.update(smoother.init(equal), equal, equal + 1.0)
    assert np.isfinite(after).all()


@pytest.mark.ladder
def test_training_makes_the_same_twins_smoother(key):
    """Lorenz-96, where 24 members need no localization. Without a learning rate the rounds see the
    same twins, so that the difference is the training's alone."""
    program = CycleProgram(
        model=Lorenz96(),
        step=ETKF(Identity((40,)), inflation=1.05),
        adaptation=None,
        score_weights=jnp.ones(40),
        spread_scale=1.0,
    )
    small = SmoothingSettings(rounds=2)
    plan = TwinPlan(streams=4, cycles=80, spin_up=50, attractor=400)
    smoother = LocalSmoother.create(2, centre=2.4, scale=3.6, width=16, depth=2, key=key)
    heard = []

    def train(settings):
        return train_smoother(
            smoother,
            program,
            FixedNetwork(1.0),
            jnp.full((40,), 2.4),
            settings,
            plan,
            key=key,
            progress=lambda *news: heard.append(news),
        )

    same, before = train(small._replace(learning_rate=0.0))
    assert eqx.tree_equal(same, smoother)
    _, after = train(small)
    assert [news[0] for news in heard] == [1, 2, 1, 2]
    assert (after[-1] < before[-1]).all(), (after, before)


def test_a_lag_of_nothing_is_refused(key):
    with pytest.raises(ValueError, match="lag must be >= 1, got 0"):
        LocalSmoother.create(0, centre=0.0, scale=1.0, key=key)
