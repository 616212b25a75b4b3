"""The scores of withheld records are those of their definition."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmarks.records import scores as local_scores


def test_a_score_is_that_of_gaussian_predictions():
    rng = np.random.default_rng(0)
    departures, sd = np.array([0.5, -2.0]), np.array([1.0, 1.5])
    found = local_scores.score(departures, sd)
    drawn = sd[:, None] * rng.normal(size=(2, 4000))
    near = np.abs(drawn - departures[:, None]).mean(axis=1)
    apart = np.abs(drawn[:, :2000] - drawn[:, 2000:]).mean(axis=1)
    assert found.crps == pytest.approx(np.mean(near - apart / 2), rel=0.03)
    assert found.rmse == pytest.approx(np.sqrt((0.25 + 4) / 2))
    assert found.ratio == pytest.approx(np.sqrt((1 + 2.25) / 4.25))
    assert found.coverage90 == 1.0


def test_the_reference_is_a_dense_interpolation_where_it_takes_all():
    rng = np.random.default_rng(1)
    lon, lat, day = rng.uniform(0, 3, 30), rng.uniform(36, 39, 30), rng.uniform(0, 9, 30)
    departures, held = rng.normal(0, 0.05, 30), np.arange(30) % 5 == 0
    error, sd = local_scores.reference_tracks(lon, lat, day, departures, held, most=24)
    x = np.c_[lon * np.cos(np.radians(38)) * 1.112, lat * 1.112, day / 10]
    matrix = 0.0025 * (1 + cdist(x, x)) * np.exp(-cdist(x, x))
    inverse = np.linalg.inv(matrix[np.ix_(~held, ~held)] + 0.015**2 * np.eye(24))
    centre = departures[~held].mean()
    mean = centre + matrix[np.ix_(held, ~held)] @ inverse @ (departures[~held] - centre)
    np.testing.assert_allclose(error, departures[held] - mean, atol=1e-10)
    rest = matrix[np.ix_(held, ~held)] @ inverse @ matrix[np.ix_(~held, held)]
    np.testing.assert_allclose(sd**2, 0.0025 + 0.015**2 - np.diagonal(rest), atol=1e-10)


def test_superobservations_are_means_of_what_was_kept():
    flat = np.array([[1.0, 3.0, 5.0, 9.0], [2.0, 2.0, 4.0, 8.0]])
    kept = np.array([[True, True, True, False], [False, False, False, False]])
    place = np.arange(8.0).reshape(4, 2)
    values, places, when = local_scores._superobservations(
        flat, kept, place, np.array([0, 0, 1, 1]), np.array([10.0, 20.0])
    )
    np.testing.assert_array_equal(values, [2.0, 5.0])
    np.testing.assert_array_equal(places, [[1.0, 2.0], [4.0, 5.0]])
    np.testing.assert_array_equal(when, [10.0, 10.0])
