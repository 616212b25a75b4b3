"""Scores that a training may lower: one line in `SCORES` brings a score under all laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.training.ensemble_scores import (
    CRPS,
    SPREAD_FLOOR,
    GaussianScore,
    LocalEnergyScore,
    ProjectedGaussianScore,
    SumOfScores,
    gaussian_score,
    local_gaussian,
)

N, MEMBERS, CASES = 12, 20, 2000
FLOOR = 1e-3
SCORES = {
    "gaussian": GaussianScore(FLOOR),
    "projected": ProjectedGaussianScore(FLOOR),
    "crps": CRPS(1.0),
    "energy": LocalEnergyScore(1.0),
    "sum": SumOfScores((GaussianScore(FLOOR), LocalEnergyScore(1.0)), (1.0, 2.0)),
}
FEEL_CORRELATIONS = ("projected", "energy", "sum")


@pytest.fixture(params=SCORES)
def score(request):
    return SCORES[request.param]


def smooth(key, *shape):
    """Standard normal fields whose neighbours have a correlation of one half."""
    noise = jax.random.normal(key, (*shape, N))
    return (noise + jnp.roll(noise, 1, axis=-1)) / jnp.sqrt(2.0)


def scores_of(score, change, key):
    """The score of many forecasts that know the distribution of their truths, after a change."""
    k_truth, k_members, k_score, k_change = jax.random.split(key, 4)
    truths, ensembles = smooth(k_truth, CASES), smooth(k_members, CASES, MEMBERS)
    changed = jax.vmap(change)(ensembles, jax.random.split(k_change, CASES))
    keys = jax.random.split(k_score, CASES)
    return np.asarray(jax.vmap(lambda e, x, k: score(e, x, key=k))(changed, truths, keys))


WORSE = {
    "shifted": lambda e, k: e + 0.5,
    "too wide": lambda e, k: 1.7 * e,
    "too narrow": lambda e, k: 0.5 * e,
}


def assert_better(one, other):
    """On the same truths, by five standard errors of the mean difference."""
    difference = other - one
    assert difference.mean() > 5 * difference.std() / np.sqrt(CASES)


@pytest.mark.parametrize("worse", WORSE)
def test_the_right_distribution_scores_best(score, worse, key):
    right = scores_of(score, lambda e, k: e, key)
    assert_better(right, scores_of(score, WORSE[worse], key))


@pytest.mark.parametrize("name", FEEL_CORRELATIONS)
def test_shuffling_the_members_of_each_point_costs_score(name, key):
    def shuffled(ensemble, k):
        return jax.vmap(jax.random.permutation, in_axes=(0, 1), out_axes=1)(
            jax.random.split(k, N), ensemble
        )

    right = scores_of(SCORES[name], lambda e, k: e, key)
    assert_better(right, scores_of(SCORES[name], shuffled, key))


def test_the_order_of_the_members_does_not_matter(score, key):
    ensemble, truth = smooth(key, MEMBERS), smooth(jax.random.fold_in(key, 1))
    one, other = (score(e, truth, key=key) for e in (ensemble, ensemble[::-1]))
    np.testing.assert_allclose(one, other, rtol=1e-10)


def test_a_collapsed_ensemble_has_a_score(score, key):
    truth = smooth(key)
    for ensemble in (jnp.zeros((MEMBERS, N)), jnp.broadcast_to(truth, (MEMBERS, N))):
        assert np.isfinite(score(ensemble, truth, key=key))


@pytest.mark.parametrize("name", ["crps", "energy"])
def test_where_members_meet_the_gradient_of_their_distance_is_finite(name, key):
    """That of a spread is not, there; the training skips such a gradient."""
    truth = smooth(key)
    for ensemble in (jnp.zeros((MEMBERS, N)), jnp.broadcast_to(truth, (MEMBERS, N))):
        gradient = jax.grad(lambda e: SCORES[name](e, truth, key=key))(ensemble)
        assert np.all(np.isfinite(gradient))


def test_gaussian_score_by_hand():
    score = gaussian_score(jnp.zeros(2), jnp.full(2, 2.0), jnp.asarray([2.0, 4.0]))
    np.testing.assert_allclose(score, np.log(2) + (0.5 * 1 + 0.5 * 4) / 2)


def test_two_members_by_hand(key):
    """Members -1 and 1 everywhere, truth 0: mean |x - y| is 1, the pairs 2 x 2 / (2 x 2 x 1)."""
    ensemble = jnp.stack([-jnp.ones(N), jnp.ones(N)])
    truth = jnp.zeros(N)
    np.testing.assert_allclose(CRPS(2.0)(ensemble, truth, key=key), 0.0, atol=1e-12)
    # Vectors of five points: lengths sqrt 5 and 2 sqrt 5, hence zero as well; a truth of 1
    # has (2 sqrt 5 + 0) / 2 - sqrt 5 = 0, and one of 3 has 3 sqrt 5 - sqrt 5.
    np.testing.assert_allclose(LocalEnergyScore(1.0)(ensemble, truth, key=key), 0.0, atol=1e-12)
    np.testing.assert_allclose(
        LocalEnergyScore(2.0)(ensemble, truth + 3.0, key=key), np.sqrt(5.0), rtol=1e-12
    )


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_the_usual_score_is_that_of_both_gaussian_ones_in_any_unit(unit, key):
    """Another unit adds its logarithm to each of the two, and nothing else."""
    ensemble, truth = smooth(key, MEMBERS), smooth(jax.random.fold_in(key, 1))
    floor = SPREAD_FLOOR * 2.0
    scores = (GaussianScore(floor), ProjectedGaussianScore(floor))
    expected = sum(score(ensemble, truth, key=key) for score in scores)
    found = local_gaussian(2.0 * unit)(unit * ensemble, unit * truth, key=key)
    np.testing.assert_allclose(found - 2 * np.log(unit), expected, rtol=1e-9)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="scale must be > 0, got 0"):
        CRPS(0.0)
    with pytest.raises(ValueError, match="scale must be > 0, got -1"):
        LocalEnergyScore(-1.0)
    with pytest.raises(ValueError, match="floor must be > 0, got 0"):
        ProjectedGaussianScore(0.0)
    with pytest.raises(ValueError, match="one weight for each of 1 scores, got 2"):
        SumOfScores((GaussianScore(FLOOR),), (1.0, 2.0))
