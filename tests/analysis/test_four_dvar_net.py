"""4DVarNet: shapes, symmetries, and that it learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vardax_core.analysis.variational.four_dvar_net import FourDVarNet1D, FourDVarNet2D

pytestmark = pytest.mark.ladder

NETWORKS = {
    "one": (lambda key: FourDVarNet1D(3, hidden=4, iterations=2, key=key), (3, 8)),
    "two": (lambda key: FourDVarNet2D(2, hidden=4, iterations=2, key=key), (2, 6, 5)),
}


@pytest.fixture(params=NETWORKS)
def case(request, key):
    make, shape = NETWORKS[request.param]
    return make(key), shape


def test_a_window_is_reconstructed_on_its_own_grid(case, key):
    network, shape = case
    values = jax.random.normal(key, shape)
    states = eqx.filter_jit(network)(values, jnp.ones(shape))
    assert states.shape == shape
    assert bool(jnp.all(jnp.isfinite(states)))


def test_what_is_not_observed_does_not_matter(case, key):
    network, shape = case
    mask = (jax.random.uniform(key, shape) > 0.5).astype(jnp.zeros(()).dtype)
    values = jax.random.normal(key, shape)
    other = jnp.where(mask > 0, values, 1e9)
    run = eqx.filter_jit(network)
    np.testing.assert_array_equal(run(values, mask), run(other, mask))


def test_the_grid_has_no_first_point(case, key):
    network, shape = case
    values, mask = jax.random.normal(key, shape), jnp.ones(shape)
    run = eqx.filter_jit(network)
    moved = run(jnp.roll(values, 2, axis=-1), mask)
    np.testing.assert_allclose(moved, jnp.roll(run(values, mask), 2, axis=-1), atol=1e-10)


def test_units_are_those_of_the_input(key):
    """Centre and scale shift and stretch the reconstruction with the input."""
    plain = FourDVarNet1D(3, hidden=4, iterations=2, key=key)
    scaled = FourDVarNet1D(3, hidden=4, iterations=2, centre=5.0, scale=2.0, key=key)
    values, mask = jax.random.normal(key, (3, 8)), jnp.ones((3, 8))
    expected = 5.0 + 2.0 * plain(values, mask)
    np.testing.assert_allclose(scaled(5.0 + 2.0 * values, mask), expected, atol=1e-10)


def test_it_learns_to_fill_gaps(key):
    """Travelling waves seen at half of their points: the error halves in 150 steps."""
    phases = jax.random.uniform(key, (32,)) * 2 * jnp.pi
    x, t = jnp.arange(8.0) * 2 * jnp.pi / 8, jnp.arange(3.0)
    truth = jnp.sin(x[None, None, :] + t[None, :, None] + phases[:, None, None])
    mask = (jax.random.uniform(jax.random.key(1), truth.shape) > 0.5).astype(truth.dtype)
    network = FourDVarNet1D(3, hidden=8, iterations=3, key=key)
    optimizer = optax.adam(5e-3)
    weights, static = eqx.partition(network, eqx.is_inexact_array)

    def loss(weights):
        states = jax.vmap(eqx.combine(weights, static))(truth * mask, mask)
        return jnp.mean((states - truth) ** 2)

    @jax.jit
    def learn(weights):
        def body(carry, _):
            weights, state = carry
            updates, state = optimizer.update(jax.grad(loss)(weights), state)
            return (optax.apply_updates(weights, updates), state), None

        return jax.lax.scan(body, (weights, optimizer.init(weights)), length=150)[0][0]

    with jax.numpy_dtype_promotion("standard"):
        assert float(loss(learn(weights))) < 0.25 * float(loss(weights))


@pytest.mark.parametrize("bad", [{"hidden": 0}, {"iterations": 0}, {"kernel": 4}, {"scale": 0.0}])
def test_a_network_without_size_is_refused(bad, key):
    with pytest.raises(ValueError, match="must be >= 1"):
        FourDVarNet1D(3, key=key, **bad)
