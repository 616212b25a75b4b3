"""Quality control and binning of point observations, on hand-worked sets."""

import numpy as np
import pytest

from vardax_core.observations.binning import BinningError, bin_to_grid
from vardax_core.observations.quality import QualityCode
from vardax_core.observations.screening import (
    ScreeningError,
    flag_blacklisted,
    flag_outside,
    flag_thinned,
    flag_unlike_neighbours,
)
from vardax_core.state.axis import Axis
from vardax_core.state.grids import LatLon, Plane

KEPT = int(QualityCode.KEPT)
PLANE = Plane.from_axes(np.arange(3.0), np.arange(3.0))
LINE = Plane((Axis.line(np.arange(7.0), "x"),))


def codes(*values):
    return np.array(values, np.int8)


def names(found):
    return [QualityCode(int(code)).name for code in found]


def test_blacklisted_stations_and_places_outside_are_flagged_and_codes_stay():
    found = flag_blacklisted(
        codes(KEPT, KEPT, int(QualityCode.MISSING)), np.array([1, 2, 2]), np.array([2])
    )
    assert names(found) == ["KEPT", "BLACKLISTED", "MISSING"]
    places = np.array([[0.0, 0.0], [1.0, 1.0], [1.1, 0.5], [np.nan, 0.5]])
    unit_square = Plane.from_axes(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    found = flag_outside(codes(*4 * [KEPT]), places, unit_square)
    assert names(found) == ["KEPT", "KEPT", "OUTSIDE_DOMAIN", "OUTSIDE_DOMAIN"]


def test_thinning_keeps_the_most_accurate_of_each_box_and_the_first_of_equals():
    places = np.array([[0.1, 0.1], [0.9, 0.9], [1.1, 0.1], [1.2, 0.2], [-0.1, 0.1]])
    found = flag_thinned(
        codes(*5 * [KEPT]), places, np.array([2.0, 1.0, 1.0, 1.0, 3.0]), 1.0, PLANE
    )
    assert names(found) == ["THINNED", "KEPT", "KEPT", "THINNED", "KEPT"]


def test_thinning_leaves_one_in_every_box_that_had_any():
    rng = np.random.default_rng(0)
    places, sd = rng.uniform(0, 4, (300, 2)), rng.uniform(0.5, 2, 300)
    found = flag_thinned(codes(*300 * [KEPT]), places, sd, 1.0, PLANE)
    boxes = {tuple(box) for box in np.floor(places[found == KEPT]).astype(int)}
    assert (found == KEPT).sum() == len(boxes) == 16


def test_the_buddy_check_takes_the_odd_one_out_and_leaves_a_common_departure():
    line = np.arange(7.0)[:, None]
    # All departures are large: the background is at fault. Only the fourth stands alone.
    departure = np.array([9.0, 9.5, 9.2, -3.0, 9.1, 8.8, 9.3])
    found = flag_unlike_neighbours(
        codes(*7 * [KEPT]), departure, np.ones(7), line, LINE, radius=2.5, k=4.0
    )
    assert np.flatnonzero(found == int(QualityCode.GROSS_ERROR)).tolist() == [3]
    alone = flag_unlike_neighbours(
        codes(*7 * [KEPT]), departure, np.ones(7), line, LINE, radius=0.5, k=4.0
    )
    assert (alone == KEPT).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: flag_blacklisted(codes(KEPT), np.array([1, 2]), np.array([1])),
        lambda: flag_thinned(codes(KEPT), np.zeros((1, 2)), np.ones(1), 0.0, PLANE),
        lambda: flag_unlike_neighbours(
            codes(KEPT), np.zeros(1), np.ones(1), np.zeros((1, 2)), PLANE, radius=-1.0
        ),
    ],
)
def test_what_cannot_be_screened_is_refused(call):
    with pytest.raises(ScreeningError):
        call()


GRID = LatLon.from_degrees(np.array([58.0, 57.0]), np.array([0.0, 1.0, 2.0]))


def test_observations_are_averaged_in_the_cells_of_the_grid():
    position = np.array([[58.2, 0.1], [57.6, -0.4], [57.4, 2.4], [40.0, 0.0], [58.0, 1.0]])
    values = np.array([1.0, 4.0, 7.0, 9.0, np.nan])
    found = bin_to_grid(values, np.array([1.0, 0.5, 1.0, 1.0, 1.0]), position, GRID)
    assert found.count.tolist() == [[2, 0, 0], [0, 0, 1]]
    # Weights 1 and 4.
    assert found.values[0, 0] == pytest.approx((1 + 4 * 4) / 5)
    assert found.values[1, 2] == 7.0
    assert np.isnan(found.values[0, 1])
    assert found.outside == 1
    # Scatter 1 (2.4)^2 + 4 (0.6)^2 = 7.2, less one degree of freedom, over 5 - 17 / 5.
    assert found.representativeness_sd == pytest.approx((6.2 / 1.6) ** 0.5)
    assert found.error_sd[1, 2] == pytest.approx((1 + 6.2 / 1.6) ** 0.5)


def test_representativeness_error_is_found_where_it_is_and_only_there():
    rng = np.random.default_rng(1)
    n = 40000
    position = np.stack([rng.uniform(56.5, 58.5, n), rng.uniform(-0.5, 2.5, n)], axis=1)
    noise = 0.3 * rng.normal(size=n)
    sd = np.full(n, 0.3)
    exact = bin_to_grid(noise, sd, position, GRID)
    # The estimate of a variance from n numbers is off by 0.09 sqrt(2 / n), one in a thousand of 1.
    assert exact.representativeness_sd**2 < 0.09 * 4 * (2 / n) ** 0.5
    scattered = bin_to_grid(noise + 0.8 * rng.normal(size=n), sd, position, GRID)
    assert scattered.representativeness_sd == pytest.approx(0.8, rel=0.02)
    assert exact.count.sum() == n
    assert np.abs(exact.values).max() < 5 * 0.3 / (n / 6) ** 0.5


def test_what_cannot_be_binned_is_refused():
    one, place = np.ones(1), np.array([[57.0, 1.0]])
    with pytest.raises(BinningError, match="must be positive"):
        bin_to_grid(one, 0 * one, place, GRID)
    with pytest.raises(BinningError, match="as many errors as values"):
        bin_to_grid(one, np.ones(2)[:1], place[:, :1], GRID)


GLOBE = LatLon.from_degrees(np.array([-10.0, 0, 10]), np.arange(0, 360, 10.0))
SEAM = np.array([[0, -4.9], [0, 355.1], [0, 359.9], [0, 354.0], [0, 714.2]])


def test_every_place_around_the_globe_is_in_a_cell():
    found = bin_to_grid(np.ones(5), np.ones(5), SEAM, GLOBE)
    assert found.outside == 0
    assert found.count[1, 0] == 3
    assert found.count[1, 35] == 2
    region = LatLon.from_degrees(np.array([-10.0, 0, 10]), np.array([350.0, 0.0, 10.0]))
    assert bin_to_grid(np.ones(5), np.ones(5), SEAM, region).count[1].tolist() == [2, 3, 0]


@pytest.mark.parametrize(
    "grid", [GLOBE, LatLon.from_degrees(np.arange(3.0), np.arange(170, 191.0))]
)
def test_two_names_of_one_place_are_thinned_as_one(grid):
    places = np.array([[0.0, 179.9], [0.0, -179.9], [0.0, 180.1], [0.0, 540.1]])
    found = flag_thinned(codes(*4 * [KEPT]), places, np.ones(4), 5.0, grid)
    assert names(found)[1:] == ["KEPT", "THINNED", "THINNED"]


def test_neighbours_are_found_across_the_dateline_and_by_true_distance():
    """At 80 degrees north five degrees of longitude are less than one degree of the Earth."""
    east = np.array([178.0, 179, -180, -179, -178])
    places = np.stack([np.zeros(5), east], axis=1)
    departure = np.array([0.0, 0, 9, 0, 0])
    found = flag_unlike_neighbours(
        codes(*5 * [KEPT]), departure, np.ones(5), places, GLOBE, radius=2.1, fewest=4
    )
    assert names(found) == ["KEPT", "KEPT", "GROSS_ERROR", "KEPT", "KEPT"]
    north = np.stack([np.full(5, 80.0), np.array([0, 5, 10, 15, 20.0])], axis=1)
    found = flag_unlike_neighbours(
        codes(*5 * [KEPT]), departure, np.ones(5), north, GLOBE, radius=1.8, fewest=4
    )
    assert names(found)[2] == "GROSS_ERROR"
