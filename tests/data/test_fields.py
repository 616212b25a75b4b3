"""The variable of a file: understood by what it says of itself, or refused by name."""

import socket

import eccodes
import numpy as np
import pytest
import xarray as xr

from tests.support import real_data_dir
from vardax_core.data import (
    PeriodError,
    SourceError,
    SourceFormatError,
    SourceUnreachableError,
    TimeAxisError,
    UnitsError,
    ingest,
    load_recipe,
    open_nature_run,
    to_minutes,
    validate_recipe,
)
from vardax_core.data.fields import canonical_field

HOURS = np.datetime64("2019-03-20T00", "ns") + np.arange(36) * np.timedelta64(1, "h")
LAT, LON = np.linspace(58, 50, 3), np.linspace(-10.0, 1.0, 4)


def field(**changes):
    values = 280 + np.random.default_rng(0).standard_normal((36, 3, 4)).astype("float32")
    made = xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {"time": HOURS, "latitude": LAT, "longitude": LON},
    )
    return made.assign_coords(**changes)


def recipe(**changes):
    values = load_recipe("era5-t2m-uk").model_dump(mode="json")
    values |= {
        "name": "small",
        "training": None,
        "period": {"start": "2019-03-20T03:00:00Z", "end": "2019-03-21T09:00:00Z"},
        "network": {"kind": "random_points", "count": 5, "seed": 1},
        "screening": None,
    }
    return validate_recipe(values | changes, "small")


def written(made, tmp_path, name="f.nc", **encoding):
    made.to_netcdf(tmp_path / name, encoding=encoding)
    return tmp_path / name


def forecasts(path, starts, steps, keep=lambda start, step: True):
    """GRIB as centres deliver it: a message for each start and step, of the field at their sum."""
    field_values = field()["t2m"].values
    with path.open("wb") as file:
        for start in starts:
            for step in steps:
                if not keep(start, step):
                    continue
                message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
                day, hour = divmod(start, 24)
                for key, value in {
                    "Ni": 4, "Nj": 3, "paramId": 167, "dataDate": 20190320 + day,
                    "dataTime": 100 * hour, "stepRange": str(step),
                    "latitudeOfFirstGridPointInDegrees": 58.0,
                    "latitudeOfLastGridPointInDegrees": 50.0,
                    "longitudeOfFirstGridPointInDegrees": 350.0,
                    "longitudeOfLastGridPointInDegrees": 1.0,
                    "iDirectionIncrementInDegrees": 3.667, "jDirectionIncrementInDegrees": 4.0,
                }.items():  # fmt: skip
                    eccodes.codes_set(message, key, value)
                values = field_values[min(start + step, 35)].astype("float64").ravel()
                eccodes.codes_set_values(message, values)
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
    return path


@pytest.mark.parametrize("starts", [(0, 12, 24), (0,)])
def test_forecasts_are_read_at_their_valid_times(starts, tmp_path):
    steps = range(12) if len(starts) > 1 else range(36)
    path = forecasts(tmp_path / "f.grib", starts, steps)
    found = open_nature_run(recipe(), path=path)
    np.testing.assert_array_equal(found["time"], HOURS[1:34])
    # GRIB 1 packs the 24 bits of its sample; the values span some 5 K.
    np.testing.assert_allclose(found["t2m"], field()["t2m"][1:34], atol=1e-3)
    # The region lies across Greenwich, and its values from west to east.
    np.testing.assert_allclose(found["longitude"] % 360, [350, 353.667, 357.333, 1], atol=1e-3)


def test_forecasts_in_netcdf_are_read_at_their_valid_times(tmp_path):
    values = field()["t2m"].values.reshape(3, 12, 3, 4)
    made = xr.Dataset(
        {"t2m": (("forecast_reference_time", "lead_time", "lat", "lon"), values, {"units": "K"})},
        {
            "forecast_reference_time": HOURS[::12],
            "lead_time": ("lead_time", np.arange(12), {"units": "hours"}),
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )
    found = open_nature_run(recipe(), path=written(made, tmp_path))
    np.testing.assert_array_equal(found["t2m"], field()["t2m"][1:34])
    shuffled = written(made.isel(forecast_reference_time=[2, 0, 1]), tmp_path, "g.nc")
    xr.testing.assert_equal(found, open_nature_run(recipe(), path=shuffled))


def test_forecasts_that_overlap_name_the_steps_to_select(tmp_path):
    path = forecasts(tmp_path / "f.grib", (0, 12), range(18))
    with pytest.raises(TimeAxisError) as caught:
        open_nature_run(recipe(), path=path)
    message = str(caught.value)
    for part in (
        "f.grib",
        "6 of 30 valid times are given more than once",
        "2019-03-20T12:00 by step 12 h from 2019-03-20T00:00 and by step 0 h",
        "'step' = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 hours",
    ):
        assert part in message


def test_a_variable_of_many_messages_is_found_beside_others_that_do_not_fit(tmp_path):
    path = forecasts(tmp_path / "f.grib", (0, 12, 24), range(12))
    with path.open("ab") as file:
        for level in (500, 850):
            message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib1")
            eccodes.codes_set(message, "paramId", 130)
            eccodes.codes_set(message, "level", level)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)
    assert open_nature_run(recipe(), path=path).sizes["time"] == 33
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(SourceFormatError, match="damaged or incomplete"):
        open_nature_run(recipe(), path=path)


@pytest.mark.parametrize(
    ("name", "variable", "told"),
    [
        ("O32_global.grib2", "t", "reduced Gaussian grid .gridType reduced_gg.*cdo -R -f nc copy"),
        ("healpix_H8.grib2", "t", "HEALPix grid .gridType healpix.*cdo -f nc remapbil"),
        (
            "era5-levels-members.grib",
            "t",
            r"'number' .10: 0, 1, 2, \.\.\.. and 'isobaricInhPa' .2: 850, 500.*"
            r"`select: \{number: 0, isobaricInhPa: 850\}`",
        ),
        ("ens_50.grib", "z", "dataType=pf or dataType=cf.*grib_copy -w dataType=pf"),
        ("ens_50.grib", "t2m", "no single field.*dataType=pf or dataType=cf.*names one"),
    ],
)
def test_hard_grib_is_refused_by_name_with_what_to_do(name, variable, told):
    source = recipe().source.model_dump(mode="json") | {"variable": variable}
    with pytest.raises(SourceError, match=f"(?s){told}") as caught:
        open_nature_run(recipe(source=source), path=real_data_dir() / "formats" / name)
    assert name in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_axes_are_known_by_what_they_say_of_themselves(tmp_path):
    expected = open_nature_run(recipe(), path=written(field(), tmp_path, "a.nc"))
    for number, (names, attrs) in enumerate(
        (
            (("t", "north", "east"), {"standard_name": True}),
            (("valid_time", "lat", "lon"), {}),
            (("time_counter", "lat", "lon"), {}),
            (("time", "rows", "columns"), {"units": True}),
        )
    ):
        made = field().rename(dict(zip(("time", "latitude", "longitude"), names, strict=True)))
        said = (("time", None), ("latitude", "degrees_north"), ("longitude", "degrees_east"))
        for axis, (standard, units) in zip(names, said, strict=True):
            if "standard_name" in attrs:
                made[axis].attrs["standard_name"] = standard
            if "units" in attrs and units:
                made[axis].attrs["units"] = units
        path = written(made, tmp_path, f"{number}.nc")
        found = open_nature_run(recipe(), path=path)
        assert found.attrs["source_sha256"] == expected.attrs["source_sha256"]


@pytest.mark.parametrize(
    ("name", "attrs"),
    [("valid_time", {"standard_name": "time"}), ("time_counter", {}), ("t", {"axis": "T"})],
)
def test_valid_times_have_any_name_also_where_starts_stand_beside_them(name, attrs):
    made = field().rename(time=name)
    made[name].attrs = attrs
    made = made.assign_coords(number=0, forecast_reference_time=HOURS[0])
    found, _ = canonical_field(made, "f.nc", recipe(), "t2m")
    expected, _ = canonical_field(field(), "f.nc", recipe(), "t2m")
    xr.testing.assert_identical(found, expected)
    only_starts = field().rename(time="forecast_reference_time")
    with pytest.raises(TimeAxisError, match=r"dimensions \('forecast_reference_time', .*no time"):
        canonical_field(only_starts, "f.nc", recipe(), "t2m")


@pytest.mark.parametrize(
    ("units", "factor", "shift"),
    [("K", 1, 0), ("kelvin", 1, 0), ("degC", 1, -273.15), ("degF", 1.8, -459.67), ("mK", 1e3, 0)],
)
def test_values_in_other_units_are_converted_but_those_of_a_truth(units, factor, shift, tmp_path):
    expected = field()["t2m"]
    made = field()
    made["t2m"] = (made["t2m"].astype(float) * factor + shift).assign_attrs(units=units)
    for part in (made, made.chunk(time=5)):
        found, notes = canonical_field(part, "f.nc", recipe(), "t2m")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        assert found.attrs["units"] == "K"
        assert bool(notes) == (units not in ("K", "kelvin"))
    if (factor, shift) != (1, 0):
        with pytest.raises(UnitsError, match="a truth is taken as it is"):
            open_nature_run(recipe(), path=written(made, tmp_path))


def test_units_that_cannot_be_converted_are_refused():
    made = field()
    made["t2m"].attrs["units"] = "Pa"
    with pytest.raises(UnitsError, match=r"f.nc: .*'Pa', expected 'K': 'Pa' cannot be converted"):
        canonical_field(made, "f.nc", recipe(), "t2m")


def curvilinear():
    made = field().rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    return made.assign_coords(
        nav_lat=(("y", "x"), lat, {"units": "degrees_north"}),
        nav_lon=(("y", "x"), lon, {"units": "degrees_east"}),
    )


@pytest.mark.parametrize("dims", [["latitude", "longitude"], ["y", "x"]])
def test_a_curvilinear_grid_is_named_with_the_command_that_remaps(dims):
    with pytest.raises(SourceFormatError, match=r"f.nc: .*nav_lat and nav_lon.*cdo .*remapbil"):
        canonical_field(curvilinear(), "f.nc", recipe(state_dims=dims), "t2m")


def test_a_recipe_may_name_the_axes_as_the_file_does(tmp_path):
    path = written(field().rename(latitude="lat", longitude="lon"), tmp_path)
    found = open_nature_run(recipe(state_dims=["lat", "lon"]), path=path)
    assert found["t2m"].dims == ("time", "lat", "lon")
    other = open_nature_run(
        recipe(state_dims=["lat", "lon"]), path=written(field(), tmp_path, "g.nc")
    )
    np.testing.assert_array_equal(found["lat"], other["lat"])


def test_an_only_level_is_taken_and_said(tmp_path):
    made = field().expand_dims(height=[2.0])
    got = ingest(recipe(), path=written(made, tmp_path))
    assert "its only height was taken" in got.account.notes
    np.testing.assert_array_equal(got.nature_run["t2m"], field()["t2m"][1:34])


def named_stations():
    names = np.array(["Dublin", "Cork", "Galway"])
    return xr.Dataset(
        {"t2m": (("time", "station"), np.full((36, 3), 280.0), {"units": "K"})},
        {"time": HOURS, "station": names},
    )


def track():
    times = np.repeat(HOURS[:18], 2)
    return xr.Dataset(
        {"t2m": (("time",), np.full(36, 280.0), {"units": "K"})},
        {"time": times, "lat": ("time", np.linspace(50, 58, 36)), "lon": ("time", np.zeros(36))},
    )


def placed_stations():
    made = named_stations().assign_coords(station=[1, 2, 3])
    return made.assign_coords(lat=("station", LAT), lon=("station", LON[:3]))


def twin_times(differ):
    made = field().isel(time=[*range(10), *range(9, 36)])
    made["t2m"][10] += differ
    return made


@pytest.mark.parametrize(
    ("made", "dims", "told"),
    [
        (named_stations(), ["station"], "axis 'station' holds text .such as 'Dublin'.*gridded"),
        (track(), ["latitude", "longitude"], "as tracks, stations .*each 'time' has a latitude"),
        (placed_stations(), ["station"], "are simulated .*name a gridded file"),
        (
            field().assign_attrs(featureType="timeSeries"),
            ["latitude", "longitude"],
            "featureType is 'timeSeries'",
        ),
        (twin_times(0), ["latitude", "longitude"], "a time twice .*the same: drop the duplicates"),
        (twin_times(1), ["latitude", "longitude"], "2019-03-20T09:00 differ, so that one of"),
        (
            field().rename(latitude="y", longitude="x"),
            ["latitude", "longitude"],
            r"has dimensions \('time', 'y', 'x'\).*which axis is 'latitude' or 'longitude'",
        ),
        (
            field().rename(latitude="lat", longitude="lon").drop_vars("lat"),
            ["latitude", "longitude"],
            "has a dimension 'lat' without coordinates",
        ),
        (field().expand_dims(expver=[1, 5]), ["latitude", "longitude"], "'expver' .2: 1, 5"),
        (
            field().assign(t2m=field()["t2m"].astype(str).assign_attrs(units="K")),
            ["latitude", "longitude"],
            "'t2m' holds text",
        ),
    ],
)
def test_what_is_no_field_on_the_axes_is_told_as_what_it_is(made, dims, told, tmp_path):
    path = written(made, tmp_path)
    with pytest.raises(SourceError, match=f"(?s){told}") as caught:
        open_nature_run(recipe(state_dims=dims), path=path)
    assert str(path) in str(caught.value)
    assert "fetch it again" not in str(caught.value)


def test_a_quantity_in_units_of_time_stays_a_number(tmp_path):
    made = field()
    made["t2m"].attrs["units"] = "s"
    variable = recipe().variable.model_dump(mode="json") | {"units": "s"}
    found = open_nature_run(recipe(variable=variable), path=written(made, tmp_path))
    np.testing.assert_array_equal(found["t2m"], made["t2m"][1:34])


def test_times_that_cannot_be_decoded_are_no_damage(tmp_path):
    made = field(time=("time", np.arange(36.0), {"units": "fortnights since 2019-03-20"}))
    with pytest.raises(TimeAxisError, match="do not decode to instants"):
        open_nature_run(recipe(), path=written(made, tmp_path))


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "it is empty"), (b"PK\3\4", "unpack it"), (b"\x1f\x8b", "gunzip")]
)
def test_a_file_of_another_kind_is_told_what_it_is(content, told, tmp_path):
    (tmp_path / "f.nc").write_bytes(content)
    with pytest.raises(SourceFormatError, match=told):
        open_nature_run(recipe(), path=tmp_path / "f.nc")


def test_a_source_that_ends_early_is_taken_as_far_as_it_goes(tmp_path):
    path = written(field().isel(time=slice(0, 30)), tmp_path)
    with pytest.raises(PeriodError, match="covers"):
        ingest(recipe(), path=path)
    got = ingest(recipe(), path=path, partly=True)
    assert got.observations.sizes["time"] == 29
    assert (got.account.taken, got.account.waiting.size, got.account.lacking.size) == (29, 4, 0)
    assert any("waited for: 4 (2019-03-21T06:00 to" in text for text in got.account.warnings())
    assert to_minutes(got.nature_run["time"].values[[-1]]) < got.account.waiting[0]


def test_a_field_is_the_same_however_it_is_chunked_and_ordered():
    made = field()
    one, _ = canonical_field(made, "f.nc", recipe(), "t2m")
    other, _ = canonical_field(
        made.transpose("longitude", "time", "latitude").chunk(time=5), "f.nc", recipe(), "t2m"
    )
    xr.testing.assert_identical(one, other.compute())


def test_a_place_that_does_not_answer_is_no_damage(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/f.nc"
    with pytest.raises(SourceUnreachableError, match="check the address, the network") as caught:
        open_nature_run(recipe(), path=url, cache_dir=tmp_path)
    assert url in str(caught.value)
    assert "damaged" not in str(caught.value)
