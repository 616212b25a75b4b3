"""What a file says without being asked."""

import numpy as np
import pytest
import xarray as xr

from tests.data.streams.reading import GRID, HEADER, ROW, write
from tests.support import real_data_dir
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.columns import TimeReading
from vardax_core.data.streams.guesses import marks_of, role_of, time_reading, units_of
from vardax_core.data.streams.inspect import inspect_file
from vardax_core.data.streams.sections import Stream


def test_the_real_stations_are_understood():
    found = inspect_file("ireland-2019-03/synoptic.csv", [real_data_dir()])
    columns = found.stream.source.columns.by_role
    assert columns == {
        "time": "date", "latitude": "lat", "longitude": "lon", "value": "maxtp",
        "platform": "station", "level": "height",
    }  # fmt: skip
    assert found.units == found.stream.source.units == "degC"
    assert found.account.used == 744
    assert any("['mintp', 'rain', 'cbl', 'wdsp']" in said for said in found.sentences)
    assert any("time zone" in question for question in found.questions)
    assert Stream.model_validate(found.stream.model_dump()) == found.stream
    pressure = inspect_file("ireland-2019-03/synoptic.csv", [real_data_dir()], value="cbl")
    assert pressure.units == "hPa"


def test_the_real_tracks_are_understood():
    found = inspect_file("med-adt/ADT_20140515_20140604.dat", [real_data_dir()])
    source = found.stream.source
    assert source.columns.by_role == {"time": 2, "latitude": 1, "longitude": 0, "value": 3}
    assert source.time.units == "days since 1950-01-01"
    assert source.gap.total_seconds() == 60
    assert len(found.records.records.platforms) == 248
    assert any("has no header" in question for question in found.questions)
    assert any("units of 3" in question for question in found.questions)


def test_the_real_images_are_understood():
    found = inspect_file("alboran-sst/alboranSST_small.nc", [real_data_dir()])
    assert found.stream.source.variable == "SST"
    assert found.stream.source.axes == {"latitude": "lat", "longitude": "lon", "time": "time"}
    assert found.account.used == 121243
    assert found.units == "degree Celsius"


def test_a_grid_tells_latitude_from_longitude(tmp_path):
    rows = [f"2019-03-01T{n:02d}:00Z {52 + n / 10} {-6 - n / 10} {n}" for n in range(20)]
    write(tmp_path, *rows, name="a.dat", header="")
    alone = inspect_file("a.dat", [tmp_path]).stream.source.columns
    told = inspect_file("a.dat", [tmp_path], grid=GRID).stream.source.columns
    assert alone.places == {"latitude": 2, "longitude": 1}
    assert told.places == {"latitude": 1, "longitude": 2}


def test_discrete_geometries_are_tables(tmp_path):
    data = xr.Dataset(
        {"temp": (("station", "time"), np.ones((3, 4)), {"units": "degC"}),
         "temp_qc": (("station", "time"), np.ones((3, 4), np.int8))},
        {"time": ("time", np.arange(4), {"units": "hours since 2019-03-01"}),
         "lat": ("station", [52.0, 53.0, 54.0]), "lon": ("station", [-6.0, -7.0, -8.0]),
         "buoy": ("station", ["a", "b", "c"])},
    )  # fmt: skip
    data.to_netcdf(tmp_path / "a.nc")
    found = inspect_file("a.nc", [tmp_path])
    assert found.stream.source.columns.by_role == {
        "time": "time", "latitude": "lat", "longitude": "lon", "value": "temp", "platform": "buoy",
    }  # fmt: skip
    assert found.account.used == 12
    assert any("temp_qc" in question for question in found.questions)


def test_marks_and_formats_are_found(tmp_path):
    rows = [
        f"{13 + n % 15}/04/2019 06:00;{52 + n / 100};-6;{n % 9 - 999 * (n == 3)};s{n}"
        for n in range(30)
    ]
    write(tmp_path, *rows, header="when;lat;lon;air [degC];station", name="b.csv")
    with pytest.raises(SourceFormatError, match="no column looks like time"):
        inspect_file("b.csv", [tmp_path])
    marked = [row.replace(f";{3 - 999};", ";-999;") for row in rows]
    write(tmp_path, *marked, header="date;lat;lon;air [degC];station", name="b.csv")
    found = inspect_file("b.csv", [tmp_path])
    assert found.stream.source.missing == (-999.0,)
    assert found.stream.source.time.format == "%d/%m/%Y %H:%M"
    assert found.units == "degC"
    assert found.account.used == 29


@pytest.mark.parametrize(
    ("header", "clock"),
    [("date,hour", "{}"), ("Date,HH", "{:02d}"), ("date,time", "{:02d}:00"), ("day,Heure", "{}")],
)
def test_dates_and_hours_in_two_columns_are_joined(tmp_path, header, clock):
    rows = [f"2019-03-{d:02d},{clock.format(h)},52,-6,{h},a" for d in (1, 2) for h in (0, 6, 18)]
    write(tmp_path, *rows, header=f"{header},lat,lon,t,station")
    found = inspect_file("a.csv", [tmp_path])
    day, hour = header.split(",")
    columns = found.stream.source.columns
    assert (columns.time, columns.clock, columns.value) == (day, hour, "t")
    hours = found.records.records.time.astype("datetime64[h]").astype(int) % 24
    assert set(hours) == {0, 6, 18}


def test_the_encoding_and_the_lines_before_the_header_are_found(tmp_path):
    text = f"# logger é\n\n# v1\n{HEADER}\n{ROW.replace(',a', ',Umeå')}\n"
    for encoding, expected in (("utf-8", None), ("latin-1", "cp1252"), ("utf-16", "utf-16")):
        (tmp_path / "a.csv").write_bytes(text.encode(encoding))
        found = inspect_file("a.csv", [tmp_path])
        assert (found.stream.source.encoding, found.stream.source.skip) == (expected, 3)
        assert found.records.records.platforms == ("Umeå",)
        assert any("source.skip" in question for question in found.questions)


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([], HEADER, "a header .*station. and no row after it"),
        ([ROW.replace("10.5", "")] * 3, HEADER, "blank in every row: t; name a file with values"),
        ([HEADER, ROW], "Report of the logger", "where lines stand before the header"),
    ],
)
def test_a_file_without_values_is_told_as_what_it_is(tmp_path, rows, header, said):
    write(tmp_path, *rows, header=header)
    with pytest.raises(SourceFormatError, match=said) as caught:
        inspect_file("a.csv", [tmp_path])
    assert "None" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "expected", "others"),
    [
        (["2019-03-01", "2019-03-02T12:00Z"], TimeReading(), 0),
        (["13/04/2019", "01/05/2019"], TimeReading(format="%d/%m/%Y"), 0),
        (["03/04/2019", "01/05/2019"], TimeReading(format="%d/%m/%Y"), 1),
        (["17897.5", "17898"], TimeReading(units="days since 1970-01-01"), None),
        (["soon", "later"], None, 0),
    ],
)
def test_how_times_are_written(texts, expected, others):
    found = time_reading(np.array(texts, object))
    if expected is None:
        assert found is None
        return
    if others is not None:
        assert found.reading == expected
        assert len(found.others) == others
    else:
        assert expected.units in (found.reading.units, *found.others)


def test_names_attributes_and_ranges():
    assert role_of("Lat", {}) == "latitude"
    assert role_of("y", {"standard_name": "latitude"}) == "latitude"
    assert role_of("anything", {"standard_name": "time"}) == "time"
    assert role_of("nt", {"axis": "T"}) == role_of("time_counter", {}) == "time"
    assert role_of("id", {"cf_role": "timeseries_id"}) == "platform"
    assert role_of("sst_qc", {}) == "quality"
    assert role_of("sst", {}) is None
    values = np.array([280.0, 290.0])
    assert units_of("temp", values)[0] == "K"
    assert units_of("wind [knots]", values)[0] == "knots"
    assert units_of("wind_ms", values)[0] == "m s-1"
    assert units_of("max_t", np.array([5.0]))[0] == "degC"
    assert units_of("number", values)[0] is None
    assert marks_of(np.array([1.0, 2.0, -999.0])) == (-999.0,)
    assert marks_of(np.array([1000.0, 998.0, 999.0])) == ()
