"""Tables as they come: packed, growing, with times of arrival and levels."""

import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.streams.reading import COLUMNS, END, ROW, read, table, write


def test_a_packed_file_with_a_mark_of_its_encoding_is_read(tmp_path):
    text = "\ufefftime,lat,lon,t,station\n" + ROW + "\n\n" + ROW.replace(",a", ",\xe9t\xe9") + "\n"
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(text.encode())
    result = read(tmp_path, table(files=["*.csv.gz"]))
    assert result.records.platforms == ("a", "\xe9t\xe9")
    assert not result.account.notes[1:]


def test_lines_before_the_header_are_skipped_and_quotes_understood(tmp_path):
    rows = ["something about the data,", 'time,lat,lon,t,"station"', ROW.replace(",a", ',"a, b"')]
    write(tmp_path, *rows, header="")
    assert read(tmp_path, table(skip=1)).records.platforms == ("a, b",)


def test_a_folder_may_grow_and_a_file_may_lie_outside_of_the_period(tmp_path):
    write(tmp_path, ROW, name="2019-03.csv")
    before = read(tmp_path, table(files=["2019-*.csv"]))
    write(tmp_path, ROW.replace("03-02", "04-02"), name="2019-04.csv")
    write(tmp_path, ROW.replace("03-02", "03-03"), name="2019-05.csv")
    after = read(tmp_path, table(files=["2019-*.csv"]))
    assert len(before.records) == 1
    assert after.records.files == ("2019-03.csv", "2019-05.csv")
    assert "files without an observation in the period: 1 of 3 (first 2019-04.csv)" in (
        after.account.notes
    )


def test_folders_are_searched_in_order_and_patterns_below_them(tmp_path):
    for folder, station in (("one", "a"), ("two", "b")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        write(tmp_path / folder / "deep", ROW.replace(",a", f",{station}"))
    folders = [tmp_path / "missing", tmp_path / "two", tmp_path / "one"]
    result = read(None, table(files=["deep/*.csv"]), folders=folders)
    assert result.records.platforms == ("b",)
    both = read(tmp_path, table(files=["**/*.csv", "one/deep/a.csv"]))
    assert both.records.files == ("one/deep/a.csv", "two/deep/a.csv")


def test_a_value_arrives_when_its_column_says_or_its_file_was_modified(tmp_path):
    header = "time,lat,lon,t,station,got"
    rows = [f"{ROW},2019-03-02T07:30:15Z", f"{ROW.replace(',a', ',b')},"]
    write(tmp_path, *rows, header=header)
    columns = COLUMNS | {"arrival": "got"}
    moved = {"offset": "24h", "zone": "UTC"}
    records = read(tmp_path, table(columns=columns, delay=None, time=moved)).records
    assert records.time[0] == np.datetime64("2019-03-03T06:00")
    assert records.arrival.tolist() == [
        np.datetime64("2019-03-02T07:30:15", "ns").astype(int),
        np.datetime64(int(END.timestamp()), "s").astype("datetime64[ns]").astype(int),
    ]
    os.utime(tmp_path / "a.csv", (1, 10**9))
    later = read(tmp_path, table(columns=columns, delay=None, time=moved)).records
    assert later.arrival[1] == np.datetime64("2001-09-09T01:46:40")
    assert read(tmp_path).records.arrival[0] == np.datetime64("2019-03-02T09:00")


def test_levels_are_told_apart(tmp_path):
    rows = [f"{ROW},{level}" for level in (10, 20, "")]
    write(tmp_path, *rows, header="time,lat,lon,t,station,z")
    records = read(tmp_path, table(columns=COLUMNS | {"level": "z"})).records
    np.testing.assert_array_equal(records.level, [10, 20, np.nan])
    assert (records.code == 0).all()


def test_instants_of_parquet_keep_their_zone_and_their_seconds(tmp_path):
    instants = np.array(["2019-03-02T06:00:01.5", "2019-03-03"], "datetime64[us]")
    rest = {"lat": [52.0, 52.0], "lon": [-6.0, -6.0], "t": [3, None], "station": [7, 7]}
    for kind in (pa.timestamp("us"), pa.timestamp("us", tz="Europe/Paris")):
        pq.write_table(pa.table({"time": pa.array(instants, kind), **rest}), tmp_path / "a.parquet")
        result = read(tmp_path, table(files=["*.parquet"]))
        assert result.records.time[0] == np.datetime64("2019-03-02T06:00:01.5")
        assert result.records.platforms == ("7",)
        assert result.account.used == 1
        assert bool(result.account.suspicions) == (kind.tz is None)


def test_a_plane_has_any_axes(tmp_path):
    write(tmp_path, "2019-03-02T06:00Z,1500.5,-200,3", header="time,north,east,t")
    columns = {"time": "time", "y": "north", "x": "east", "value": "t"}
    records = read(tmp_path, table(columns=columns), dims=("y", "x")).records
    np.testing.assert_array_equal(records.place, [[1500.5, -200.0]])
    assert records.platforms == ("stations",)
