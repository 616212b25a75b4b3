"""What holds for every encoder of the table, and the two for vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.amortized.instances import ENCODERS
from vardax_core.analysis.amortized.encoders import (
    AbstractObsEncoder,
    EncoderInputError,
    EncoderSignatureError,
    IdentityObsEncoder,
    MLPObsEncoder,
    requested_fields,
)

FIELDS = {
    "background_mean": jnp.linspace(-1.0, 1.0, 5),
    "background_spread": jnp.linspace(0.5, 1.0, 5),
    "error_sd": jnp.full((2, 5), 0.5),
    "positions": jnp.linspace(0.0, 1.0, 5)[:, None],
    "times": jnp.array([-60.0, 0.0]),
}
encoders = pytest.mark.parametrize("name", list(ENCODERS))


def arguments(encoder, dtype=jnp.float64):
    wanted = {k: FIELDS[k].astype(dtype) for k in requested_fields(encoder)}
    x = jax.random.normal(jax.random.key(3), (2, 5), dtype)
    mask = jnp.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).astype(dtype)
    return x * mask, mask, wanted


@eqx.filter_jit
def probe(encoder, x, mask, extra):
    """Contexts of the window, of two windows by vmap, of observed zeros and of nothing."""
    nothing = jnp.zeros_like(mask)

    def square(a, m):
        return jnp.sum(encoder(a, m, **extra) ** 2)

    return {
        "context": encoder(x, mask, **extra),
        "rows": jax.vmap(lambda a: encoder(a, mask, **extra))(jnp.stack([x, 2 * x])),
        "slope": jax.grad(square)(x, mask),
        "observed zeros": encoder(nothing, mask, **extra),
        "nothing": encoder(nothing, nothing, **extra),
        "slope of nothing": jax.grad(square)(nothing, nothing),
    }


@encoders
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_laws_of_encoders(name, dtype, key):
    encoder = jax.tree.map(
        lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, ENCODERS[name](key)
    )
    seen = {k: np.asarray(v) for k, v in probe(encoder, *arguments(encoder, dtype)).items()}
    assert all(v.dtype == dtype for v in seen.values()), "the precision is kept"
    assert all(np.isfinite(v).all() for v in seen.values()), "an empty window is no trouble"
    np.testing.assert_allclose(seen["rows"][0], seen["context"], rtol=1e-4, atol=1e-5)
    assert np.any(seen["slope"] != 0), "the values are seen"
    assert not np.allclose(seen["observed zeros"], seen["nothing"]), "the mask is seen"


def test_identity_is_the_input_followed_by_the_mask():
    x, mask, _ = arguments(IdentityObsEncoder())
    expected = np.concatenate([np.ravel(x), np.ravel(mask)])
    np.testing.assert_array_equal(IdentityObsEncoder()(x, mask), expected)


def test_a_window_of_another_size_names_both_sizes(key):
    encoder = MLPObsEncoder(10, 4, key=key)
    with pytest.raises(EncoderInputError, match=r"input_size 10.*\(3, 5\).*input_size=15"):
        encoder(jnp.zeros((3, 5)), jnp.ones((3, 5)))


def test_a_parameter_that_no_batch_has_is_refused():
    class Wrong(AbstractObsEncoder):
        def __call__(self, input, mask, backgroud_mean):
            return input.reshape(-1)

    with pytest.raises(EncoderSignatureError, match="backgroud_mean"):
        requested_fields(Wrong())
