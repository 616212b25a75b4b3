"""Laws of every grid, and what each measures on hand-worked places."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.state.grids import (
    Curvilinear,
    GridError,
    LatLon,
    OutsideDomainError,
    Plane,
    Ring,
)
from vardax_core.state.sphere import EARTH_RADIUS_KM

CUT_AT_GREENWICH = np.array([0, 0.5, 1, *np.arange(355, 360, 0.5)])
"""Five degrees to the west and one to the east of Greenwich, sorted by numbers from 0 to 360."""


def tilted(degrees, angle):
    """Places moved by a rotation of the sphere about the x axis."""
    phi, lam = np.deg2rad(degrees[..., 0]), np.deg2rad(degrees[..., 1])
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    y, z = c * y - s * z, s * y + c * z
    return np.stack([np.rad2deg(np.arcsin(z.clip(-1, 1))), np.rad2deg(np.arctan2(y, x))], -1)


def curved(angle=35.0):
    """A regular grid around (0, 0), seen from elsewhere."""
    grid = LatLon.from_degrees(np.linspace(-20, 20, 17), np.linspace(-30, 30, 21))
    places = tilted(grid.positions(), angle)
    return Curvilinear(places[..., 0], places[..., 1])


GRIDS = {
    "ring": Ring(7),
    "plane": Plane.from_axes(np.array([0.0, 1, 3, 4]), np.arange(5.0, 0, -1), unit="km"),
    "torus": Plane.from_axes(np.arange(4.0), np.arange(6.0) * 2, periods=(4.0, 12.0)),
    "region": LatLon.from_degrees(np.linspace(58, 50, 9), np.linspace(-10, 2, 13)),
    "pacific": LatLon.from_degrees(
        np.linspace(-20, 20, 9), np.array([160.0, 170, 180, -170, -160, -150])
    ),
    "globe": LatLon.from_degrees(np.linspace(90, -90, 19), np.arange(0, 360, 10.0)),
    "globe between poles": LatLon.from_degrees(
        np.arange(-84, 90, 12.0), np.arange(-180, 180, 15.0)
    ),
    "curvilinear": curved(),
}
SPHERES = [name for name, grid in GRIDS.items() if grid.unit == "km" and name != "plane"]
seeds = st.integers(0, 2**32 - 1)
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
every_sphere = pytest.mark.parametrize("name", SPHERES)


def places_in(grid, seed, count=40):
    """Places between the points of a grid, some of them on its points."""
    rng = np.random.default_rng(seed)
    points = grid.points()
    if isinstance(grid, Curvilinear):
        inner = LatLon.from_degrees(np.linspace(-20, 20, 17), np.linspace(-30, 30, 21))
        drawn = tilted(rng.uniform([-20, -30], [20, 30], (count, 2)), 35.0)
        assert inner.shape == grid.shape
    else:
        drawn = rng.uniform(points.min(axis=0), points.max(axis=0), (count, points.shape[1]))
    return np.concatenate([drawn, points[rng.integers(0, grid.size, 5)]])


def with_mask(grid, mask):
    return dataclasses.replace(grid, mask=mask)


@every_grid
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_distance_is_a_metric(grid, seed):
    a, b, c = (places_in(grid, seed + k) for k in range(3))
    ab, bc, ac = grid.distance(a, b), grid.distance(b, c), grid.distance(a, c)
    np.testing.assert_array_equal(ab, grid.distance(b, a))
    np.testing.assert_array_equal(grid.distance(a, a), 0)
    assert np.all(ac <= (ab + bc) * (1 + 1e-12) + 1e-9)


@every_sphere
@settings(max_examples=8, deadline=None)
@given(seed=seeds, turns=st.integers(-3, 3))
def test_a_turn_of_all_longitudes_changes_nothing(name, seed, turns):
    grid, shift = GRIDS[name], np.array([0.0, 360.0 * turns])
    places = places_in(grid, seed)
    if isinstance(grid, LatLon):
        moved = LatLon.from_degrees(grid.latitude.points, grid.longitude.points + shift[1])
    else:
        moved = Curvilinear(grid.latitude, grid.longitude + shift[1])
    np.testing.assert_allclose(
        moved.distance(places + shift, places[::-1]), grid.distance(places, places[::-1]), atol=1e-8
    )
    np.testing.assert_allclose(moved.areas(), grid.areas(), rtol=1e-10)
    points = grid.points()  # in the middle of their cells, where rounding decides nothing
    np.testing.assert_array_equal(moved.cells(points), grid.cells(points))
    np.testing.assert_array_equal(grid.cells(points + shift), grid.cells(points))
    np.testing.assert_array_equal(moved.boxes(points + shift, 3.7), grid.boxes(points - shift, 3.7))
    field = np.sin(np.deg2rad(points[:, 0])) + np.cos(np.deg2rad(points[:, 1]))
    for one, at in ((moved, places), (grid, places + shift), (moved, places - shift)):
        np.testing.assert_allclose(
            interpolated(one, field, at), interpolated(grid, field, places), atol=1e-8
        )


def interpolated(grid, field, places):
    indices, weights = grid.stencil(places)
    return (np.reshape(field, -1)[indices] * weights).sum(axis=1)


def linear(grid, places):
    """A function that is linear where the grid is flat: in its coordinates, or in space."""
    if isinstance(grid, Curvilinear):
        phi, lam = np.deg2rad(places.T)
        return np.cos(phi) * np.cos(lam) + 2 * np.cos(phi) * np.sin(lam) - np.sin(phi)
    return places @ np.arange(1.0, places.shape[1] + 1)


@every_grid
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_a_stencil_has_weights_of_sum_one_and_reproduces_linear_functions(grid, seed):
    places = places_in(grid, seed)
    _, weights = grid.stencil(places)
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    expected = linear(grid, places)
    # A sphere is flat to half the square of a spacing of 3 degrees.
    tolerance = 3e-3 if isinstance(grid, Curvilinear) else 1e-9
    found = interpolated(grid, linear(grid, grid.points()), places)
    plain = np.ones(len(places), bool)
    if any(grid.wraps):  # there is no linear function around a circle, and none at a pole
        plain = np.all((places >= grid.points().min(0)) & (places <= grid.points().max(0)), axis=1)
        plain &= np.abs(places[:, 0]) < 90
    np.testing.assert_allclose(found[plain], expected[plain], atol=tolerance)


@every_grid
def test_a_point_is_in_its_own_cell_and_its_own_stencil(grid):
    points, numbers = grid.points(), np.arange(grid.size)
    alone = np.ones(grid.size, bool)
    if grid.unit == "km" and grid is not GRIDS["plane"]:
        alone = np.abs(points[:, 0]) < 90  # at a pole many points are one place
    np.testing.assert_array_equal(grid.cells(points)[alone], numbers[alone])
    np.testing.assert_allclose(
        interpolated(grid, numbers, points)[alone], numbers[alone], atol=1e-6
    )


@every_grid
@settings(max_examples=6, deadline=None)
@given(seed=seeds)
def test_masked_points_have_no_weight_and_the_others_share_it(grid, seed):
    mask = np.random.default_rng(seed).random(grid.shape) < 0.6
    mask.reshape(-1)[0] = True
    masked = with_mask(grid, mask)
    places = places_in(grid, seed)
    inside = masked.contains(places)
    indices, weights = masked.stencil(places[inside])
    assert np.all(weights[~mask.reshape(-1)[indices]] == 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    if not inside.all():
        with pytest.raises(OutsideDomainError, match="masked points"):
            masked.stencil(places)
    shares = masked.weights()
    assert np.all(shares[~mask] == 0)
    np.testing.assert_allclose(shares[mask].mean(), 1, rtol=1e-12)
    tiles = masked.tiles(3, 1)
    np.testing.assert_array_equal(np.sort(tiles.points[tiles.own]), np.flatnonzero(mask))


@every_grid
@settings(max_examples=6, deadline=None)
@given(size=st.integers(1, 9), halo=st.integers(0, 4))
def test_tiles_cover_each_point_once_with_their_halo_around_it(grid, size, halo):
    tiles = grid.tiles(size, halo)
    np.testing.assert_array_equal(np.sort(tiles.points[tiles.own]), np.arange(grid.size))
    assert tiles.points.shape[1:] == (size + 2 * halo,) * len(grid.shape)
    for points, own in list(zip(tiles.points, tiles.own, strict=True))[-8:]:
        block = np.stack(np.unravel_index(points.ravel(), grid.shape), axis=1)
        for centre in np.stack(np.unravel_index(points[own], grid.shape), axis=1)[:3]:
            for axis, (n, wraps) in enumerate(zip(grid.shape, grid.wraps, strict=True)):
                for step in (-halo, halo):
                    wanted = centre.copy()
                    wanted[axis] += step
                    wanted[axis] = wanted[axis] % n if wraps else wanted[axis].clip(0, n - 1)
                    assert (block == wanted).all(axis=1).any()


@every_grid
@settings(max_examples=6, deadline=None)
@given(seed=seeds, share=st.floats(0.05, 0.6))
def test_neighbours_are_the_places_within_the_radius(grid, seed, share):
    places = places_in(grid, seed)
    points = grid.points()
    apart = grid.distance(points[:, None], places[None])
    radius = float(share * apart.max())
    found = grid.neighbours(places, radius)
    for row in range(grid.size):
        near = np.isfinite(found.distances[row])
        clear = np.abs(apart[row] - radius) > 1e-6 * radius
        wanted = set(np.flatnonzero((apart[row] < radius) & clear))
        assert set(found.indices[row][near]) & set(np.flatnonzero(clear)) == wanted
    near = np.isfinite(found.distances)
    rows = np.broadcast_to(np.arange(grid.size)[:, None], near.shape)
    np.testing.assert_allclose(
        found.distances[near], apart[rows[near], found.indices[near]], atol=1e-4
    )
    assert np.all(np.diff(np.where(near, found.distances, 1e9), axis=1) >= 0)
    assert grid.neighbours(places, radius, most=2).indices.shape[1] <= 2


def test_areas_sum_to_those_of_the_whole():
    whole = 4 * np.pi * EARTH_RADIUS_KM**2
    for name in ("globe", "globe between poles"):
        np.testing.assert_allclose(GRIDS[name].areas().sum(), whole, rtol=1e-12)
    rows, columns = np.deg2rad([58.5, 49.5]), np.deg2rad([2.5, -10.5])
    belt = EARTH_RADIUS_KM**2 * (columns[0] - columns[1]) * np.diff(np.sin(rows[::-1]))[0]
    np.testing.assert_allclose(GRIDS["region"].areas().sum(), belt, rtol=1e-12)
    np.testing.assert_allclose(GRIDS["torus"].areas().sum(), 48)
    np.testing.assert_allclose(GRIDS["plane"].areas().sum(), 5 * 5)
    np.testing.assert_array_equal(GRIDS["ring"].weights(), np.ones(7))
    np.testing.assert_array_equal(GRIDS["torus"].weights(), np.ones((4, 6)))


def test_a_curvilinear_grid_has_the_areas_of_the_grid_that_it_is_a_view_of():
    plain = LatLon.from_degrees(np.linspace(-20, 20, 17), np.linspace(-30, 30, 21))
    np.testing.assert_allclose(curved().areas(), plain.areas(), rtol=3e-3)
    places = places_in(GRIDS["curvilinear"], 1)
    np.testing.assert_array_equal(
        np.isfinite(plain.distance(tilted(places, -35), tilted(places[::-1], -35))), True
    )
    np.testing.assert_allclose(
        curved().distance(places, places[::-1]),
        plain.distance(tilted(places, -35.0), tilted(places[::-1], -35.0)),
        atol=1e-6,
    )


def test_distances_by_hand():
    globe = GRIDS["globe"]
    degree = np.pi * EARTH_RADIUS_KM / 180
    first = np.array([[0.0, 179.5], [0.0, -90], [90, 17], [89, 0], [12, 40]])
    second = np.array([[0.0, -179.5], [0, 90], [90, -140], [89, 180], [12, 400]])
    np.testing.assert_allclose(
        globe.distance(first, second), np.array([1, 180, 0, 2, 0]) * degree, atol=1e-6
    )
    one = np.array([[1.0]])
    np.testing.assert_allclose(Ring(7).distance(one, np.array([[6.0]])), [2.0])
    np.testing.assert_allclose(
        GRIDS["torus"].distance(np.array([[0.0, 0]]), np.array([[3.0, 10]])), [5**0.5]
    )
    assert Ring(4).pairwise().tolist()[0] == [0, 1, 2, 1]


def test_the_dateline_is_between_two_points_like_any_other():
    grid = GRIDS["pacific"]
    columns = np.arange(6.0)
    field = np.broadcast_to(columns, grid.shape)
    places = np.array([[0.0, 179.0], [0, -179], [0, 181], [0, 541], [0, 160], [0, 210]])
    np.testing.assert_allclose(interpolated(grid, field, places), [1.9, 2.1, 2.1, 2.1, 0, 5])
    assert not grid.contains(np.array([[0.0, 159], [0.0, -149], [21.0, 170], [np.nan, 170]])).any()


def test_a_place_beyond_the_last_row_lies_across_the_pole():
    grid = GRIDS["globe between poles"]
    phi, lam = np.deg2rad(np.moveaxis(grid.positions(), -1, 0))
    field = np.cos(phi) * np.cos(lam) + 3
    near = np.array([[89.0, 20.0], [-88.2, 140.0], [90.0, 3.0], [-90.0, 3.0]])
    p, m = np.deg2rad(near.T)
    np.testing.assert_allclose(
        interpolated(grid, field, near), np.cos(p) * np.cos(m) + 3, atol=2e-3
    )
    poles = np.stack([np.full(50, 90.0), np.linspace(-180, 180, 50)], axis=1)
    random = np.random.default_rng(0).normal(size=grid.shape)
    assert np.ptp(interpolated(grid, random, poles)) < 1e-12
    assert set(GRIDS["globe"].cells(poles)) == {0}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LatLon.from_degrees(np.arange(3) * 1e5, np.arange(4.0)), "units 'm'"),
        (lambda: LatLon.from_degrees(np.arange(3.0), np.arange(0, 361, 30.0)), "drop the points"),
        (lambda: LatLon.from_degrees(np.arange(3.0), np.arange(0, 700, 30.0)), "more than once"),
        (lambda: LatLon.from_degrees(np.array([1.0, 1, 2]), np.arange(4.0)), "sort the grid"),
        (lambda: LatLon.from_degrees(np.array([1.0, np.nan]), np.arange(4.0)), "finite"),
        (lambda: LatLon.from_degrees(np.arange(2.0), np.array([0.0, 9, 3])), "sort the grid"),
        (
            lambda: LatLon.from_degrees(np.arange(3.0), CUT_AT_GREENWICH),
            r"leaves out 354 between 1",
        ),
        (lambda: Plane.from_axes(np.arange(3.0), np.arange(3.0), mask=np.ones(4, bool)), "mask"),
        (lambda: Ring(0), "at least 1"),
        (lambda: Curvilinear(np.full((2, 2), 91.0), np.zeros((2, 2))), "lie nowhere"),
        (lambda: with_mask(Ring(3), np.zeros(3, bool)).weights(), "masked"),
        (lambda: Ring(3).tiles(0, 1), "size must be"),
    ],
)
def test_what_makes_no_grid_is_refused_with_the_repair(make, says):
    with pytest.raises(GridError, match=says):
        make()


def test_a_place_off_the_grid_is_refused_by_its_number():
    places = np.array([[52.0, 0.0], [52.0, 351.0], [52.0, 3.0]])
    with pytest.raises(
        OutsideDomainError, match=r"1 of 3 places .* first place 2 at \(52.0, 3.0\)"
    ):
        GRIDS["region"].stencil(places)


@every_grid
def test_positions_and_distances_work_under_jit(grid):
    places = jnp.asarray(places_in(grid, 3))

    @eqx.filter_jit
    def measure(grid, a):
        return grid.distance(a, a[::-1]), grid.positions()

    apart, positions = measure(grid, places)
    assert isinstance(apart, jax.Array)
    np.testing.assert_allclose(
        apart, grid.distance(np.asarray(places), np.asarray(places)[::-1]), atol=1e-9
    )
    np.testing.assert_allclose(positions, grid.positions())


def test_the_repair_of_an_axis_that_was_cut_makes_a_grid():
    """In order around the circle the longitudes are one piece, with no cell on its far side."""
    around = np.sort((CUT_AT_GREENWICH + 180) % 360 - 180)
    grid = LatLon.from_degrees(np.arange(3.0), around)
    assert not grid.longitude.closed
    assert list(grid.cells(np.array([[1.0, 100.0], [1.0, 358.0]]))) == [-1, 13 + 6]
