"""Which column is taken for the value."""

import numpy as np
import pytest
import xarray as xr

from tests.data.streams.reading import write
from vardax_core.data.errors import SourceFormatError, SourceNotFoundError
from vardax_core.data.streams.guesses import role_of
from vardax_core.data.streams.inspect import inspect_file
from vardax_core.data.streams.likeness import is_counted, likeness, most_like

PRIOR = {"temp": {"units": "Celsius", "long_name": "potential temperature"}}
DEGC = {"units": "degree_Celsius"}


def floats(path, *, standard="sea_water_temperature", levels=3):
    """Profiles as Argo has them, the number of the cycle and the pressure before what is meant."""
    number, rng = 6, np.random.default_rng(1)
    on = ("N_PROF", "N_LEVELS")
    pressure = np.broadcast_to(5.0 * 4 ** np.arange(levels), (number, levels)).astype(np.float32)
    xr.Dataset(
        {
            "JULD": ("N_PROF", 25242.0 + np.arange(number) / 4,
                     {"units": "days since 1950-01-01", "standard_name": "time"}),
            "LATITUDE": ("N_PROF", 50 + np.arange(number) / 2, {"units": "degree_north"}),
            "LONGITUDE": ("N_PROF", np.full(number, -9.0), {"units": "degree_east"}),
            "PLATFORM_NUMBER": ("N_PROF", np.array(["6900101", "6900102"] * 3)),
            "CYCLE_NUMBER": ("N_PROF", np.arange(number)),
            "PRES": (on, pressure, {"units": "decibar", "standard_name": "sea_water_pressure"}),
            "PSAL": (on, np.full((number, levels), 35.5), {"units": "psu"}),
            "TEMP": (on, 15 - pressure / 20 + rng.normal(0, 0.1, pressure.shape),
                     DEGC | {"standard_name": standard}),
        }
    ).to_netcdf(path)  # fmt: skip


@pytest.mark.parametrize("levels", [1, 3])
def test_a_float_is_understood(tmp_path, levels):
    floats(tmp_path / "a.nc", levels=levels)
    found = inspect_file("a.nc", [tmp_path], like=PRIOR)
    assert found.stream.source.columns.by_role == {
        "time": "JULD", "latitude": "LATITUDE", "longitude": "LONGITUDE", "value": "TEMP",
        "platform": "PLATFORM_NUMBER", "level": "PRES",
    }  # fmt: skip
    assert found.units == "degree_Celsius"
    assert found.account.used == 6
    assert found.stream.source.level_range == (None if levels == 1 else (5.0, 5.0))
    assert any("3 levels from 5 to 80" in said for said in found.questions) == (levels == 3)


def test_what_is_asked_for_is_taken_though_it_is_a_level(tmp_path):
    floats(tmp_path / "a.nc", levels=1)
    columns = inspect_file("a.nc", [tmp_path], value="PRES", like=PRIOR).stream.source.columns
    assert (columns.value, columns.level) == ("PRES", None)


def test_a_table_of_floats_is_understood(tmp_path):
    rows = [f"69001{n},2019-03-{n + 1:02d}T06:00Z,52,-{n},5.0,35,{10 + n}" for n in range(9)]
    write(tmp_path, *rows, header="WMO,time,lat,lon,PRES,PSAL,TEMP")
    columns = inspect_file("a.csv", [tmp_path], like=PRIOR).stream.source.columns
    assert (columns.value, columns.level, columns.platform) == ("TEMP", "PRES", "WMO")
    with pytest.raises(SourceFormatError, match=r"like 'wind' \(m s-1\).*'PSAL', 'TEMP' \(degC\)"):
        inspect_file("a.csv", [tmp_path], like={"wind": {"units": "m s-1"}})


def test_pressure_of_the_air_is_a_value(tmp_path):
    rows = [f"s{n},2019-03-{n + 1:02d}T06:00Z,52,-{n},{1000 + n}" for n in range(9)]
    write(tmp_path, *rows, header="station,time,lat,lon,pressure")
    found = inspect_file("a.csv", [tmp_path])
    assert (found.stream.source.columns.value, found.units) == ("pressure", "hPa")


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("x", {"standard_name": "sea_surface_temperature", "units": "K"}, 5),
        ("SST", {"units": "K"}, 4),
        ("TEMPERATURE", {}, 3),
        ("x", {"units": "K"}, 2),
        ("x", {}, 1),
        ("psal", {}, 0),
        ("sst", {"units": "hPa"}, 0),
    ],
)
def test_the_more_alike_the_surer(name, attrs, expected):
    wanted = {"units": "degC", "standard_name": "sea_surface_temperature"}
    assert likeness(name, attrs, "sst", wanted) == expected


def test_of_columns_of_which_nothing_is_known_none_is_taken():
    assert most_like("f", {"x": {}}, PRIOR) == "x"
    with pytest.raises(SourceFormatError, match="'x', 'y', and nothing says which"):
        most_like("f", {"x": {}, "y": {}}, PRIOR)
    with pytest.raises(SourceFormatError, match="no column of numbers"):
        most_like("f", {}, PRIOR)


def test_counts_flags_levels_and_platforms_are_no_values():
    counted = ("CYCLE_NUMBER", "n_id", "obs_count", "TEMP_QC", "profile")
    assert all(is_counted(name, {}) for name in counted)
    assert is_counted("x", {"flag_values": [0, 1]})
    assert not any(is_counted(name, {}) for name in ("temp", "humidity", "void", "t"))
    assert role_of("PRES", {"units": "decibar"}) == "level"
    assert role_of("p [dbar]", {}) == "level"
    assert role_of("pressure", {"units": "hPa"}) is None
    assert role_of("d", {"standard_name": "depth"}) == "level"
    assert role_of("PLATFORM_NUMBER", {}) == role_of("WMO", {}) == "platform"


def test_a_folder_is_told_with_the_pattern_to_write(tmp_path):
    (tmp_path / "images").mkdir()
    floats(tmp_path / "images" / "a.nc")
    with pytest.raises(SourceFormatError, match=r"images is a folder.*write images/\*\.nc"):
        inspect_file("images", [tmp_path])
    with pytest.raises(SourceNotFoundError, match="No file fits"):
        inspect_file("imag*", [tmp_path])
