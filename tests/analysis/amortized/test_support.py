"""Where states can be: maps there and back, their Jacobians, and densities with no mass outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead
from vardax_core.analysis.amortized.support import EVERYWHERE, Box, Simplex, box
from vardax_core.training.fit import FitSettings
from vardax_core.training.simulations import (
    SupportError,
    fit_simulations,
    simulation_batch,
    simulation_head,
)

MIXED = Box(jnp.asarray([-2.0, 0.0, -jnp.inf, -jnp.inf]), jnp.asarray([3.0, jnp.inf, 5.0, jnp.inf]))
SUPPORTS = {
    "everywhere": (EVERYWHERE, 4),
    "box": (box(-2.0, 3.0), 4),
    "mixed": (MIXED, 4),
    "simplex": (Simplex(), 4),
}
free_numbers = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(jnp.asarray)


def free_of(support, numbers):
    return numbers[: support.free_shape((4,))[0]]


@pytest.mark.parametrize("name", SUPPORTS)
@given(numbers=free_numbers)
@settings(max_examples=20, deadline=None)
def test_there_and_back_is_where_it_began_and_inside(name, numbers):
    support, size = SUPPORTS[name]
    free = free_of(support, numbers)
    x = support.from_free(free)
    assert x.shape == (size,) == support.shape_of(free.shape)
    assert support.contains(x)
    np.testing.assert_allclose(support.to_free(x), free, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SUPPORTS)
@given(numbers=free_numbers)
@settings(max_examples=10, deadline=None)
def test_the_jacobian_is_that_of_the_map(name, numbers):
    """On a simplex by its first elements: the last is what they leave."""
    support, _ = SUPPORTS[name]
    free = free_of(support, numbers)
    count = free.shape[0]
    inverse = jax.jacfwd(lambda z: support.from_free(z)[:count])(free)
    expected = -np.linalg.slogdet(np.asarray(inverse))[1]
    found = support.log_det(support.from_free(free))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_uniform_draw_becomes_gaussian_and_the_edge_stays_finite():
    bounded = box([-1.0], [1.0])
    x = jnp.linspace(-1, 1, 20001)[:, None]
    free = np.asarray(jax.vmap(bounded.to_free)(x))
    assert np.all(np.isfinite(free))
    inner = free[1:-1]
    assert abs(inner.mean()) < 1e-6
    assert abs(inner.std() - 1) < 1e-3


@pytest.mark.parametrize(
    "kind",
    [
        "regression",
        pytest.param("flow", marks=pytest.mark.slow),
        pytest.param("score", marks=pytest.mark.ladder),
    ],
)
def test_no_mass_is_outside_and_the_density_integrates_to_one(kind, key):
    """By the midpoint rule over the box; the ends of the box carry less than the tolerance."""
    bounded, context = box(-1.0, 2.0), jnp.asarray([0.3, -1.0])
    head = simulation_head(kind, 2, 1, support=bounded, key=key)
    draws = np.asarray(head.sample(context, key, 2000))
    assert draws.min() >= -1
    assert draws.max() <= 2
    edges = np.linspace(-1, 2, 1001)
    middle = jnp.asarray((edges[1:] + edges[:-1]) / 2)[:, None]
    density = np.exp(jax.vmap(lambda x: head.log_prob(x, context))(middle))
    assert abs(density.sum() * (edges[1] - edges[0]) - 1) < 5e-3
    assert head.log_prob(jnp.asarray([2.5]), context) == -jnp.inf
    mean, sd = head.marginals(context, key, 4000)
    assert abs(mean[0] - draws.mean()) < 6 * draws.std() / 2000**0.5
    assert abs(sd[0] / draws.std() - 1) < 0.15


@pytest.mark.parametrize(
    "head",
    [
        RegressionHead,
        *(
            pytest.param(h, marks=pytest.mark.slow)
            for h in (ConditionalFlowHead, ScoreDiffusionHead)
        ),
    ],
)
def test_draws_on_a_simplex_add_up_to_one(head, key):
    made = head(2, (2,), hidden_dim=8, support=Simplex(), key=key)
    draws = np.asarray(made.sample(jnp.ones(2), key, 100))
    assert draws.shape == (100, 3)
    np.testing.assert_allclose(draws.sum(axis=1), 1, atol=1e-6)
    assert draws.min() >= 0
    assert np.isfinite(made.log_prob(jnp.asarray([0.2, 0.3, 0.5]), jnp.ones(2)))


def test_spread_is_carried_by_the_slope():
    bounded, mean = MIXED, jnp.asarray([0.5, 2.0, 1.0, 7.0])
    found = bounded.spread_to_free(1e-6 * jnp.ones(4), mean)
    moved = bounded.to_free(mean + 1e-6) - bounded.to_free(mean)
    np.testing.assert_allclose(found, np.abs(moved), rtol=1e-4)


@pytest.mark.ladder
def test_a_truncated_posterior_is_learned_with_its_mass_inside(key):
    """Uniform on [-1, 1] with an error of 0.5, beside the exact posterior by quadrature."""
    prior_key, noise_key, fit_key = jax.random.split(key, 3)
    theta = jax.random.uniform(prior_key, (2000, 1), minval=-1.0, maxval=1.0)
    data = theta + 0.5 * jax.random.normal(noise_key, theta.shape)
    result = fit_simulations(
        theta,
        data,
        support=box(-1.0, 1.0),
        settings=FitSettings(n_steps=400, check_every=200, learning_rate=3e-3),
        key=fit_key,
    )
    datum = jnp.asarray([[0.9]])
    draws = np.asarray(result.posterior.sample(simulation_batch(None, datum), key, 4000))[0, :, 0]
    assert np.abs(draws).max() <= 1
    grid = np.linspace(-1, 1, 2001)
    weight = np.exp(-0.5 * ((grid - 0.9) / 0.5) ** 2)
    mean = (grid * weight).sum() / weight.sum()
    sd = np.sqrt(((grid - mean) ** 2 * weight).sum() / weight.sum())
    assert abs(draws.mean() - mean) < 0.25 * sd
    assert abs(draws.std() / sd - 1) < 0.25


def test_a_prior_outside_of_its_support_and_bounds_in_the_wrong_order_are_refused(key):
    theta = jnp.linspace(-2.0, 1.0, 20)[:, None]
    with pytest.raises(SupportError, match="7 of 20 draws from the prior are outside"):
        fit_simulations(theta, theta, support=box(-1.0, 1.0), key=key)
    with pytest.raises(ValueError, match="every lower bound must be below"):
        box([0.0, 1.0], [1.0, 1.0])
