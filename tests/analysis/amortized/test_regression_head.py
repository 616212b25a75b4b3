"""The Gaussian head against dense linear algebra."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal

from tests.analysis.amortized.instances import make_head
from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.regression import RegressionHead

CTX = jnp.array([0.3, -0.8, 1.1])


def test_woodbury_is_the_dense_gaussian():
    head = make_head("low-rank regression", 5)
    mean, sd, columns = head.moments(CTX)
    assert float(jnp.max(jnp.abs(columns))) > 0.1
    dense = jnp.diag(sd**2) + columns.T @ columns
    z = jnp.linspace(-1.0, 2.0, 5)
    expected = multivariate_normal.logpdf(z, mean, dense)
    np.testing.assert_allclose(head.standard_log_prob(z, CTX), expected, rtol=1e-10)
    _, marginal_sd = head.standard_marginals(CTX, jax.random.key(0), 2)
    np.testing.assert_allclose(marginal_sd, jnp.sqrt(jnp.diagonal(dense)), rtol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_loss_is_the_negative_log_density_up_to_a_constant(beta, key):
    """Whatever weighs its gradient, so that the better of two trainings has the smaller loss."""
    head = RegressionHead(3, (4,), beta=beta, key=key)
    z = jnp.linspace(-1.0, 2.0, 4)
    loss = head.loss(z, CTX, key=key, quantile=jnp.asarray(0.5))
    np.testing.assert_allclose(loss + 2 * jnp.log(2 * jnp.pi), -head.log_prob(z, CTX), rtol=1e-12)


def test_beta_weights_the_gradient_of_the_mean_by_the_power_of_the_variance(key):
    plain, weighted = (RegressionHead(3, (1,), beta=b, key=key) for b in (0.0, 0.5))
    z = jnp.array([2.0])
    sd = plain.moments(CTX)[1][0]

    def slope(head):
        return jax.grad(lambda c: head.loss(z, c, key=key, quantile=jnp.asarray(0.5)))(CTX)

    np.testing.assert_allclose(slope(weighted), sd * slope(plain), rtol=1e-10)


def test_the_columns_do_not_change_what_the_mean_learns(key):
    """The residual pulls the mean point by point, however the columns correlate it."""
    head = make_head("low-rank regression", 5)
    z = jnp.linspace(-1.0, 2.0, 5)

    def loss(shift):
        bias = head.network.mlp.layers[-1].bias
        moved = eqx.tree_at(
            lambda h: h.network.mlp.layers[-1].bias, head, bias.at[:5].set(bias[:5] + shift)
        )
        return moved.standard_loss(z, CTX, key, jnp.asarray(0.5))

    mean, sd, columns = head.moments(CTX)
    variance = sd**2 + jnp.sum(columns**2, axis=0)
    expected = variance ** (head.beta - 1) * (mean - z)
    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros(5)), expected, rtol=1e-9)


def test_tempering_scales_the_covariance_exactly():
    head = make_head("low-rank regression", 3)
    _, sd, columns = head.moments(CTX)
    mean, wide_sd, wide_columns = head.tempered(jnp.asarray(2.0)).moments(CTX)
    np.testing.assert_allclose(wide_sd, 2 * sd, rtol=1e-12)
    np.testing.assert_allclose(wide_columns, 2 * columns, rtol=1e-12)
    np.testing.assert_array_equal(mean, head.moments(CTX)[0])


def test_a_network_of_another_shape_is_refused(key):
    network = FieldNetwork((4, 6, 5), (6, 5), 3, key=key)
    with pytest.raises(ValueError, match="n_maps is 2"):
        RegressionHead((4, 6, 5), (6, 5), rank=0, network=network, key=key)
    with pytest.raises(ValueError, match="FieldNetwork"):
        RegressionHead((4, 6, 5), (6, 5), key=key)
    with pytest.raises(ValueError, match="rank must be at least 0"):
        RegressionHead(3, (2,), rank=-1, key=key)
    with pytest.raises(ValueError, match=r"grid \(6, 5\)"):
        FieldNetwork((4, 6, 5), (7, 5), 2, key=key)
