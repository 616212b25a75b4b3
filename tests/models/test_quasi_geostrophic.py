"""The quasi-geostrophic model beside pyqg-jax, another implementation of the same equations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyqg_jax.qg_model import QGModel
from pyqg_jax.state import Precision

from vardax_core.models.quasi_geostrophic import QuasiGeostrophic

SETTINGS = {
    "oceanic_eddies": {},
    "other_parameters": {
        "beta": 1e-11,
        "deformation_radius": 4e4,
        "depth_ratio": 0.6,
        "shear": -0.04,
        "friction": 2e-7,
        "length": 2e6,
    },
}


def reference(model):
    return QGModel(
        nx=model.size,
        L=model.length,
        beta=model.beta,
        rd=model.deformation_radius,
        delta=model.depth_ratio,
        U1=model.shear,
        U2=0.0,
        rek=model.friction,
        # Its default, 23.6, is this number to three digits.
        filterfac=math.log(1e15) / (0.35 * math.pi) ** 4,
        precision=Precision.DOUBLE,
    )


def relative_error(found, expected):
    return float(jnp.max(jnp.abs(found - expected)) / jnp.max(jnp.abs(expected)))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_tendency_is_that_of_pyqg(name, key):
    """Both sum the same terms in another order: rounding of a transform of 2 x 24 x 24 points.

    Advection is the product of fields at all waves, so errors of 1e-16 in each grow to 1e-13 at
    most in the largest coefficient.
    """
    model = QuasiGeostrophic(size=24, **SETTINGS[name])
    q = 1e-5 * jax.random.normal(key, model.state_shape)
    # The mean of q drives no flow here and is left undefined there.
    q = q - jnp.mean(q, axis=(1, 2), keepdims=True)

    @jax.jit
    def of_pyqg(q):
        other = reference(model)
        full = other.get_full_state(other.create_initial_state(key).update(q=q))
        return full.dqhdt, full.p, other.filtr

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        tendency, streamfunction, spectral_filter = of_pyqg(q)
    assert relative_error(model.spectral_tendency(jnp.fft.rfft2(q)), tendency) < 1e-12
    assert relative_error(model.streamfunction(q), streamfunction) < 1e-12
    np.testing.assert_allclose(model._filter(), spectral_filter, atol=1e-12)
