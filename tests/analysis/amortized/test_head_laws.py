"""What holds for every head of the table."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.amortized.instances import (
    CONTEXT_DIM,
    FIELD_CONTEXT,
    FIELD_HEADS,
    FIELD_STATE,
    VECTOR_HEADS,
    make_head,
    scaled,
)
from vardax_core.analysis.amortized.heads.base import (
    ContextShapeError,
    SampleCountError,
    StateShapeError,
)

pytestmark = pytest.mark.ladder

CTX = jnp.array([0.3, -0.8, 1.1])
N_SAMPLES = 4000
heads = pytest.mark.parametrize("name", list(VECTOR_HEADS))


@eqx.filter_jit
def log_prob(head, x):
    return head.log_prob(x, CTX)


@eqx.filter_jit
def draw(head, key, n):
    return head.sample(CTX, key, n)


@eqx.filter_jit
def marginals(head, key, n):
    return head.marginals(CTX, key, n)


def grid_density(head, half_width, points):
    """exp(log_prob) on a square grid over standard units, with the volume of one cell."""
    centre, scale = 0.5, 2.0
    axis = centre + scale * jnp.linspace(-half_width, half_width, points)
    axes = jnp.meshgrid(*[axis] * head.state_shape[0], indexing="ij")
    x = jnp.stack([a.reshape(-1) for a in axes], axis=-1)
    log_density = eqx.filter_jit(jax.vmap(log_prob, in_axes=(None, 0)))(head, x)
    cell = (axis[1] - axis[0]) ** head.state_shape[0]
    return np.asarray(x), np.asarray(jnp.exp(log_density) * cell)


@cache
def samples(name):
    """Draws of the two-dimensional head of the table."""
    return np.asarray(draw(make_head(name, 2), jax.random.key(0), N_SAMPLES))


@heads
def test_the_density_integrates_to_one_in_one_dimension(name):
    _, weights = grid_density(make_head(name, 1), 7.0, 281)
    assert abs(weights.sum() - 1) < 2e-3


@heads
def test_the_density_integrates_to_one_and_samples_have_its_moments(name):
    x, weights = grid_density(make_head(name, 2), 6.0, 81)
    assert abs(weights.sum() - 1) < 2e-3
    mean = weights @ x
    cov = (x - mean).T @ ((x - mean) * weights[:, None])
    sd = np.sqrt(np.diagonal(cov))
    # Five standard errors of a mean and, with room for kurtosis up to 10, of a covariance.
    np.testing.assert_allclose((samples(name).mean(0) - mean) / sd, 0.0, atol=5 / N_SAMPLES**0.5)
    got = np.cov(samples(name).T) / (sd[:, None] * sd)
    np.testing.assert_allclose(got, cov / (sd[:, None] * sd), atol=5 * (9 / N_SAMPLES) ** 0.5)


@heads
def test_marginals_are_those_of_the_samples(name):
    mean, sd = marginals(make_head(name, 2), jax.random.key(1), N_SAMPLES)
    off = (samples(name).mean(0) - mean) / sd
    np.testing.assert_allclose(off, 0.0, atol=5 * (2 / N_SAMPLES) ** 0.5)
    ratio = samples(name).std(0) / sd
    np.testing.assert_allclose(ratio, 1.0, atol=5 * (9 / 4 / N_SAMPLES) ** 0.5)


@heads
def test_scaling_changes_the_density_by_its_jacobian(name):
    head = make_head(name, 2)
    plain = scaled(head, 0.0, 1.0)
    x = jnp.array([0.4, 1.5])
    standard = log_prob(plain, (x - 0.5) / 2.0)
    np.testing.assert_allclose(log_prob(head, x), standard - 2 * np.log(2.0), rtol=1e-9)


@heads
def test_map_estimate_has_the_shape_of_the_state(name):
    assert eqx.filter_jit(make_head(name, 3).map_estimate)(CTX).shape == (3,)


@heads
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_jit_vmap_and_grad_keep_the_precision(name, dtype, key):
    head = jax.tree.map(
        lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, make_head(name, 2)
    )
    ctx = jnp.stack([CTX, -CTX]).astype(dtype)
    x = jnp.zeros((2, 2), dtype)

    @eqx.filter_jit
    def everything(head):
        log_prob = jax.vmap(head.log_prob)(x, ctx)
        samples = jax.vmap(lambda c: head.sample(c, key, 2))(ctx)
        quantile = jnp.asarray(0.4, dtype)
        value, grads = eqx.filter_value_and_grad(
            lambda h: jnp.mean(
                jax.vmap(lambda a, c: h.loss(a, c, key=key, quantile=quantile))(x, ctx)
            )
        )(head)
        return log_prob, samples, value, grads

    *values, grads = everything(head)
    for value in values:
        assert value.dtype == dtype
        assert bool(jnp.all(jnp.isfinite(value)))
    leaves = [g for g in jax.tree.leaves(grads) if eqx.is_inexact_array(g)]
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in leaves)
    assert any(float(jnp.max(jnp.abs(g))) > 0 for g in leaves)


@heads
def test_gradient_of_the_log_density_is_its_slope(name):
    head = make_head(name, 2)
    x, direction, step = jnp.array([0.4, 1.2]), jnp.array([0.6, -0.8]), 1e-4
    slope = eqx.filter_jit(jax.grad(lambda x, h: h.log_prob(x, CTX)))(x, head) @ direction
    ahead, behind = (log_prob(head, x + s * step * direction) for s in (1.0, -1.0))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=2e-3, atol=2e-3)


@heads
def test_the_same_key_gives_the_same_samples(name):
    head = make_head(name, 2)
    first, again, other = (draw(head, jax.random.key(k), N_SAMPLES) for k in (0, 0, 2))
    np.testing.assert_array_equal(first, again)
    assert not bool(jnp.any(first == other))


@heads
def test_scaling_is_not_trained(name, key):
    head = make_head(name, 2)
    grads = eqx.filter_jit(
        eqx.filter_grad(lambda h: h.loss(jnp.zeros(2), CTX, key=key, quantile=jnp.asarray(0.3)))
    )(head)
    assert not bool(jnp.any(grads.scaling.scale))
    assert not bool(jnp.any(grads.scaling.shift))


@heads
def test_shapes_that_do_not_fit_are_named(name, key):
    head = make_head(name, 2)
    with pytest.raises(ContextShapeError, match=r"\(3,\).*\(5,\)"):
        head.map_estimate(jnp.zeros(5))
    with pytest.raises(ContextShapeError, match=r"\(3,\).*\(4, 3\)"):
        head.sample(jnp.zeros((4, CONTEXT_DIM)), key, 2)
    with pytest.raises(StateShapeError, match=r"\(2,\).*\(3,\)"):
        head.log_prob(jnp.zeros(3), CTX)
    with pytest.raises(SampleCountError, match="at least 1, got 0"):
        head.sample(CTX, key, 0)
    with pytest.raises(SampleCountError, match="n >= 2"):
        head.marginals(CTX, key, 1)


@heads
def test_tempering_widens_the_spread(name, key):
    head = make_head(name, 2)
    wide = draw(head.tempered(jnp.asarray(1.5)), key, N_SAMPLES).std(0)
    np.testing.assert_allclose(wide / samples(name).std(0), 1.5, rtol=0.2)


@pytest.mark.parametrize("name", list(FIELD_HEADS))
def test_field_heads_give_fields(name, key):
    head = FIELD_HEADS[name](key)
    ctx = jax.random.normal(key, FIELD_CONTEXT)
    assert eqx.filter_jit(head.map_estimate)(ctx).shape == FIELD_STATE
    samples = eqx.filter_jit(head.sample)(ctx, key, 3)
    assert samples.shape == (3, *FIELD_STATE)
    mean, sd = eqx.filter_jit(head.marginals)(ctx, key, 8)
    assert mean.shape == sd.shape == FIELD_STATE
    assert bool(jnp.all(sd > 0))
    assert jnp.isfinite(eqx.filter_jit(head.log_prob)(samples[0], ctx))
    loss = eqx.filter_jit(head.loss)(samples[0], ctx, key=key, quantile=jnp.asarray(0.5))
    assert loss.shape == ()
