"""Laws of every observation error model, and moving networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.observations.errors import (
    AlongTrackErrorModel,
    DiagonalErrorModel,
    StateDependentErrorModel,
)
from vardax_core.observations.networks import swath, track

pytestmark = pytest.mark.ladder

POSITIONS = jnp.array([0.0, 0.5, 2.0, 2.1, 5.0])
SD = jnp.array([1.0, 0.5, 2.0, 0.3, 1.5])
EQUIVALENT = jnp.array([1.0, -2.0, 0.0, 4.0, 3.0])
MASK = np.array([True, True, False, True, True])
LENGTH = 1.5

ERRORS = {
    "diagonal": (DiagonalErrorModel(), np.diag(np.asarray(SD) ** 2)),
    "state_dependent": (
        StateDependentErrorModel(0.5),
        np.diag(np.asarray(SD) ** 2 + 0.25 * np.asarray(EQUIVALENT) ** 2),
    ),
    "along_track": (
        AlongTrackErrorModel.along(POSITIONS, LENGTH),
        np.outer(SD, SD)
        * np.exp(-np.abs(np.subtract.outer(np.asarray(POSITIONS), np.asarray(POSITIONS))) / LENGTH),
    ),
}


@pytest.fixture(params=ERRORS)
def case(request):
    return ERRORS[request.param]


@pytest.mark.parametrize("mask", [np.ones(5, bool), MASK, np.zeros(5, bool)])
def test_whitening_and_colouring_are_the_roots_of_the_covariance(case, mask):
    errors, covariance = case
    expected = np.where(np.outer(mask, mask), covariance, 0.0)
    context = (EQUIVALENT, jnp.asarray(mask), SD)
    colour = np.asarray(jax.vmap(lambda e: errors.colour(e, *context))(jnp.eye(5))).T
    whiten = np.asarray(jax.vmap(lambda e: errors.whiten(e, *context))(jnp.eye(5))).T
    np.testing.assert_allclose(colour @ colour.T, expected, atol=1e-12)
    np.testing.assert_allclose(whiten @ colour, np.diag(mask.astype(float)), atol=1e-12)


def test_a_missing_value_does_not_matter(case):
    errors, _ = case
    context = (EQUIVALENT, jnp.asarray(MASK), SD)
    departure = jnp.arange(5.0)
    np.testing.assert_array_equal(
        errors.whiten(departure.at[2].set(1e30), *context), errors.whiten(departure, *context)
    )


@pytest.mark.parametrize("length", [0.0, -1.0])
def test_a_correlation_of_no_length_is_refused(length):
    with pytest.raises(ValueError, match="length must be positive"):
        AlongTrackErrorModel.along(POSITIONS, length)


@pytest.mark.parametrize("positions", [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
def test_an_unsorted_track_is_refused(positions):
    with pytest.raises(ValueError, match="position 2 does not; sort"):
        AlongTrackErrorModel.along(jnp.array(positions), 1.0)


def test_a_negative_fraction_is_refused():
    with pytest.raises(ValueError, match="fraction must be >= 0"):
        StateDependentErrorModel(-0.1)


def test_a_track_runs_along_its_heading():
    points = track((1.0, 2.0), np.pi / 2, 0.5, 3)
    np.testing.assert_allclose(points, [[1.0, 2.0], [1.5, 2.0], [2.0, 2.0]], atol=1e-12)


def test_a_swath_lies_on_both_sides_of_its_track():
    points = swath(track((0.0, 0.0), 0.0, 1.0, 3), half_width=1.0, spacing=0.5)
    assert points.shape == (3, 5, 2)
    np.testing.assert_allclose(points[1, :, 1], np.ones(5), atol=1e-12)
    np.testing.assert_allclose(points[1, :, 0], [-1.0, -0.5, 0.0, 0.5, 1.0], atol=1e-12)


def test_a_track_without_points_is_refused():
    with pytest.raises(ValueError, match="n_points >= 1"):
        track((0.0, 0.0), 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="a track of 2 points"):
        swath(track((0.0, 0.0), 0.0, 1.0, 1), 1.0, 0.5)
