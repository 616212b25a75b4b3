"""What coordinates mean, and the grids and state spaces made of them."""

import numpy as np
import pytest
import xarray as xr

from vardax_core.state.coordinates import grid_of, meaning
from vardax_core.state.grids import Curvilinear, GridError, LatLon, Plane, Ring
from vardax_core.state.space import Channel, StateSpace, StateSpaceError


@pytest.mark.parametrize(
    ("name", "attrs", "means"),
    [
        ("latitude", {}, "latitude"),
        ("lon", {"units": "degrees"}, "longitude"),
        ("y", {"units": "degrees_north"}, "latitude"),
        ("a", {"units": "degree_E", "standard_name": "longitude"}, "longitude"),
        ("rlat", {"units": "degrees", "standard_name": "grid_latitude"}, "latitude"),
        ("y", {"units": "metres"}, "m"),
        ("x", {"units": "km", "standard_name": "projection_x_coordinate"}, "km"),
        ("y", {}, None),
        ("y", {"units": "degrees"}, None),
        ("x", {"units": "rad", "standard_name": "projection_x_coordinate"}, None),
        ("latitude", {"units": "m"}, None),
        ("latitude", {"units": "rad"}, None),
        ("latitude", {"standard_name": "projection_y_coordinate"}, None),
        ("x", {"units": "degrees_east", "standard_name": "latitude"}, None),
        ("z", {"units": "m", "standard_name": "height"}, None),
    ],
)
def test_a_coordinate_means_what_its_attributes_say(name, attrs, means):
    assert meaning(name, attrs) == means


def data(y, x, *, dims=("y", "x"), y_attrs=None, x_attrs=None):
    return xr.Dataset(
        coords={
            dims[0]: (dims[0], np.asarray(y, float), y_attrs or {}),
            dims[1]: (dims[1], np.asarray(x, float), x_attrs or {}),
        }
    )


def test_lengths_make_a_plane_and_degrees_a_sphere():
    metres = data(np.arange(3) * 1e5, np.arange(4) * 7e4, y_attrs={"units": "m"},
                  x_attrs={"units": "meters"})  # fmt: skip
    plane = grid_of(metres, ("y", "x"))
    assert isinstance(plane, Plane)
    assert plane.unit == "m"
    np.testing.assert_allclose(plane.pairwise()[0, 5], np.hypot(1e5, 7e4))
    globe = data([1.0, 0], [350.0, 10, 30], dims=("lat", "lon"))
    assert isinstance(grid_of(globe, ("lat", "lon")), LatLon)


def test_two_dimensional_coordinates_make_a_curvilinear_grid():
    lat, lon = np.meshgrid([50.0, 51], [1.0, 2, 3], indexing="ij")
    swath = xr.Dataset(
        coords={
            "nav_lat": (("y", "x"), lat, {"standard_name": "latitude"}),
            "nav_lon": (("x", "y"), lon.T, {"units": "degrees_east"}),
        }
    )
    grid = grid_of(swath, ("y", "x"))
    assert isinstance(grid, Curvilinear)
    np.testing.assert_array_equal(grid.positions()[..., 1], lon)


@pytest.mark.parametrize(
    ("coordinates", "dims", "says"),
    [
        (data(range(3), range(4)), ("y", "x"), r"'y' \(without units\) and 'x' .*degrees_north"),
        (data(range(3), range(4), y_attrs={"units": "m"}), ("y", "x"), "standard_name projection"),
        (data([0, 1], [1, 2], dims=("lon", "lat")), ("lon", "lat"), r"first: \[lat, lon\]"),
        (
            data([0, 1], [1, 2], y_attrs={"units": "m"}, x_attrs={"units": "km"}),
            ("y", "x"),
            "both in one unit",
        ),
        (xr.Dataset(), ("y", "x"), r"'y' \(no coordinate\)"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(coordinates, dims, says):
    with pytest.raises(GridError, match=says):
        grid_of(coordinates, dims)


def test_a_state_space_names_its_channels():
    space = StateSpace(
        (Channel("t", "K", valid_min=200.0, scale=3.0), Channel("u", "m s-1", valid_max=90.0)),
        Ring(5),
    )
    assert space.shape == (2, 5)
    assert space.index("u") == 1
    np.testing.assert_array_equal(space.scales(), [3, 1])
    np.testing.assert_array_equal(space.bounds(), [[200, -np.inf], [np.inf, 90]])
    with pytest.raises(StateSpaceError, match="no channel 'v'"):
        space.index("v")
    with pytest.raises(StateSpaceError, match="names of their own"):
        StateSpace((Channel("t"), Channel("t")), Ring(5))
    with pytest.raises(StateSpaceError, match="scale 0"):
        Channel("t", scale=0.0)
