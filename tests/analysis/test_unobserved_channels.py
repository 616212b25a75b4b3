"""Three channels on a latitude-longitude grid, of which one is observed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import local_network
from vardax_core.observations.operators import PointSampling
from vardax_core.state.grids import LatLon
from vardax_core.types import Observations

GRID = LatLon.from_degrees(np.linspace(40.0, 55.0, 4), np.linspace(-10.0, 15.0, 6))
SHAPE = (3, *GRID.shape)
STATIONS = np.array([1, 4, 8, 11, 13, 16, 21])
SCALES = np.array([1.0, 20.0, 0.05])
"""Standard deviations of the channels, each in its own unit."""
CORRELATIONS = np.array([[1.0, 0.8, -0.6], [0.8, 1.0, -0.3], [-0.6, -0.3, 1.0]])
REACH, ERROR, MEMBERS = 900.0, 0.3, 100
"""Kilometres of the covariance's length; error of the observations, unit of the first channel."""


def covariance():
    between = CORRELATIONS * np.outer(SCALES, SCALES)
    return np.kron(between, np.exp(-np.asarray(GRID.pairwise()) / REACH))


@pytest.fixture(scope="module")
def case():
    """A truth, members whose mean and covariance are those of its distribution to rounding, and
    the exact mean and covariance given what is seen of the first channel."""
    b = covariance()
    rng = np.random.default_rng(3)
    root = np.linalg.cholesky(b)
    truth = root @ rng.standard_normal(len(b))
    noise = rng.standard_normal((len(b), MEMBERS))
    noise -= noise.mean(axis=1, keepdims=True)
    orthogonal = np.linalg.qr(noise.T)[0].T * np.sqrt(MEMBERS - 1)
    drawn = (root @ orthogonal).T
    seen = truth[STATIONS] + ERROR * rng.standard_normal(STATIONS.size)
    total = b[np.ix_(STATIONS, STATIONS)] + ERROR**2 * np.eye(STATIONS.size)
    gain = np.linalg.solve(total, b[STATIONS]).T
    exact = (gain @ seen).reshape(SHAPE)
    variance = np.diag(b - gain @ b[STATIONS]).reshape(SHAPE)
    members = jnp.asarray(drawn.reshape(-1, *SHAPE))
    given = Observations.from_values(
        jnp.asarray(seen)[None], jnp.full((1, STATIONS.size), ERROR), jnp.zeros(1, jnp.int32)
    )
    return members, given, exact, variance


OPERATOR = PointSampling(jnp.asarray(STATIONS), SHAPE)


def test_members_of_the_right_covariance_find_the_exact_answer_in_every_channel(case):
    members, given, exact, variance = case
    found = ETKF(OPERATOR)(members, given, key=jax.random.key(0))
    scale = SCALES[:, None, None]
    np.testing.assert_allclose(np.asarray(found.mean) / scale, exact / scale, atol=1e-9)
    np.testing.assert_allclose(
        np.asarray(found.spread) ** 2 / scale**2, variance / scale**2, atol=1e-9
    )


def test_the_two_channels_that_are_not_observed_become_more_certain(case):
    _, _, _, variance = case
    reduction = 1 - (variance / SCALES[:, None, None] ** 2).mean(axis=(1, 2))
    # What is known of a channel follows its correlation with the observed one.
    assert reduction[0] > reduction[1] > reduction[2] > 0.1


def test_the_local_filter_corrects_all_channels_of_a_point_alike(case):
    members, given, exact, _ = case
    network = local_network(GRID, GRID.points()[STATIONS], 1500.0)
    found = LETKF(OPERATOR, network)(members, given, key=jax.random.key(0))
    left = np.asarray(found.mean) - exact
    for channel in range(3):
        assert np.mean(left[channel] ** 2) < 0.2 * np.mean(exact[channel] ** 2)
