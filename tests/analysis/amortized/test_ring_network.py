"""One set of weights on rings of any length."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.amortized.ring_network import BLOCK, RingNetwork
from vardax_core.observations.operators import Identity


@pytest.fixture(scope="module")
def network():
    made = RingNetwork.create(3, 2, width=8, depth=3, key=jax.random.key(0))
    weight = jax.random.normal(jax.random.key(1), made.last.weight.shape)
    return eqx.tree_at(lambda n: n.last.weight, made, weight)


@pytest.mark.parametrize("n", [BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 700])
def test_a_long_ring_in_blocks_is_the_ring_as_a_whole(network, n):
    x = jax.random.normal(jax.random.key(2), (n, 3))
    whole = eqx.filter_jit(lambda net, x: net._ring(x))(network, x)
    blocks = eqx.filter_jit(network)(x)
    assert blocks.shape == (n, 2)
    np.testing.assert_allclose(blocks, whole, rtol=1e-10, atol=1e-10)


def test_a_shift_of_the_ring_shifts_the_result(network):
    x = jax.random.normal(jax.random.key(2), (BLOCK + 100, 3))
    run = eqx.filter_jit(network)
    moved = run(jnp.roll(x, 37, axis=0))
    np.testing.assert_allclose(moved, jnp.roll(run(x), 37, axis=0), rtol=1e-10, atol=1e-10)


def test_gains_on_a_long_ring_are_those_of_the_ring_as_a_whole():
    n, members, reach = BLOCK + 300, 4, 3
    step = LocalTransformStep.create(
        Identity((n,)), None, centre=0.0, scale=1.0, reach=reach, width=4, key=jax.random.key(0)
    )
    anomalies = jax.random.normal(jax.random.key(1), (members, n))
    gain = jax.random.normal(jax.random.key(2), (n, 2 * reach + 1))
    direct = sum(
        gain[None, :, k] * jnp.roll(anomalies, reach - k, axis=1) for k in range(2 * reach + 1)
    )
    np.testing.assert_allclose(
        eqx.filter_jit(step._combined)(anomalies, gain), direct, rtol=1e-10, atol=1e-10
    )
