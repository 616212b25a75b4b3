"""Roots by products are those by eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.points import Inflation, point_transforms
from vardax_core.analysis.ensemble.roots import BOUNDS, QUINTICS, inverse_root
from vardax_core.analysis.ensemble.transform import WhitenedEnsemble, symmetric_transform

ROOT = jax.jit(inverse_root)
TRANSFORMS = jax.jit(point_transforms, static_argnums=3)
PLAIN = Inflation()


def spectra(size, largest, count=4):
    """Matrices with an eigenvalue of zero and one that is the largest, and their exact roots."""
    rng = np.random.default_rng(size)
    turn = np.linalg.qr(rng.normal(size=(count, size, size)))[0]
    values = np.concatenate([[0, largest], largest * rng.uniform(size=size - 2) ** 3])
    excess = np.einsum("bij,j,bkj->bik", turn, values, turn)
    return excess, np.einsum("bij,j,bkj->bik", turn, (1 + values) ** -0.5, turn)


def whitened(points, local, members, spread, seed=0):
    rng = np.random.default_rng(seed)
    anomalies = spread * rng.normal(size=(points, local, members))
    anomalies -= anomalies.mean(axis=2, keepdims=True)
    return anomalies, rng.normal(size=(points, local)), rng.uniform(0.2, 1, (points, local))


@pytest.mark.parametrize("size", [5, 39, 40, 100])
def test_a_root_is_that_of_the_eigenvalues(size):
    for largest in (0.5, 30.0, 300.0):
        excess, exact = spectra(size, largest)
        single = ROOT(jnp.asarray(excess, jnp.float32))
        np.testing.assert_allclose(single, exact, atol=1e-5)
        np.testing.assert_array_equal(single, jnp.swapaxes(single, 1, 2))
        np.testing.assert_allclose(ROOT(jnp.asarray(excess)), exact, atol=1e-12)


def test_the_root_of_one_matrix_does_not_hang_on_the_others():
    excess = jnp.asarray(np.concatenate([spectra(12, v)[0] for v in (0.1, 5.0, 1e4)]), jnp.float32)
    whole, other = ROOT(excess), ROOT(excess.at[4:].set(0.0))
    np.testing.assert_array_equal(whole[:4], other[:4])
    np.testing.assert_allclose(other[4:], np.broadcast_to(np.eye(12), (8, 12, 12)), atol=1e-6)


def test_the_quintics_take_every_number_to_one():
    for begin, bound in enumerate(BOUNDS):
        x = np.linspace(bound, 1, 20001)
        for one, cube, fifth in QUINTICS[begin:-1]:
            assert np.all((x > 0) & (x <= 1 + 1e-8))
            x = x * (one + x**2 * (cube + x**2 * fifth))
        np.testing.assert_allclose(x, 1, atol=1e-8)


@pytest.mark.parametrize(("members", "local"), [(5, 9), (24, 30), (24, 14)])
def test_the_transform_of_a_point_is_that_of_its_observations(members, local):
    anomalies, innovations, weights = whitened(3, local, members, 2.0)
    found = TRANSFORMS(
        *(jnp.asarray(x, jnp.float32) for x in (anomalies, innovations, weights)), PLAIN
    )
    assert np.all(found.resolved)
    for point in range(3):
        root = np.sqrt(weights[point])
        exact = symmetric_transform(
            WhitenedEnsemble(
                jnp.asarray(anomalies[point].T * root), jnp.asarray(innovations[point] * root)
            )
        )
        expected = exact.matrix + exact.mean_weights[None]
        np.testing.assert_allclose(found.matrix[point], expected, atol=2e-5)
        assert float(found.signal[point]) == pytest.approx(float(exact.signal), abs=1e-4)


def test_where_squares_would_not_do_singular_values_are_taken():
    """One point of three sees observations of a ten-thousandth of the spread."""
    anomalies, innovations, weights = whitened(3, 30, 12, 1.0)
    anomalies[1] *= 1e4
    innovations[1] *= 1e4
    given = (anomalies, innovations, weights)
    found = TRANSFORMS(*(jnp.asarray(x, jnp.float32) for x in given), PLAIN)
    exact = TRANSFORMS(*(jnp.asarray(x) for x in given), PLAIN)
    np.testing.assert_allclose(found.matrix, exact.matrix, atol=2e-3)
    alone = TRANSFORMS(*(jnp.asarray(x[::2], jnp.float32) for x in given), PLAIN)
    np.testing.assert_array_equal(found.matrix[::2], alone.matrix)


def test_a_point_inflates_by_the_innovations_around_it():
    anomalies, innovations, weights = whitened(3, 30, 12, 1.0)
    innovations = np.sign(innovations) * np.array([0.0, 1.8, 8.0])[:, None]
    anomalies[:, 20:], weights[:, 20:] = 0.0, 0.0
    found = TRANSFORMS(
        *(jnp.asarray(x) for x in (anomalies, innovations, weights)), Inflation(1.0, 0.5)
    )
    assert found.factor[0] < 1 < found.factor[1] < found.factor[2] == 2
    nothing = TRANSFORMS(
        *(jnp.zeros_like(jnp.asarray(x)) for x in (anomalies, innovations, weights)),
        Inflation(1.0, 0.5),
    )
    np.testing.assert_array_equal(nothing.factor, 1.0)
    np.testing.assert_allclose(nothing.matrix[0], np.eye(12), atol=1e-12)
