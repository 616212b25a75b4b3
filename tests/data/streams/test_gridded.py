"""Images with gaps as records, pixel by pixel and averaged."""

import numpy as np
import pytest
import xarray as xr

from tests.data.streams.reading import END, GRID, START, read
from vardax_core.data.errors import RecipeError, SourceFormatError
from vardax_core.data.streams.account import Reason
from vardax_core.data.streams.sections import Stream
from vardax_core.state.grids import LatLon

LATITUDES, LONGITUDES = np.arange(51.05, 55.0, 0.1), np.arange(-8.95, -4.0, 0.1)
SHAPE = (2, LATITUDES.size, LONGITUDES.size)


def images(seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(10.0, 1.0, SHAPE)
    values[rng.random(SHAPE) < 0.3] = np.nan
    return xr.Dataset(
        {
            "sst": (("time", "lat", "lon"), values, {"units": "degree Celsius"}),
            "sea": (("lat", "lon"), (rng.random(SHAPE[1:]) < 0.8).astype(np.float32)),
            "flag": (("time", "lat", "lon"), rng.integers(0, 4, SHAPE).astype(np.int8)),
            "err": (("time", "lat", "lon"), rng.uniform(0.1, 0.5, SHAPE)),
        },
        {
            "time": ("time", [1.0, 2.5], {"units": "days since 2019-03-01"}),
            "lat": ("lat", LATITUDES, {"units": "degrees North"}),
            "lon": ("lon", LONGITUDES, {"units": "degrees East"}),
        },
    )


def stream(**changes):
    own = {key: changes.pop(key) for key in ("error_sd", "representativeness") if key in changes}
    source = {"kind": "gridded", "files": ["*.nc"], "variable": "sst", "delay": "1h"} | changes
    return Stream.model_validate({"name": "images", "source": source, **own})


def test_pixels_with_a_value_are_records(tmp_path):
    data = images()
    data.to_netcdf(tmp_path / "a.nc")
    result = read(tmp_path, stream(mask={"variable": "sea", "accept": [1]}, quality="flag",
                                   accept=[0, 3], error="err", representativeness=0.3))  # fmt: skip
    use = np.isfinite(data["sst"]) & (data["sea"] == 1) & data["flag"].isin([0, 3])
    assert len(result.records) == int(use.sum())
    assert result.account.rows == np.prod(SHAPE)
    assert result.account.count(Reason.MISSING) == int(data["sst"].isnull().sum())
    flat = result.records.row - 1
    np.testing.assert_allclose(result.records.value, data["sst"].values.ravel()[flat] + 273.15)
    np.testing.assert_allclose(
        result.records.error_sd, np.hypot(data["err"].values.ravel()[flat], 0.3)
    )
    at = np.stack(np.meshgrid(LATITUDES, LONGITUDES, indexing="ij"), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(result.records.place, at[flat % at.shape[0]], atol=1e-9)
    assert set(result.records.time.astype(str)) == {
        "2019-03-02T00:00:00.000000000", "2019-03-03T12:00:00.000000000"
    }  # fmt: skip


def test_a_swath_has_a_place_for_each_pixel(tmp_path):
    data = images()
    latitude, longitude = np.meshgrid(LATITUDES, LONGITUDES, indexing="ij")
    swath = data.drop_vars(["lat", "lon"]).rename(lat="y", lon="x").isel(time=0)
    swath = swath.assign_coords(lat=(("y", "x"), latitude), lon=(("y", "x"), longitude))
    data.isel(time=[0]).to_netcdf(tmp_path / "a.nc")
    expected = read(tmp_path, stream())
    swath.to_netcdf(tmp_path / "a.nc")
    assert read(tmp_path, stream()).records.says_the_same(expected.records)


@pytest.mark.parametrize(("name", "attrs"), [("time_counter", {}), ("nt", {"axis": "T"})])
def test_times_are_known_by_name_and_by_axis(tmp_path, name, attrs):
    images().to_netcdf(tmp_path / "a.nc")
    expected = read(tmp_path, stream())
    made = images().rename(time=name)
    made[name].attrs |= attrs
    made.to_netcdf(tmp_path / "a.nc")
    assert read(tmp_path, stream()).records.says_the_same(expected.records)


def test_superobservations_are_means_with_errors_that_correlate(tmp_path):
    data = images()
    data.to_netcdf(tmp_path / "a.nc")
    rule = {"points": 1, "correlation": 0.25, "fewest": 30}
    pixels = read(tmp_path, stream(), grid=GRID).records
    means = read(tmp_path, stream(superobserve=rule, error_sd=0.4, representativeness=0.3),
                 grid=GRID)  # fmt: skip
    at = np.round(pixels.place)
    expected = {}
    for time in np.unique(pixels.time):
        for place in np.unique(at, axis=0):
            own = (pixels.time == time) & (at == place).all(axis=1)
            if own.sum() >= 30:
                expected[(time, *place)] = (
                    pixels.value[own].mean(), own.sum(), pixels.place[own].mean(axis=0)
                )  # fmt: skip
    assert len(means.records) == len(expected) > 10
    for n in range(len(means.records)):
        place = means.records.place[n]
        value, count, middle = expected[(means.records.time[n], *np.round(place))]
        np.testing.assert_allclose(means.records.value[n], value)
        np.testing.assert_allclose(place, middle, atol=1e-6)
        variance = 0.4**2 * (0.25 + 0.75 / count) + 0.3**2
        np.testing.assert_allclose(means.records.error_sd[n], np.sqrt(variance))


def test_superobservations_do_not_depend_on_the_pieces(tmp_path, monkeypatch):
    images().to_netcdf(tmp_path / "a.nc")
    rule = stream(superobserve={"points": 2}, error_sd=0.4)
    whole = read(tmp_path, rule, grid=GRID).records
    from vardax_core.data.streams import discrete

    original = discrete.blocks
    monkeypatch.setattr(discrete, "blocks", lambda shape: original(shape, 300))
    pieces = read(tmp_path, rule, grid=GRID).records
    for name in ("time", "code", "arrival"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
    np.testing.assert_allclose(pieces.value, whole.value, rtol=1e-12)
    np.testing.assert_allclose(pieces.place, whole.place, atol=1e-8)


def test_superobservations_across_the_turn_of_longitudes(tmp_path):
    data = images().assign_coords(lon=("lon", np.mod(LONGITUDES + 6.5 + 180.0, 360.0)))
    data.to_netcdf(tmp_path / "a.nc")
    grid = LatLon.from_degrees(np.arange(51.0, 56.0), np.arange(175.0, 186.0))
    records = read(tmp_path, stream(superobserve={"points": 1}, error_sd=0.4), grid=grid).records
    assert len(records) > 20
    middle = np.abs(np.abs(records.place[:, 1]) - 180.0)
    assert middle.max() < 3.0


def test_land_and_what_lies_outside_are_told_apart(tmp_path):
    images().to_netcdf(tmp_path / "a.nc")
    mask = np.ones((4, 5), bool)
    mask[:, :3] = False
    grid = LatLon.from_degrees(np.arange(51.0, 55.0), np.arange(-8.0, -3.0), mask=mask)
    result = read(tmp_path, stream(), grid=grid)
    records = result.records
    outside = (records.place[:, 0] > 54) | (records.place[:, 1] < -8)
    on_land = ~outside & (records.place[:, 1] <= -6.0)
    assert result.account.count(Reason.OUTSIDE_GRID) == outside.sum() > 0
    assert result.account.count(Reason.ON_LAND) == on_land.sum() > 0
    np.testing.assert_array_equal(records.code == 0, ~outside & ~on_land)


def test_axes_that_are_not_known_are_asked_for(tmp_path):
    made = images().rename(lat="north", lon="east")
    for axis in ("north", "east"):
        made[axis].attrs = {}
    made.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(SourceFormatError, match=r"known to be its latitude.*write source\.axes"):
        read(tmp_path, stream())
    axes = {"latitude": "north", "longitude": "east"}
    assert len(read(tmp_path, stream(axes=axes)).records) > 0


def test_superobservations_need_a_grid_of_enough_points(tmp_path):
    images().to_netcdf(tmp_path / "a.nc")
    with pytest.raises(RecipeError, match="needs the grid"):
        read(tmp_path, stream(superobserve={"points": 2}))
    with pytest.raises(RecipeError, match="less than two"):
        read(tmp_path, stream(superobserve={"points": 9}), grid=GRID)


def test_flags_may_be_given_by_their_meaning(tmp_path):
    data = images()
    data["flag"].attrs = {"flag_values": np.arange(4, dtype=np.int8),
                          "flag_meanings": "good cloudy ice probably_good"}  # fmt: skip
    data.to_netcdf(tmp_path / "a.nc")
    by_value = read(tmp_path, stream(quality="flag", accept=[0, 3]))
    by_meaning = read(tmp_path, stream(quality="flag", accept=["good", "probably_good"]))
    assert len(by_value.records) == len(by_meaning.records) > 0


def test_a_gap_between_images_makes_platforms_of_them(tmp_path):
    images().to_netcdf(tmp_path / "a.nc")
    records = read(tmp_path, stream(gap="1h")).records
    assert records.platforms == ("2019-03-02T00:00:00", "2019-03-03T12:00:00")


def test_the_period_includes_both_ends(tmp_path):
    images().to_netcdf(tmp_path / "a.nc")
    first = np.datetime64("2019-03-02T00:00")
    assert len(np.unique(read(tmp_path, stream(), start=first, end=first).records.time)) == 1
    assert len(np.unique(read(tmp_path, stream(), start=START, end=END).records.time)) == 2
