"""Laws of every background covariance: one line in `COVARIANCES` brings one under all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.variational.covariance import (
    CovarianceError,
    DenseCovariance,
    LowRankCovariance,
)
from vardax_core.analysis.variational.hybrid import HybridCovariance, SampleCovariance
from vardax_core.analysis.variational.spectral import (
    gaussian_covariance,
    matern_covariance,
)


def singular():
    root = jnp.asarray(np.random.default_rng(2).normal(size=(6, 2)))
    return DenseCovariance.from_matrix(root @ root.T, (2, 3))


def eofs():
    samples = jnp.asarray(np.random.default_rng(6).normal(size=(9, 2, 3)))
    return LowRankCovariance.from_samples(samples, rank=4)


def spectral_1d():
    return gaussian_covariance(jnp.linspace(0.5, 2.0, 12), 1.5)


def hybrid():
    static = matern_covariance(jnp.linspace(0.5, 2.0, 6).reshape(2, 3), 1.0, 1.5, grid_axes=2)
    return HybridCovariance(static, eofs(), 0.4)


def of_members(members=5):
    return SampleCovariance.of(jnp.asarray(np.random.default_rng(7).normal(size=(members, 2, 3))))


COVARIANCES = {
    "dense": lg.background_covariance,
    "dense_singular": singular,
    "eofs": eofs,
    "gaussian": spectral_1d,
    "gaussian_odd": lambda: gaussian_covariance(jnp.ones((5, 7)), 0.8, grid_axes=2),
    "matern": lambda: matern_covariance(jnp.ones((4, 6)), 2.0, 0.5, grid_axes=2),
    "matern_channels": lambda: matern_covariance(jnp.full((2, 8), 3.0), 2.0, 2.5, grid_axes=1),
    "hybrid": hybrid,
    "of_few_members": of_members,
    "of_many_members": lambda: of_members(20),
    "hybrid_of_members": lambda: HybridCovariance(lg.background_covariance(), of_members(), 0.4),
}

SINGULAR = ("dense_singular", "eofs", "of_few_members")

RNG = np.random.default_rng(4)


@pytest.fixture(params=COVARIANCES)
def covariance(request):
    return COVARIANCES[request.param]()


def matrix_of(function, shape):
    columns = jax.jit(jax.vmap(lambda e: function(e.reshape(shape)).ravel()))
    return np.asarray(columns(jnp.eye(int(np.prod(shape))))).T


def test_the_covariance_is_symmetric_and_not_negative(covariance):
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12


def test_the_square_root_squared_is_the_covariance(covariance):
    matrix = matrix_of(covariance.apply, covariance.state_shape)
    root = matrix_of(covariance.square_root, (covariance.rank,))
    np.testing.assert_allclose(root @ root.T, matrix, atol=1e-10)


def test_the_adjoint_of_the_square_root_is_its_transpose(covariance):
    control, state = RNG.normal(size=covariance.rank), RNG.normal(size=covariance.state_shape)
    forward = jnp.sum(covariance.square_root(jnp.asarray(control)) * state)
    backward = control @ covariance.square_root_adjoint(jnp.asarray(state))
    assert float(forward) == pytest.approx(float(backward), rel=1e-10)


def test_the_inverse_undoes_the_covariance_on_its_range(covariance):
    """B B^-1 B = B holds for an inverse and for a pseudo-inverse."""
    state = covariance.apply(jnp.asarray(RNG.normal(size=covariance.state_shape)))
    again = covariance.apply(covariance.inverse(state))
    np.testing.assert_allclose(again, state, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in COVARIANCES if name not in SINGULAR])
def test_the_inverse_of_a_regular_covariance_is_one(name):
    covariance = COVARIANCES[name]()
    state = jnp.asarray(RNG.normal(size=covariance.state_shape))
    again = covariance.apply(covariance.inverse(state))
    np.testing.assert_allclose(again, state, rtol=1e-6, atol=1e-6)


def test_single_precision_stays_single(covariance):
    cast = lambda x: x.astype(jnp.float32)  # noqa: E731
    single = jax.tree.map(cast, covariance)
    state = jnp.asarray(RNG.normal(size=covariance.state_shape))
    assert single.apply(cast(state)).dtype == jnp.float32
    np.testing.assert_allclose(
        single.apply(cast(state)), covariance.apply(state), rtol=1e-3, atol=1e-4
    )


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


def test_a_gaussian_correlation_has_its_shape():
    """On a ring long against the length, exp(-r^2 / (2 length^2))."""
    covariance = gaussian_covariance(jnp.ones(64), 3.0)
    column = covariance.apply(jnp.zeros(64).at[20].set(1.0))
    distance = np.arange(-20, 44)
    np.testing.assert_allclose(column, np.exp(-(distance**2) / 18.0), atol=1e-6)


def test_a_matern_correlation_of_one_half_is_exponential():
    """exp(-r / length), but for the wavenumbers that a grid of 20 points a length cannot hold."""
    covariance = matern_covariance(jnp.ones(512), 20.0, 0.5)
    column = covariance.apply(jnp.zeros(512).at[0].set(1.0))
    np.testing.assert_allclose(column[:60], np.exp(-np.arange(60) / 20.0), atol=0.02)


def test_eofs_of_all_modes_are_the_sample_covariance():
    samples = RNG.normal(size=(5, 2, 3))
    covariance = LowRankCovariance.from_samples(jnp.asarray(samples), rank=4)
    expected = np.cov(samples.reshape(5, -1).T)
    np.testing.assert_allclose(matrix_of(covariance.apply, (2, 3)), expected, atol=1e-12)


def test_a_covariance_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="is no covariance of a state"):
        DenseCovariance.from_matrix(jnp.eye(5), (2, 3))
    with pytest.raises(ValueError, match=r"rank must lie in 1\.\.4"):
        LowRankCovariance.from_samples(jnp.zeros((5, 2, 3)), rank=5)
    with pytest.raises(ValueError, match="build both for one grid"):
        HybridCovariance(lg.background_covariance(), LowRankCovariance(jnp.ones((4, 1)), (4,)), 0.5)
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\)"):
        HybridCovariance(lg.background_covariance(), eofs(), 1.0)


@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, 2.0, -0.1]), np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])]
)
def test_a_matrix_that_is_no_covariance_is_refused(matrix):
    with pytest.raises(CovarianceError, match="symmetric and has no negative eigenvalue"):
        DenseCovariance.from_matrix(jnp.asarray(matrix), (3,))


@pytest.mark.parametrize("length", [0.0, -2.0])
def test_a_correlation_of_no_length_is_refused(length):
    with pytest.raises(ValueError, match="must be positive"):
        gaussian_covariance(jnp.ones(8), length)
    with pytest.raises(ValueError, match="must be positive"):
        matern_covariance(jnp.ones(8), length, 1.5)


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        gaussian_covariance(jnp.ones(8).at[3].set(0.0), 2.0)
