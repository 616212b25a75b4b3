"""What must not change the records of a stream."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.streams.reading import COLUMNS, GRID, HEADER, ROW, read, table, write

DAY = st.integers(1, 31)
OBSERVATION = st.tuples(
    st.integers(0, 40 * 86400),
    st.integers(4500, 6500),
    st.integers(-18000, 18000),
    st.integers(-400, 900),
    st.sampled_from(["a", "b", "1075"]),
)
ROWS = st.lists(OBSERVATION, min_size=1, max_size=15)
LAWS = settings(max_examples=20, deadline=None)
EPOCH = np.datetime64("2019-02-25T00:00:00")


def lines(rows, turn=0):
    return [
        f"{EPOCH + np.timedelta64(second, 's')}Z,{latitude / 100},{(longitude + 100 * turn) / 100},"
        f"{value / 10},{station}"
        for second, latitude, longitude, value, station in rows
    ]


def found(folder, *files, stream=None, **changes):
    """The records of files, which replace those of before."""
    for old in folder.iterdir():
        old.unlink()
    for n, rows in enumerate(files):
        write(folder, *rows, name=f"{n}.csv")
    return read(folder, stream, **changes)


def quiet(rows):
    """Rows of which one at least is used, so that the stream is not refused."""
    return [ROW, *lines(rows)]


@LAWS
@given(ROWS, st.randoms(use_true_random=False))
def test_neither_order_nor_files_nor_copies_matter(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("law")
    given_rows = quiet(rows)
    once = found(folder, given_rows, grid=GRID)
    again = random.sample(given_rows, len(given_rows))
    again += random.sample(given_rows, random.randint(0, len(given_rows)))
    cuts = sorted(random.randint(0, len(again)) for _ in range(2))
    parts = [again[: cuts[0]], again[cuts[0] : cuts[1]], again[cuts[1] :]]
    split = found(folder, *(part for part in parts if part), grid=GRID)
    assert split.records.says_the_same(once.records)
    assert split.superseded.says_the_same(once.superseded)
    assert split.account.used == once.account.used


@LAWS
@given(ROWS, st.sampled_from([-360, 360]))
def test_a_turn_of_all_longitudes_changes_nothing(tmp_path_factory, rows, turn):
    folder = tmp_path_factory.mktemp("turn")
    once = found(folder, quiet(rows), grid=GRID)
    turned = found(folder, [ROW, *lines(rows, turn)], grid=GRID)
    assert turned.records.says_the_same(once.records)
    assert ((once.records.place[:, 1] >= -180) & (once.records.place[:, 1] < 180)).all()


@LAWS
@given(ROWS, ROWS, st.sampled_from(["", " ", "NaN", "-999", "gone"]))
def test_rows_without_a_value_change_nothing(tmp_path_factory, rows, more, blank):
    folder = tmp_path_factory.mktemp("missing")
    stream = table(missing=[-999, "gone"])
    once = found(folder, quiet(rows), stream=stream)
    without = [",".join([*line.split(",")[:3], blank, line.split(",")[4]]) for line in lines(more)]
    both = found(folder, without + quiet(rows), stream=stream)
    assert both.records.says_the_same(once.records)
    assert both.account.rows == once.account.rows + len(more)


@LAWS
@given(ROWS)
def test_every_row_is_accounted_for(tmp_path_factory, rows):
    """Rows are records, superseded ones, or counted for one reason."""
    result = found(tmp_path_factory.mktemp("account"), quiet(rows), grid=GRID)
    account = result.account
    marked = ("OUT_OF_BOUNDS", "OUTSIDE_GRID", "ON_LAND", "CONFLICTING", "SUPERSEDED")
    left_out = sum(n for reason, (n, _) in account.without.items() if reason.name not in marked)
    assert len(result.records) + len(result.superseded) + left_out == account.rows
    assert account.used == (result.records.code == 0).sum()


def test_all_formats_say_the_same(tmp_path):
    rows = [
        (second * 3601 % (30 * 86400), 5000 + 7 * second, -600 + second, second, f"s{second % 5}")
        for second in range(60)
    ]
    write(tmp_path, *lines(rows))
    expected = read(tmp_path).records
    time = EPOCH + np.array([row[0] for row in rows]).astype("timedelta64[s]")
    latitude, longitude, value = np.array([row[1:4] for row in rows], np.float64).T / [
        [100],
        [100],
        [10],
    ]
    station = np.array([row[4] for row in rows])

    pq.write_table(
        pa.table(
            {
                "time": pa.array(time.astype("datetime64[ns]")),
                "lat": latitude,
                "lon": longitude,
                "t": value,
                "station": pa.array(station).dictionary_encode(),
            }
        ),
        tmp_path / "b.parquet",
    )
    dataset = xr.Dataset(
        {"t": ("obs", value, {"units": "degC"}), "station": ("obs", station)},
        {"time": ("obs", time.astype("datetime64[ns]")), "lat": ("obs", latitude),
         "lon": ("obs", longitude)},
    )  # fmt: skip
    dataset.to_netcdf(tmp_path / "c.nc")
    dataset.to_zarr(tmp_path / "d.zarr")
    text = [line.replace(",", "  ") for line in lines(rows)]
    write(tmp_path, "# a comment", *text, name="e.txt", header="time lat lon t station")
    numbered = {"time": 0, "latitude": 1, "longitude": 2, "value": 3, "platform": 4}
    write(tmp_path, *text, name="f.dat", header="")
    semicolon = [line.replace(",", ";").replace(".", ",") for line in lines(rows)]
    write(tmp_path, *semicolon, name="g.csv", header="time;lat;lon;t;station")
    for changes in (
        {"files": ["b.parquet"]},
        {"files": ["c.nc"], "units": None},
        {"files": ["d.zarr"], "units": None},
        {"files": ["e.txt"]},
        {"files": ["f.dat"], "columns": numbered},
        {"files": ["g.csv"], "decimal": ","},
    ):
        again = read(tmp_path, table(**changes)).records
        assert again.says_the_same(expected), changes


@LAWS
@given(ROWS, st.sampled_from(["UTC", "Europe/Dublin", "+05:30"]))
def test_a_date_and_a_clock_are_an_instant(tmp_path_factory, rows, zone):
    folder = tmp_path_factory.mktemp("clock")
    plain = [line.replace("Z,", ",") for line in quiet(rows)]
    one = found(folder, plain, stream=table(time={"zone": zone}))
    write(folder, *(line.replace("T", ",", 1) for line in plain), name="0.csv",
          header="day,clock,lat,lon,t,station")  # fmt: skip
    columns = COLUMNS | {"time": "day", "clock": "clock"}
    two = read(folder, table(columns=columns, time={"zone": zone}))
    assert two.records.says_the_same(one.records)
    assert two.account.used == one.account.used


@LAWS
@given(ROWS, st.sampled_from(["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8"]))
def test_letters_are_the_same_in_any_encoding(tmp_path_factory, rows, encoding):
    folder = tmp_path_factory.mktemp("letters")
    given_rows = [line.replace(",a", ",Zürich").replace(",b", ",Zörich") for line in quiet(rows)]
    expected = found(folder, given_rows)
    text = "\n".join([HEADER, *given_rows]) + "\n"
    (folder / "0.csv").write_bytes(text.encode(encoding))
    again = read(folder, table(encoding=encoding))
    assert again.records.says_the_same(expected.records)
    assert again.account.suspicions == expected.account.suspicions


def test_pieces_of_a_file_join_without_a_seam(tmp_path, monkeypatch):
    rows = [(second * 7919 % (30 * 86400), 5200, -600, 100, "a") for second in range(40)]
    write(tmp_path, *lines(rows))
    whole = read(tmp_path)
    monkeypatch.setattr("vardax_core.data.streams.text.ROWS", 7)
    pieces = read(tmp_path)
    assert pieces.records.says_the_same(whole.records)
    assert np.array_equal(pieces.records.row, whole.records.row)
    assert pieces.account.without == whole.account.without
