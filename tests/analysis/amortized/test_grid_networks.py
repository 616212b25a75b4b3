"""Convolutions and U-Nets on grids, and the encoders made of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.checks import MissingFieldError
from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder
from vardax_core.analysis.amortized.encoders import EncoderInputError
from vardax_core.analysis.amortized.grid import GridConv, UNet, folded, unfolded
from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead, leading_eofs
from vardax_core.analysis.amortized.set_encoder import SetObsEncoder

pytestmark = pytest.mark.ladder


@pytest.mark.parametrize("grid", [(7,), (6, 5)])
@pytest.mark.parametrize("periodic", [True, False])
def test_grid_convolution_is_the_convolution(grid, periodic, key):
    n = len(grid)
    layer = GridConv(2, 3, kernel=3, periodic=periodic, n_dims=n, key=key)
    field = jax.random.normal(key, (2, *grid))
    weight = layer.weight.reshape(3, *(3,) * n, 2)
    weight = jnp.moveaxis(weight, -1, 1)
    padded = jnp.pad(field, ((0, 0), *((1, 1),) * n), mode="wrap" if periodic else "constant")
    expected = jax.lax.conv_general_dilated(padded[None], weight, (1,) * n, "VALID")[0]
    np.testing.assert_allclose(layer(field), expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="odd"):
        GridConv(2, 3, kernel=4, periodic=periodic, n_dims=n, key=key)


@pytest.mark.parametrize("grid", [(8,), (4, 6)])
def test_unfolding_undoes_folding(grid):
    field = jnp.arange(3.0 * np.prod(grid)).reshape(3, *grid)
    coarse = folded(field, 2)
    assert coarse.shape == (3 * 2 ** len(grid), *(n // 2 for n in grid))
    np.testing.assert_array_equal(unfolded(coarse, 2), field)


def test_a_periodic_u_net_commutes_with_shifts_of_its_coarsest_cell(key):
    net = eqx.filter_jit(UNet(2, 3, width=4, levels=2, patch=2, embedding=2, key=key))
    field, vector = jax.random.normal(key, (2, 16, 8)), jnp.array([0.3, -1.0])
    out = net(field, vector)
    assert out.shape == (3, 16, 8)
    shifted = net(jnp.roll(field, (4, -4), (1, 2)), vector)
    np.testing.assert_allclose(shifted, jnp.roll(out, (4, -4), (1, 2)), rtol=1e-9, atol=1e-9)
    assert not np.allclose(net(field, -vector), out)
    with pytest.raises(ValueError, match="multiples of 4"):
        net(field[:, :14], vector)


def test_one_network_serves_grids_of_any_size(key):
    encoder = ConvObsEncoder(2, 3, n_dims=1, hidden_channels=4, depth=2, key=key)
    for n in (8, 40):
        assert encoder(jnp.ones((2, n)), jnp.ones((2, n))).shape == (3, n)
    planar = ConvObsEncoder(
        1, 3, n_dims=2, n_variables=2, hidden_channels=4, levels=2, patch=1, key=key
    )
    for n in (4, 8):
        assert planar(jnp.ones((1, 2, n, n)), jnp.ones((1, 2, n, n))).shape == (3, n, n)


def test_a_periodic_convolution_commutes_with_shifts(key):
    encoder = ConvObsEncoder(1, 2, n_dims=1, hidden_channels=4, depth=2, kernel=3, key=key)
    x, mask = jax.random.normal(key, (1, 9)), jnp.ones((1, 9)).at[0, 2].set(0)
    shifted = encoder(jnp.roll(x, 4, 1), jnp.roll(mask, 4, 1))
    np.testing.assert_allclose(shifted, jnp.roll(encoder(x, mask), 4, 1), rtol=1e-10)


def test_windows_and_fields_that_do_not_fit_are_refused(key):
    encoder = ConvObsEncoder(2, 3, n_dims=1, fields=("error_sd",), key=key)
    with pytest.raises(MissingFieldError, match="error_sd is None"):
        encoder(jnp.ones((2, 8)), jnp.ones((2, 8)))
    with pytest.raises(EncoderInputError, match=r"built for 2 rows.*\(3, 8\)"):
        encoder(jnp.ones((3, 8)), jnp.ones((3, 8)), error_sd=jnp.ones((3, 8)))


@pytest.fixture
def stations(key):
    keys = jax.random.split(key, 4)
    return {
        "input": jax.random.normal(keys[0], (2, 12)),
        "mask": (jax.random.uniform(keys[1], (2, 12)) < 0.7).astype(float),
        "positions": jax.random.uniform(keys[2], (12, 2)),
        "error_sd": 0.5 + jax.random.uniform(keys[3], (2, 12)),
        "times": jnp.array([-60.0, 0.0]),
    }


@pytest.fixture
def set_encoder(key):
    return SetObsEncoder(4, n_coordinates=2, width=16, n_queries=3, n_heads=2, key=key)


def test_the_order_of_the_stations_changes_nothing(set_encoder, stations):
    order = np.random.default_rng(0).permutation(12)
    other = {k: v[..., order] for k, v in stations.items() if k in ("input", "mask", "error_sd")}
    other |= {"positions": stations["positions"][order], "times": stations["times"]}
    encode = eqx.filter_jit(set_encoder)
    np.testing.assert_allclose(encode(**other), encode(**stations), rtol=1e-5, atol=1e-5)


def test_missing_stations_are_as_good_as_absent(set_encoder, stations):
    keep = np.array([0, 3, 4, 7])
    fewer = {k: v[..., keep] for k, v in stations.items() if k in ("input", "mask", "error_sd")}
    fewer |= {"positions": stations["positions"][keep], "times": stations["times"]}
    present = np.isin(np.arange(12), keep).astype(float)
    masked = stations | {"mask": stations["mask"] * present[None]}
    np.testing.assert_allclose(set_encoder(**masked), set_encoder(**fewer), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["positions", "error_sd", "times", "input"])
def test_what_an_observation_says_matters(set_encoder, stations, name):
    changed = stations | {name: stations[name] + (30.0 if name == "times" else 0.3)}
    assert not np.allclose(set_encoder(**changed), set_encoder(**stations), rtol=1e-3)


def test_sets_that_are_too_large_are_refused(stations, key):
    small = SetObsEncoder(4, n_coordinates=2, max_observations=10, key=key)
    with pytest.raises(EncoderInputError, match=r"at most 10.*2 rows of 12"):
        small(**stations)
    with pytest.raises(ValueError, match="multiple of n_heads"):
        SetObsEncoder(4, width=10, n_heads=4, key=key)


def test_leading_eofs_are_the_singular_vectors():
    rng = np.random.default_rng(0)
    for samples in (6, 40):
        x = rng.standard_normal((samples, 3, 4)) * np.linspace(0.1, 3, 12).reshape(3, 4)
        eofs = np.asarray(leading_eofs(jnp.asarray(x), 3)).reshape(3, 12)
        np.testing.assert_allclose(eofs @ eofs.T, np.eye(3), atol=1e-10)
        right = np.linalg.svd(x.reshape(samples, 12))[2][:3]
        np.testing.assert_allclose(np.abs(np.diag(eofs @ right.T)), 1.0, rtol=1e-8)
    with pytest.raises(ValueError, match="20 modes"):
        leading_eofs(jnp.asarray(x), 20)


def test_eofs_of_another_grid_are_refused(key):
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(4,\)"):
        EOFFlowHead(3, (4,), jnp.ones((2, 5)), key=key)
