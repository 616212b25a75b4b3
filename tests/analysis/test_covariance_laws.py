"""Laws of every background covariance: one line in `COVARIANCES` brings one under all of them."""

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest

from vardax_core.analysis.variational.covariance import DenseCovariance


def singular():
    root = jnp.asarray(np.random.default_rng(2).normal(size=(6, 2)))
    return DenseCovariance.from_matrix(root @ root.T, (2, 3))


COVARIANCES = {
    "dense": lg.background_covariance,
    "dense_singular": singular,
}

RNG = np.random.default_rng(4)


@pytest.fixture(params=COVARIANCES)
def covariance(request):
    return COVARIANCES[request.param]()


def matrix_of(function, shape):
    columns = jax.vmap(lambda e: function(e.reshape(shape)).ravel())(jnp.eye(int(np.prod(shape))))
    return np.asarray(columns).T


def test_the_covariance_is_symmetric_and_not_negative(covariance):
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12


def test_the_square_root_squared_is_the_covariance(covariance):
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    root = matrix_of(covariance.square_root, (covariance.rank,))
    np.testing.assert_allclose(root @ root.T, matrix, atol=1e-10)


def test_the_variance_is_the_diagonal(covariance):
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    assert covariance.variance().shape == covariance.state_shape
    np.testing.assert_allclose(covariance.variance().ravel(), np.diag(matrix), atol=1e-12)


def test_draws_have_the_covariance(covariance, key):
    """Entries of a sample covariance of n draws err by at most sqrt(2 / n) of a variance."""
    n = 20000
    controls = jax.random.normal(key, (n, covariance.rank))
    draws = np.asarray(jax.vmap(covariance.square_root)(controls)).reshape(n, -1)
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    scale = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
    assert np.max(np.abs(np.cov(draws.T) - matrix) / scale) < 4.5 * np.sqrt(2 / n)
