"""NetCDF of points, stations, profiles and tracks, in every layout of CF."""

import numpy as np
import pytest
import xarray as xr

from tests.data.streams.reading import COLUMNS, read, table
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.discrete import blocks

STATIONS = ["a", "b", "c"]
LATITUDES, LONGITUDES = np.array([52.0, 53.0, 54.0]), np.array([-6.0, -7.0, -8.0])
HOURS = np.arange(4)
VALUES = np.arange(12.0).reshape(3, 4)
UNITS = {"units": "hours since 2019-03-02 00:00:00"}


def coordinates(**time):
    return {
        "lat": ("station", LATITUDES),
        "lon": ("station", LONGITUDES),
        "name": ("station", STATIONS),
        **time,
    }


def orthogonal(order=("station", "time")):
    values = xr.DataArray(VALUES, dims=("station", "time")).transpose(*order)
    return xr.Dataset(
        {"t": values.assign_attrs(units="degC")}, coordinates(time=("time", HOURS, UNITS))
    )


def incomplete():
    times = np.broadcast_to(HOURS, (3, 4))
    return xr.Dataset(
        {"t": (("station", "obs"), VALUES, {"units": "degC"})},
        coordinates(time=(("station", "obs"), times, UNITS)),
    )


def contiguous():
    return xr.Dataset(
        {
            "t": ("obs", VALUES.ravel(), {"units": "degC"}),
            "row_size": ("station", [4, 4, 4], {"sample_dimension": "obs"}),
        },
        coordinates(time=("obs", np.tile(HOURS, 3), UNITS)),
    )


def indexed():
    return xr.Dataset(
        {
            "t": ("obs", VALUES.T.ravel(), {"units": "degC"}),
            "index": ("obs", np.tile([0, 1, 2], 4), {"instance_dimension": "station"}),
        },
        coordinates(time=("obs", np.repeat(HOURS, 3), UNITS)),
    )


def in_groups_of_places():
    """A single station whose place is no array."""
    return orthogonal().isel(station=0)


LAYOUTS = {
    "orthogonal": orthogonal(),
    "turned": orthogonal(("time", "station")),
    "incomplete": incomplete(),
    "contiguous": contiguous(),
    "indexed": indexed(),
}


def stream(**changes):
    columns = COLUMNS | {"platform": "name"}
    return table(files=["a.nc"], units=None, columns=columns, **changes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(tmp_path, layout):
    LAYOUTS[layout].to_netcdf(tmp_path / "a.nc")
    records = read(tmp_path, stream()).records
    assert records.platforms == ("a", "b", "c")
    for station in range(3):
        own = records.taken(records.platform == station)
        np.testing.assert_allclose(own.value, VALUES[station] + 273.15)
        np.testing.assert_array_equal(own.place[:, 0], LATITUDES[station])
        np.testing.assert_array_equal(own.place[:, 1], LONGITUDES[station])
        hours = (own.time - np.datetime64("2019-03-02", "ns")) / np.timedelta64(1, "h")
        np.testing.assert_array_equal(hours, HOURS)


def test_one_station_may_have_a_place_that_is_no_array(tmp_path):
    in_groups_of_places().to_netcdf(tmp_path / "a.nc")
    records = read(tmp_path, stream()).records
    assert records.platforms == ("a",)
    np.testing.assert_array_equal(records.place, np.tile([52.0, -6.0], (4, 1)))


def test_packed_and_masked_values_are_decoded(tmp_path):
    dataset = contiguous()
    dataset["t"][3] = np.nan
    packed = {"dtype": "int16", "scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -99}
    dataset.to_netcdf(tmp_path / "a.nc", encoding={"t": packed})
    result = read(tmp_path, stream())
    assert result.account.used == 11
    assert 3 not in (result.records.value - 273.15).round(6)


def test_variables_that_do_not_fit_are_refused(tmp_path):
    dataset = contiguous().drop_vars("row_size")
    dataset.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(SourceFormatError, match=r"'name' has dimensions \('station',\) and 't'"):
        read(tmp_path, stream())
    with pytest.raises(SourceFormatError, match="no variable 'lats' for latitude; did you mean"):
        read(tmp_path, table(files=["a.nc"], columns=COLUMNS | {"latitude": "lats"}))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (1, 11), (4, 1, 2), (0, 3)])
@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_blocks_cover_an_array_in_the_order_of_its_rows(shape, most):
    numbers = np.arange(np.prod(shape)).reshape(shape)
    parts = [numbers[block].ravel() for block in blocks(shape, most)]
    assert all(0 < part.size <= most for part in parts)
    np.testing.assert_array_equal(np.concatenate([[], *parts]), numbers.ravel())


def test_pieces_join_without_a_seam(tmp_path, monkeypatch):
    orthogonal().to_netcdf(tmp_path / "a.nc")
    whole = read(tmp_path, stream()).records
    original = blocks
    monkeypatch.setattr(
        "vardax_core.data.streams.discrete.blocks", lambda shape: original(shape, 3)
    )
    pieces = read(tmp_path, stream()).records
    assert pieces.says_the_same(whole)
    np.testing.assert_array_equal(pieces.row, whole.row)
