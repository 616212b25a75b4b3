"""Bad input: each kind is named in words with the file and the row, and nothing else is lost."""

import os

import numpy as np
import pytest

from tests.data.streams.reading import COLUMNS, END, GRID, ROW, read, table, write
from vardax_core.data.errors import (
    ChecksumError,
    RecipeError,
    SourceFormatError,
    SourceNotFoundError,
    TimeAxisError,
    UnitsError,
)
from vardax_core.data.streams.account import NothingUsableError, Reason
from vardax_core.data.streams.revisions import superseded_times
from vardax_core.observations.quality import QualityCode


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ("2019-03-02T06:00Z,52.5,-6.25,warm,a", Reason.NOT_A_NUMBER, "t = 'warm'"),
        ("2019-03-02T06:00Z,north,-6.25,3,a", Reason.NOT_A_NUMBER, "lat = 'north'"),
        ("2019-03-02T06:00Z,52.5,-6.25,inf,a", Reason.NOT_A_NUMBER, "t = 'inf'"),
        ("2019-03-02T06:00Z,52.5,-6.25,,a", Reason.MISSING, "t is blank"),
        ("2019-03-02T06:00Z,,-6.25,3,a", Reason.NO_PLACE, "lat is blank"),
        ("2019-03-02T06:00Z,91,-6.25,3,a", Reason.BAD_PLACE, "lat = '91'"),
        ("2019-03-02T06:00Z,52.5,999,3,a", Reason.BAD_PLACE, "lon = '999'"),
        ("03/04/2019,52.5,-6.25,3,a", Reason.AMBIGUOUS_TIME, "time = '03/04/2019'"),
        ("yesterday,52.5,-6.25,3,a", Reason.BAD_TIME, "time = 'yesterday'"),
        ("2019-02-30,52.5,-6.25,3,a", Reason.BAD_TIME, "time = '2019-02-30'"),
        (",52.5,-6.25,3,a", Reason.NO_TIME, "time is blank"),
        ("2018-03-02T06:00Z,52.5,-6.25,3,a", Reason.OUTSIDE_PERIOD, "time = '2018"),
        ("2019-03-02T06:00Z,52.5,-6.25,300,a", Reason.OUT_OF_BOUNDS, "573.15 K"),
        ("2019-03-02T06:00Z,20,-6.25,3,a", Reason.OUTSIDE_GRID, "276.15 K at latitude 20"),
        ("2019-03-02T06:00Z,52.5,-6.25", Reason.ODD_ROW, "3 columns, expected 5"),
        ("2019-03-02T06:00Z,52,5,-6,25,3,a", Reason.ODD_ROW, "7 columns, expected 5"),
    ],
)
def test_a_bad_row_is_named_and_stops_nothing(tmp_path, row, reason, said):
    write(tmp_path, ROW, row, ROW.replace(",a", ",b"))
    result = read(tmp_path, grid=GRID)
    assert result.account.used == 2
    assert list(result.account.without) == [reason]
    assert f"a.csv row 2: {said}" in " ".join(result.account.sentences())
    assert result.records.row[result.records.code == QualityCode.KEPT].tolist() == [1, 3]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_fault_that_spoils_a_stream_has_a_repair(reason):
    harmless = {
        Reason.MISSING, Reason.OUTSIDE_PERIOD, Reason.MASKED, Reason.FLAGGED, Reason.REPEATED,
        Reason.SUPERSEDED, Reason.OUTSIDE_GRID, Reason.ON_LAND,
    }  # fmt: skip
    assert (reason.repair == "") == (reason in harmless)


@pytest.mark.parametrize(
    ("column", "text", "repair"),
    [
        (0, "03/04/2019", "'%d/%m/%Y' or '%m/%d/%Y'"),
        (0, "1551398400", "time.units"),
        (3, "12,5", "source.separator"),
        (3, "n.a.!", "source.missing"),
        (1, "525", "swapped?"),
    ],
)
def test_a_stream_without_a_usable_row_is_refused_with_the_repair(tmp_path, column, text, repair):
    cells = ROW.split(",")
    write(tmp_path, ",".join(text if n == column else cell for n, cell in enumerate(cells)))
    with pytest.raises(NothingUsableError) as caught:
        read(tmp_path)
    for part in ("Stream 'stations'", "a.csv row 1", repair):
        assert part in str(caught.value)


def test_a_clock_that_repeats_an_hour_is_ambiguous(tmp_path):
    rows = [f"2019-{time},52.5,-6.25,3,a" for time in ("10-27 01:30", "03-31 01:30", "03-30 01:30")]
    write(tmp_path, *rows)
    stream = table(time={"zone": "Europe/Dublin"})
    result = read(tmp_path, stream, end=np.datetime64("2019-12-01"))
    assert result.account.count(Reason.AMBIGUOUS_TIME) == 2
    assert result.records.time.astype(str).tolist() == ["2019-03-30T01:30:00.000000000"]


def test_times_without_a_zone_are_read_as_utc_which_is_said(tmp_path):
    write(tmp_path, ROW, ROW.replace("Z", ""))
    result = read(tmp_path)
    assert result.account.count(Reason.REPEATED) == 1
    (said,) = result.account.suspicions
    assert (
        "1 time without a time zone (first a.csv row 2: time = '2019-03-02T06:00'), while 1" in said
    )
    assert "time.zone" in said
    assert read(tmp_path, table(time={"zone": "UTC"})).account.suspicions == ()
    moved = read(tmp_path, table(time={"zone": "+02:00", "offset": "-1h"})).records.time
    assert moved.astype("datetime64[h]").astype(str).tolist() == ["2019-03-02T03", "2019-03-02T05"]


def test_swapped_columns_are_seen_by_where_places_fall(tmp_path):
    write(tmp_path, *(f"2019-03-02T06:00Z,{-6 + n},{52 + n},3,a" for n in range(5)))
    with pytest.raises(NothingUsableError, match="latitude and longitude look swapped: of 5"):
        read(tmp_path, grid=GRID)
    write(tmp_path, *(f"2019-03-02T06:00Z,{120 + n},{52 + n},3,a" for n in range(5)))
    with pytest.raises(NothingUsableError, match=r"0% lie on the sphere, and 100% when swapped"):
        read(tmp_path)
    write(tmp_path, *(f"2019-03-02T06:00Z,{52 + n},{-6 + n},3,a" for n in range(5)))
    assert "swapped" not in " ".join(read(tmp_path, grid=GRID).account.sentences())


@pytest.mark.parametrize(
    ("values", "labelled", "meant"),
    [((41.0, 50.0, 68.0), "K", "degF"), ((5.0, 10.0, 20.0), "K", "degC"),
     ((280.0, 285.0, 290.0), "degC", "K")],
)  # fmt: skip
def test_other_units_than_stated_are_seen_by_bounds(tmp_path, values, labelled, meant):
    write(tmp_path, *(f"2019-03-0{n + 2}T06:00Z,52,-6,{v},a" for n, v in enumerate(values)))
    with pytest.raises(NothingUsableError) as caught:
        read(tmp_path, table(units=labelled))
    assert f"when read in {labelled}" in str(caught.value)
    assert meant in str(caught.value).partition("would fit in")[2].partition(";")[0]


def test_errors_must_be_positive(tmp_path):
    rows = [f"2019-03-0{n}T06:00Z,52,-6,3,a,{e}" for n, e in enumerate((0.3, 0, -1, "", "x"), 1)]
    write(tmp_path, *rows, header="time,lat,lon,t,station,err")
    columns = COLUMNS | {"error": "err"}
    own = read(tmp_path, table(columns=columns))
    np.testing.assert_array_equal(own.records.error_sd, [0.3, *[np.nan] * 4])
    (said,) = own.account.suspicions
    assert "zero, negative or no number: 3 (first a.csv row 2: err = '0')" in said
    assert "count as not given" in said
    filled = read(tmp_path, table(columns=columns, error_sd=0.8, representativeness=0.6))
    np.testing.assert_allclose(filled.records.error_sd, [np.hypot(0.3, 0.6), *[1.0] * 4])


def test_contradicting_values_are_not_used_and_a_later_one_supersedes(tmp_path):
    write(tmp_path, ROW, ROW.replace("10.5", "11.5"), ROW.replace(",a", ",b"))
    result = read(tmp_path)
    assert result.records.code.tolist() == [QualityCode.DUPLICATE] * 2 + [QualityCode.KEPT]
    assert result.account.count(Reason.CONFLICTING) == 2
    by_file = table(delay=None)
    write(tmp_path, ROW, name="a.csv")
    write(tmp_path, ROW.replace("10.5", "11.5"), name="b.csv")
    os.utime(tmp_path / "b.csv", (END.timestamp() + 60, END.timestamp() + 60))
    result = read(tmp_path, by_file)
    assert result.records.value.tolist() == [11.5 + 273.15]
    assert result.superseded.value.tolist() == [10.5 + 273.15]
    assert result.superseded.files == ("a.csv",)
    assert "1 that were corrected later (first a.csv row 1" in " ".join(result.account.sentences())
    until = superseded_times(result.records, result.superseded)
    assert until == np.datetime64(int(END.timestamp()) + 60, "s")


def test_the_files_that_cannot_be_read_are_named_and_the_others_used(tmp_path):
    write(tmp_path, ROW)
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "binary.csv").write_bytes(b"\x89HDF\r\n\x1a\n\0\0\0\0")
    write(tmp_path, "x", name="other.csv", header="time,lat,lon,temp,station")
    (tmp_path / "half.csv.part").write_text("not finished")
    result = read(tmp_path, table(files=["*"], format="csv"))
    assert result.account.used == 1
    refused = result.account.refused
    assert set(refused) == {"empty.csv", "binary.csv", "other.csv"}
    assert "the file is empty" in refused["empty.csv"]
    assert "no text in UTF-8" in refused["binary.csv"]
    assert "no column 't' for value" in refused["other.csv"]
    assert any("nothing was taken from empty.csv" in said for said in result.account.warnings())
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceFormatError, match="So it is with 2 further files"):
        read(tmp_path)


def test_a_column_that_is_missing_is_named_with_the_nearest(tmp_path):
    write(tmp_path, ROW)
    with pytest.raises(SourceFormatError) as caught:
        read(tmp_path, table(columns=COLUMNS | {"platform": "stations", "value": "temp"}))
    assert "no column 'temp' for value" in str(caught.value)
    assert "no column 'stations' for platform; did you mean 'station'?" in str(caught.value)
    assert "['time', 'lat', 'lon', 't', 'station']" in str(caught.value)


def test_a_file_that_ends_within_a_row_may_still_be_written(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["time,lat,lon,t,station", ROW, ROW[:-4]]))
    result = read(tmp_path)
    assert result.account.used == 1
    assert result.account.count(Reason.ODD_ROW) == 1
    assert any("still being written" in said for said in result.account.warnings())


def test_a_quote_that_is_not_closed_is_pointed_out(tmp_path):
    write(tmp_path, ROW, ROW.replace(",a", ',"b'), ROW, ROW)
    (said,) = read(tmp_path).account.suspicions
    assert "1 row of several lines (first at line 3): a quote that is not closed" in said


def test_zeros_that_a_crash_left_are_one_bad_row(tmp_path):
    write(tmp_path, ROW, "\0" * 50, ROW.replace(",a", ",b"))
    assert read(tmp_path).account.used == 2


def test_letters_that_are_lost_are_pointed_out(tmp_path):
    rows = [ROW.replace(",a", f",Um{letter}") for letter in "äåö"]
    text = "\n".join(["time,lat,lon,t,station", *rows, ""])
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    result = read(tmp_path)
    (said,) = result.account.suspicions
    assert "names of platforms are not in UTF-8" in said
    assert "source.encoding" in said
    assert len(result.records.platforms) == result.account.used == 3
    assert read(tmp_path, table(encoding="latin-1")).records.platforms == ("Umä", "Umå", "Umö")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("time,lat,lon,t,länge\n".encode("latin-1"), "not in UTF-8: write source.encoding.*iconv"),
        ("time,lat,lon,t,station\n".encode("utf-16"), "no text in UTF-8.*source.encoding.*iconv"),
        (b"# logger 7\ntime,lat,lon,t,station\n", "source.skip"),
    ],
)
def test_a_header_that_cannot_be_read_says_how_it_can(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content + ROW.encode())
    with pytest.raises(SourceFormatError, match=said):
        read(tmp_path)


@pytest.mark.parametrize(
    ("day", "clock", "reason", "said"),
    [
        ("2019-03-02", "25", Reason.BAD_TIME, "hour = '25'"),
        ("2019-03-02", "12:75", Reason.BAD_TIME, "hour = '12:75'"),
        ("2019-03-02", "noon", Reason.BAD_TIME, "hour = 'noon'"),
        ("2019-03-02", "", Reason.NO_TIME, "day = '2019-03-02'"),
        ("2019-03-02T06:00", "6", Reason.BAD_TIME, "day = '2019-03-02T06:00'"),
    ],
)
def test_a_clock_that_is_none_is_named(tmp_path, day, clock, reason, said):
    good = [f"2019-03-02,{c},52,-6,3,{c}" for c in ("6", "0600", "6:00", "06:00:00", "24")]
    write(tmp_path, *good, f"{day},{clock},52,-6,3,a", header="day,hour,lat,lon,t,station")
    columns = COLUMNS | {"time": "day", "clock": "hour"}
    result = read(tmp_path, table(columns=columns, time={"zone": "UTC"}))
    assert list(result.account.without) == [reason]
    assert f"a.csv row 6: {said}" in " ".join(result.account.sentences())
    hours = result.records.time.astype("datetime64[h]").astype(str).tolist()
    assert hours == ["2019-03-02T06"] * 4 + ["2019-03-03T00"]


def test_an_encoding_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match=r"no encoding 'utf-99'; write such as"):
        table(encoding="utf-99")


@pytest.mark.parametrize("year", ["9999-12-31", "0001-01-01"])
def test_instants_out_of_reach_are_outside_of_the_period(tmp_path, year):
    write(tmp_path, ROW, ROW.replace("2019-03-02T06:00Z", year))
    assert read(tmp_path).account.count(Reason.OUTSIDE_PERIOD) == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.nc"])
@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"CDF\x01 and no more"])
def test_a_truncated_file_is_refused_in_words(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceFormatError, match="still being written"):
        read(tmp_path, table(files=[name]))


def test_a_file_of_another_period_is_said_to_be_one(tmp_path):
    write(tmp_path, ROW.replace("2019", "2018"))
    result = read(tmp_path)
    assert len(result.records) == 0
    assert "are these the files of another period?" in " ".join(result.account.warnings())


def test_times_at_odd_hours_are_pointed_out(tmp_path):
    rows = [f"2019-03-{d:02d}T06:00Z,52,-6,3,a" for d in range(1, 31)]
    write(tmp_path, *rows, "2019-03-15T06:07:30Z,52,-6,3,a")
    (said,) = read(tmp_path).account.suspicions
    assert "times at odd hours: 1 of 31 (first a.csv row 31: 2019-03-15T06:07:30)" in said


def test_flags_that_are_not_accepted_are_left_out(tmp_path):
    rows = [f"2019-03-0{n}T06:00Z,52,-6,3,a,{q}" for n, q in enumerate(("0", "1", "2", ""), 1)]
    write(tmp_path, *rows, header="time,lat,lon,t,station,flag")
    result = read(tmp_path, table(columns=COLUMNS | {"quality": "flag"}, accept=[0, 1]))
    assert result.account.used == 2
    assert "flag = '2'" in str(result.account.without[Reason.FLAGGED])


def test_what_the_recipe_says_wrongly_is_refused(tmp_path):
    write(tmp_path, ROW)
    with pytest.raises(RecipeError, match="cannot be converted"):
        read(tmp_path, table(units="hPa"))
    with pytest.raises(SourceNotFoundError, match=r"did you mean 'a\.csv'"):
        read(tmp_path, table(files=["aa.csv"]))
    with pytest.raises(SourceNotFoundError, match="No file fits"):
        read(tmp_path, table(files=["*.parquet"]))
    with pytest.raises(ChecksumError, match="expected SHA-256 0000"):
        read(tmp_path, table(files=[{"name": "a.csv", "sha256": "0" * 64}]))


def test_numbers_that_count_nothing_known_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"time": [1.5], "lat": [52.0], "lon": [-6.0], "t": [3.0], "station": ["a"]}
    pq.write_table(pa.table(names), tmp_path / "a.parquet")
    with pytest.raises(TimeAxisError, match=r"a\.parquet: 'time': times are the numbers 1\.5"):
        read(tmp_path, table(files=["*.parquet"]))


def test_units_of_a_file_that_states_none_are_refused(tmp_path):
    import xarray as xr

    xr.Dataset({"t": ("obs", [3.0])}).to_netcdf(tmp_path / "a.nc")
    columns = dict.fromkeys(("time", "latitude", "longitude", "value"), "t")
    with pytest.raises(Exception, match="column 't' is given"):
        table(files=["a.nc"], columns=columns)
    data = {name: ("obs", [1.0]) for name in ("time", "lat", "lon", "t", "station")}
    xr.Dataset(data).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(UnitsError, match=r"a\.nc: 't' states no units"):
        read(tmp_path, table(files=["a.nc"], units=None))
