"""Stations at other heights than the grid has."""

import copy

import numpy as np
import pytest
import xarray as xr
import yaml

from vardax_core.data import ingest, validate_recipe
from vardax_core.data.errors import RecipeError, SourceFormatError, UnitsError

LATITUDE, LONGITUDE = np.arange(50.0, 54.0), np.arange(-10.0, -5.0)
LAPSE = -0.0065
RECIPE = """
schema: 2
name: stations
title: temperatures of stations in hills
attribution: made by a test
variables:
  - {name: t, long_name: temperature, units: K, valid_min: 250, valid_max: 310}
grid:
  dims: [latitude, longitude]
  like: {files: [land.nc], variable: z}
  orography: {files: [land.nc], variable: z}
observations:
  - name: stations
    source:
      kind: table
      files: [stations.csv]
      columns: {time: time, latitude: lat, longitude: lon, value: t, platform: id, level: h}
      units: K
      delay: 0h
    heights: {lapse_rate: -0.0065, units: ft}
    error_sd: 0.5
cycle:
  start: 2019-03-01T12:00Z
  end: 2019-03-03T12:00Z
  interval: 1d
  window: {times: 1, spacing: 1d}
"""


def slope(latitude, longitude):
    """Heights of the grid in metres, of which a bilinear stencil gives every value exactly."""
    return 100.0 * (latitude - 50) + 20.0 * (longitude + 10)


def write_land(folder, units="m", longitude=LONGITUDE):
    z = slope(LATITUDE[:, None], longitude[None])
    xr.Dataset(
        {"z": (("latitude", "longitude"), z, {"units": units} if units else {})},
        {"latitude": LATITUDE, "longitude": longitude},
    ).to_netcdf(folder / "land.nc")


def recipe(**changes):
    values = yaml.safe_load(RECIPE)
    for path, value in changes.items():
        *keys, last = path.split("__")
        inner = values
        for key in keys:
            inner = inner[int(key) if key.isdigit() else key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return validate_recipe(copy.deepcopy(values), "stations")


@pytest.fixture
def folder(tmp_path):
    write_land(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["id,time,lat,lon,h,t"]
    for n in range(12):
        lat, lon, height = rng.uniform(50.5, 52.5), rng.uniform(-9.5, -6.5), rng.uniform(0, 900)
        feet = "" if n == 4 else f"{height / 0.3048:.4f}"
        value = 285.0 + LAPSE * (height - slope(lat, lon))
        rows.append(f"s{n},2019-03-01T12:00Z,{lat:.5f},{lon:.5f},{feet},{value:.6f}")
    (tmp_path / "stations.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_station_says_what_it_would_at_the_height_of_the_grid(folder):
    found = ingest(recipe(), data_dir=folder, partly=True)
    data = found.observations.isel(time=0)
    brought = (data["t"] - data["height_shift"]).to_numpy()
    names = np.array([name.partition("/")[2] for name in found.platforms])
    known = names[data["platform"].to_numpy()] != "s4"
    np.testing.assert_allclose(brought[known], 285.0, atol=1e-3)
    assert np.ptp(data["t"].to_numpy()[known]) > 2
    np.testing.assert_array_equal(data["height_shift"][~known], 0.0)
    said = " ".join(found.account.warnings())
    assert "1 observation of 12 without a height (first stations.csv row 5)" in said
    assert "correct columns.level" in said


def test_without_heights_nothing_is_brought_anywhere(folder):
    made = recipe(observations__0__heights=None, grid__orography=None)
    assert "height_shift" not in ingest(made, data_dir=folder, partly=True).observations


def test_units_of_heights_that_are_not_known_are_refused(folder):
    with pytest.raises(RecipeError, match=r"heights: units: 'smoots' is no unit that is known"):
        recipe(observations__0__heights={"lapse_rate": LAPSE, "units": "smoots"})
    write_land(folder, "m2 s-2")
    with pytest.raises(UnitsError, match=r"grid\.orography: 'm2 s-2' cannot be converted"):
        ingest(recipe(), data_dir=folder)
    write_land(folder, None)
    with pytest.raises(UnitsError, match=r"write grid\.orography\.units"):
        ingest(recipe(), data_dir=folder)
    stated = {"files": ["land.nc"], "variable": "z", "units": "km"}
    assert ingest(recipe(grid__orography=stated), data_dir=folder, partly=True)


def test_what_heights_need_is_said():
    with pytest.raises(RecipeError, match=r"grid\.orography is needed: the values of"):
        recipe(grid__orography=None)
    with pytest.raises(RecipeError, match=r"columns\.level is needed"):
        recipe(observations__0__source__columns__level=None)


def test_an_orography_of_another_grid_is_refused(folder):
    other = {"files": ["other.nc"], "variable": "z"}
    write_land(folder)
    (folder / "land.nc").rename(folder / "other.nc")
    write_land(folder, longitude=np.arange(-10.0, -3.0))
    with pytest.raises(SourceFormatError, match=r"the grid has \(4, 7\) points, and its orography"):
        ingest(recipe(grid__orography=other), data_dir=folder)
