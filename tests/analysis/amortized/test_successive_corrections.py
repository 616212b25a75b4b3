"""Successive corrections against kernels worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder
from vardax_core.analysis.amortized.successive_corrections import smoothed, successive_corrections


@pytest.mark.parametrize(("periodic", "distance"), [(True, 2), (False, 8)])
def test_one_observation_spreads_by_the_kernel(periodic, distance):
    values, mask = jnp.zeros((1, 10)).at[0, 0].set(3.0), jnp.zeros((1, 10)).at[0, 0].set(1.0)
    analyses, trusts = successive_corrections(
        values, mask, scales=(2.0, 1.0), periodic=periodic, ridge=0.25
    )
    wide, narrow = np.exp(-0.5 * (distance / 2) ** 2), np.exp(-0.5 * distance**2)
    # The first analysis leaves 3 - 3 / 1.25 = 0.6 at the observed point itself.
    first = 3 * wide / (wide + 0.25)
    np.testing.assert_allclose(analyses[0, 0, 8], first, rtol=1e-12)
    np.testing.assert_allclose(
        analyses[1, 0, 8], first + 0.6 * narrow / (narrow + 0.25), rtol=1e-12
    )
    np.testing.assert_allclose(trusts[:, 0, 8], [wide / (wide + 0.25), narrow / (narrow + 0.25)])


def test_a_kernel_on_the_plane_is_the_product_of_two(key):
    field = jax.random.normal(key, (2, 6, 8))
    y, x = np.indices((6, 8))
    distance = np.minimum(y, 6 - y) ** 2 + np.minimum(x, 8 - x) ** 2
    kernel = np.exp(-0.5 * distance / 1.5**2)
    by_fft = np.fft.ifft2(np.fft.fft2(field) * np.fft.fft2(kernel)).real
    np.testing.assert_allclose(smoothed(field, 1.5, periodic=True), by_fft, rtol=1e-10)


def test_without_observations_nothing_is_said_and_nothing_trusted(key):
    unseen = jnp.where(jax.random.normal(key, (1, 6, 6)) > 0, jnp.nan, 1.0)
    analyses, trusts = successive_corrections(
        unseen, jnp.zeros((1, 6, 6)), scales=(4.0, 1.0), periodic=True
    )
    assert not np.any(analyses)
    assert not np.any(trusts)


def test_a_scale_of_zero_is_refused(key):
    with pytest.raises(ValueError, match=r"must be positive, got \(2.0, 0.0\)"):
        ConvObsEncoder(1, 3, n_dims=1, scales=(2.0, 0.0), key=key)
