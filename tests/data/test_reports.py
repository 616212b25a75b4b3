"""What must not change the observations that `ingest` makes of files."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.data import ingest, validate_recipe
from vardax_core.data.errors import RecipeError
from vardax_core.data.reports import STREAM
from vardax_core.data.yamlfile import read_yaml
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

LAWS = settings(max_examples=5, deadline=None)
START = np.datetime64("2019-03-01T00:00:00")
FIRST, LAST = np.datetime64("2019-03-02T12:00"), np.datetime64("2019-03-09T12:00")
LATITUDE, LONGITUDE = np.arange(40.0, 43.01, 1.0), np.arange(-182.0, -177.99, 1.0)
SEA = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
ON_LAND = ((40.5, -181.5), (40.0, 178.0))
OUTSIDE = ((39.9, -180.0), (43.1, -180.0), (42.0, -177.9), (42.0, 177.9), (42.0, 0.0))
RECIPE = """
schema: 2
name: laws
title: what must not change anything
attribution: made by a test
variables:
  - {name: t, long_name: temperature, units: K, valid_min: 250, valid_max: 300}
grid:
  dims: [latitude, longitude]
  like: {files: [grid.nc], variable: sea}
  mask: {files: [grid.nc], variable: sea, accept: [1]}
observations:
  - name: buoys
    source:
      kind: table
      files: [buoys-*.csv]
      columns: {time: time, latitude: lat, longitude: lon, value: t, platform: id}
      units: degC
      delay: 0h
    error_sd: 0.2
  - name: ships
    source:
      kind: table
      files: [ships-*.csv]
      columns: {time: time, latitude: lat, longitude: lon, value: t, platform: id}
      units: degC
      delay: 3h
    error_sd: 0.5
cycle:
  start: 2019-03-04T12:00Z
  end: 2019-03-07T12:00Z
  interval: 1d
  window: {times: 3, spacing: 1d, after: 2}
verification: {withheld: {share: 0.4, seed: 1}}
"""
SECOND = st.one_of(
    st.integers(0, 10 * 86400),
    # Halfway between two observation times, and on them.
    st.integers(0, 20).map(lambda half: half * 43200),
)
PLATFORM = st.sampled_from(["a", "b", "c", "17", "Ä 1"])
SOMEWHERE = st.tuples(st.integers(3900, 4400), st.integers(-18300, -17700))
ROW = st.tuples(SECOND, SOMEWHERE, st.integers(-300, 300), PLATFORM)
ROWS = st.lists(ROW, min_size=1, max_size=12)
USED = "2019-03-04T12:00:00Z,42.5,-179.5,10.0,z"
"""A row that is used, so that no stream is refused for having none."""


def lines(rows, *, turn=0):
    return [
        f"{START + np.timedelta64(second, 's')}Z,{lat / 100},{(lon + 36000 * turn) / 100},"
        f"{value / 10},{platform}"
        for second, (lat, lon), value, platform in rows
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("laws")
    xr.Dataset(
        {"sea": (("lat", "lon"), SEA.astype(np.int8))},
        {
            "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(made / "grid.nc")
    return made


def write(folder, stream, *files):
    """The files of a stream, in the place of those of before."""
    for old in folder.glob(f"{stream}-*.csv"):
        old.unlink()
    for number, rows in enumerate(files):
        text = "\n".join(["time,lat,lon,t,id", *rows]) + "\n"
        (folder / f"{stream}-{number}.csv").write_text(text, encoding="utf-8")


def ingested(folder, *buoys, ships=((USED,),), **period):
    write(folder, "buoys", *buoys)
    write(folder, "ships", *ships)
    return ingest(validate_recipe(read_yaml(RECIPE), "laws"), data_dir=folder, **period)


def same(one, other):
    assert one.platforms == other.platforms
    xr.testing.assert_identical(one.observations, other.observations)


def records_of(found):
    """The records of each time in the order of their columns, with names for numbers."""
    data = found.observations
    columns = {str(name): data[name].to_numpy() for name in data.data_vars}
    there = columns[QUALITY_CONTROL] != QualityCode.MISSING
    names = np.array([*found.platforms, "none"], object)
    columns["platform"] = names[columns["platform"]]
    return {
        time: [
            tuple(str(column[row, k]) for column in columns.values())
            for k in np.flatnonzero(there[row])
        ]
        for row, time in enumerate(data["time"].values.astype("datetime64[m]").tolist())
    }


@LAWS
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_neither_order_nor_files_nor_copies_matter(folder, rows, more, random):
    buoys, ships = [USED, *lines(rows)], [USED, *lines(more)]
    once = ingested(folder, buoys, ships=(ships,))

    def spread(whole):
        again = random.sample(whole, len(whole))
        again += random.sample(whole, random.randint(0, len(whole)))
        at = random.randint(0, len(again))
        return [part for part in (again[:at], again[at:]) if part]

    same(ingested(folder, *spread(buoys), ships=spread(ships)), once)


@LAWS
@given(ROWS, st.sampled_from([-1, 1, 2]))
def test_a_turn_of_all_longitudes_changes_nothing(folder, rows, turn):
    once = ingested(folder, [USED, *lines(rows)])
    same(ingested(folder, [USED, *lines(rows, turn=turn)]), once)


@LAWS
@given(ROWS, ROWS, st.sampled_from(["", " ", "NaN", "-"]))
def test_rows_without_a_value_change_nothing(folder, rows, more, blank):
    once = ingested(folder, [USED, *lines(rows)])
    cells = [line.split(",") for line in lines(more)]
    without = [",".join([*row[:3], blank, f"{row[4]} silent"]) for row in cells]
    same(ingested(folder, [*without, USED, *lines(rows)]), once)


@LAWS
@given(ROWS, st.integers(0, 7), st.integers(0, 7))
def test_any_cut_of_the_period_gives_the_same_rows(folder, rows, first, count):
    # A row of every day, so that no cut of a stream is refused for having none that is used.
    daily = [USED.replace("-04T", f"-{day:02d}T") for day in range(1, 11)]
    whole = records_of(ingested(folder, [*daily, *lines(rows)]))
    start = (FIRST + np.timedelta64(first, "D")).item()
    end = min(FIRST + np.timedelta64(first + count, "D"), LAST).item()
    part = records_of(ingested(folder, [*daily, *lines(rows)], start=start, end=end))
    assert part == {time: found for time, found in whole.items() if start <= time <= end}
    assert next(iter(whole)) == FIRST.item()
    assert list(whole)[-1] == LAST.item()


@LAWS
@given(ROWS, PLATFORM)
def test_what_is_withheld_does_not_depend_on_other_platforms(folder, rows, gone):
    def withheld(some):
        found = ingested(folder, [USED, *lines(some)])
        names = np.array([*found.platforms, "none"], object)
        codes = found.observations[QUALITY_CONTROL].to_numpy()
        platforms = names[found.observations["platform"].to_numpy()]
        return {
            code: set(platforms[codes == code]) for code in (QualityCode.KEPT, QualityCode.WITHHELD)
        }

    whole = withheld(rows)
    assert not whole[QualityCode.KEPT] & whole[QualityCode.WITHHELD]
    rest = withheld([row for row in rows if row[3] != gone])
    for code, platforms in rest.items():
        assert platforms == whole[code] - {f"buoys/{gone}"}


@LAWS
@given(ROWS, st.sampled_from(ON_LAND + OUTSIDE), st.integers(-1, 1))
def test_nothing_on_land_or_outside_is_ever_used(folder, rows, place, turn):
    latitude, longitude = place
    at = ((round(100 * latitude), round(100 * longitude)),)
    found = ingested(
        folder,
        [USED, *lines([(second, *at, value, name) for second, _, value, name in rows], turn=turn)],
    )
    codes = found.observations[QUALITY_CONTROL].to_numpy()
    mine = found.observations[STREAM].to_numpy() == 0
    used = np.isin(codes, [QualityCode.KEPT, QualityCode.WITHHELD]) & mine
    assert used.sum() == 1
    (account, _) = found.account.streams
    assert account.used == 1


def test_both_sides_of_the_dateline_are_used_and_land_is_where_the_mask_says(folder):
    """So that the law above does not hold for want of any place that is used."""
    sea = [(0, (4250, lon), 0, "a") for lon in (-17800, -18000, 18000, 17800)]
    rows = [(86400 * (2 + n), *row[1:]) for n, row in enumerate(sea)]
    found = ingested(folder, lines(rows))
    assert found.account.streams[0].used == 4


def test_a_gap_of_thirty_days_leaves_rows_without_a_record(folder):
    values = read_yaml(RECIPE)
    values["cycle"] |= {"end": "2019-04-20T12:00Z"}
    recipe = validate_recipe(values, "laws")
    days = [*range(1, 8), *range(37, 53)]
    write(folder, "buoys", lines([(86400 * d + 43200, (4250, -17900), d, "a") for d in days]))
    write(folder, "ships", [USED])
    found = ingest(recipe, data_dir=folder).observations
    mine = found["t"].where(found[STREAM] == 0)
    known = np.isfinite(mine).any("station").to_numpy()
    gone = found["time"].values[~known].astype("datetime64[D]")
    first = START.astype("datetime64[D]")
    assert gone.tolist() == [(first + np.timedelta64(d, "D")).item() for d in range(8, 37)]
    alone = ingest(recipe, data_dir=folder, start=np.datetime64("2019-04-08T12:00").item())
    after = found.sel(time=alone.observations["time"])
    width = alone.observations.sizes["station"]
    xr.testing.assert_equal(after.isel(station=slice(0, width)), alone.observations)


def test_observations_whose_error_nothing_states_are_refused(folder):
    values = read_yaml(RECIPE)
    del values["observations"][0]["error_sd"]
    with pytest.raises(RecipeError, match=r"observations\.0\.error_sd is needed"):
        validate_recipe(values, "laws")


IMAGES = """
  - name: images
    source: {kind: gridded, files: [images.nc], variable: t, units: K, delay: 0h}
    error_sd: 0.2
"""


@pytest.mark.slow
def test_clouds_of_images_with_a_day_missing_do_not_depend_on_the_cut(folder):
    """A cut reads three days before its first; with a day missing these are two images."""
    days = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9])
    rng = np.random.default_rng(0)
    fields = np.where(rng.random((9, 4, 5)) < 0.5, np.nan, 280.0).astype(np.float32)
    xr.Dataset(
        {"t": (("time", "lat", "lon"), fields, {"units": "K"})},
        {
            "time": np.datetime64("2019-03-01T12:00", "ns") + days * np.timedelta64(1, "D"),
            "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(folder / "images.nc")
    values = read_yaml(RECIPE)
    values["observations"] = read_yaml(IMAGES)
    for seed in range(6):
        values["verification"] = {"withheld": {"share": 0.9, "seed": seed, "by": "cloud"}}
        recipe = validate_recipe(values, "laws")
        whole = records_of(ingest(recipe, data_dir=folder))
        for day in range(2, 10):
            start = np.datetime64(f"2019-03-{day:02d}T12:00").item()
            part = records_of(ingest(recipe, data_dir=folder, start=start))
            assert part == {time: found for time, found in whole.items() if time >= start}
