"""A first recipe from files: it says what they say, marks what it guesses, and is read again."""

import datetime
import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.data.station_files import START, write_fields, write_stations
from tests.support import real_data_dir
from vardax_core.data import RecipeError, SourceError, ingest, read_recipe
from vardax_core.data.drafts.area import MOST_POINTS, area_of
from vardax_core.data.drafts.rhythm import rhythm_of, span_of
from vardax_core.data.drafts.values import bounds_of, error_of, plain_units
from vardax_core.data.drafts.write import name_below, own_datasets_dir, write_draft
from vardax_core.data.state_frame import prior_fields, state_frame
from vardax_core.data.streams.records import Records
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

UTC = datetime.UTC


@pytest.fixture
def begun(tmp_path):
    """Drafts from files that the test makes, and the recipe as it is read again."""

    def draft(name, files, **options):
        made = write_draft(
            name, files, datasets=tmp_path / "datasets", **{"data_dir": tmp_path} | options
        )
        return read_recipe(made.folder / "recipe.yaml")

    return draft


def counts(recipe, folder):
    """Records with each code that the recipe's ingest gives."""
    codes = ingest(recipe, data_dir=folder, partly=True).observations[QUALITY_CONTROL].to_numpy()
    return {code: int((codes == code).sum()) for code in QualityCode if (codes == code).any()}


def test_hourly_stations_with_maps_of_another_year(begun, tmp_path):
    write_stations(tmp_path / "stations.csv")
    write_fields(tmp_path / "maps.nc")
    recipe = begun("stations", ["stations.csv"], prior="maps.nc")
    assert (recipe.variable.name, recipe.variable.units) == ("t2m", "K")
    assert recipe.variable.standard_name == "air_temperature"
    assert recipe.prior is not None
    assert recipe.forecast is None
    assert recipe.grid is None
    assert recipe.cycle_interval == datetime.timedelta(hours=3)
    assert (recipe.window.times, recipe.window.spacing) == (3, datetime.timedelta(hours=1))
    assert recipe.period.start == datetime.datetime(2020, 6, 1, tzinfo=UTC)
    assert recipe.period.end == datetime.datetime(2020, 6, 6, 21, tzinfo=UTC)
    (stream,) = recipe.streams
    assert stream.source.units == "degC"
    assert 0.05 < stream.error_sd < 1.0
    found = counts(recipe, tmp_path)
    last = 6 * 24 - 2  # hours up to the last cycle
    assert found[QualityCode.KEPT] + found[QualityCode.WITHHELD] <= 20 * last
    assert 0.1 < found[QualityCode.WITHHELD] / (20 * last) < 0.3


def in_other_form(path, change):
    with xr.open_dataset(path) as data:
        made = change(data.load())
    path.unlink()
    made.to_netcdf(path)


def test_a_pattern_of_fields_is_kept_with_all_its_files(begun, tmp_path):
    write_stations(tmp_path / "stations.csv")
    write_fields(tmp_path / "maps-1.nc", start="2019-05-01T00:00")
    write_fields(tmp_path / "maps-2.nc")
    in_other_form(tmp_path / "maps-2.nc", lambda data: data.isel(lat=slice(None, None, -1)) + 50)
    in_other_form(tmp_path / "maps-2.nc", lambda data: with_units(data, "K"))
    recipe = begun("stations", ["stations.csv"], prior="maps-*.nc")
    assert [file.name for file in recipe.prior.files] == ["maps-*.nc"]
    fields = prior_fields(recipe, [tmp_path])
    assert fields.sizes["time"] == 2 * 65
    assert dict(fields.sizes) == {"time": 130, "latitude": 11, "longitude": 11}
    assert recipe.variable.valid_max > float(fields["t2m"].max()) > 330
    card = (tmp_path / "datasets" / "stations" / "CARD.md").read_text()
    assert "130 fields in 2 files, 2019-05-01T00:00 to 2019-06-09T00:00" in card
    write_fields(tmp_path / "maps-3.nc", start="2019-07-01T00:00", north=0.25)
    with pytest.raises(SourceError, match=r"maps-3.nc: .*another latitude"):
        begun("other", ["stations.csv"], prior="maps-*.nc")


def with_units(data, units):
    data["t2m"].attrs["units"] = units
    return data


@pytest.mark.parametrize("name", ["valid_time", "time_counter"])
def test_fields_with_another_name_of_their_times_are_a_prior(begun, tmp_path, name):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "maps.nc")
    in_other_form(tmp_path / "maps.nc", lambda data: data.rename(time=name))
    recipe = begun("stations", ["stations.csv"], prior="maps.nc")
    assert prior_fields(recipe, [tmp_path]).sizes["time"] == 65


def test_a_prior_in_other_units_is_the_same(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "maps.nc")
    recipe = begun("stations", ["stations.csv"], prior="maps.nc")
    expected = prior_fields(recipe, [tmp_path])
    in_other_form(tmp_path / "maps.nc", lambda data: with_units(data - 273.15, "degC"))
    found = prior_fields(recipe, [tmp_path])
    np.testing.assert_allclose(found["t2m"], expected["t2m"], atol=1e-3)
    assert found["t2m"].attrs == expected["t2m"].attrs


def test_a_level_of_a_prior_is_selected(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "maps.nc")
    low_and_high = [1000.0, 850.0]
    in_other_form(
        tmp_path / "maps.nc",
        lambda data: xr.concat([data, data - 9], "level").assign_coords(level=low_and_high),
    )
    recipe = begun("stations", ["stations.csv"], prior="maps.nc")
    assert recipe.prior.select == {"level": 1000.0}
    both = recipe.model_copy(update={"prior": recipe.prior.model_copy(update={"select": None})})
    with pytest.raises(SourceError, match=r"'level' \(2: 1000, 850\).*`select: \{level: 1000\}`"):
        prior_fields(both, [tmp_path])


def test_a_prior_without_values_is_told_so(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "maps.nc")
    recipe = begun("stations", ["stations.csv"], prior="maps.nc")
    in_other_form(tmp_path / "maps.nc", lambda data: with_units(data * np.nan, "K"))
    with pytest.raises(SourceError, match=r"'t2m' of maps.nc has no values"):
        begun("new", ["stations.csv"], prior="maps.nc")
    with pytest.raises(SourceError, match=r"the prior has no values: .*maps.nc.*out of bounds"):
        state_frame(recipe, [tmp_path])


def test_fields_of_the_observed_period_are_the_background(begun, tmp_path):
    write_stations(tmp_path / "stations.csv")
    write_fields(tmp_path / "forecast.nc", start="2020-06-01T00:00", hours=1)
    recipe = begun("stations", ["stations.csv"], prior="forecast.nc")
    assert recipe.prior is None
    assert recipe.forecast is not None
    assert recipe.grid.like is not None
    assert recipe.window.times == 1
    observed = ingest(recipe, data_dir=tmp_path, partly=True).observations
    kept = observed[QUALITY_CONTROL].to_numpy() == QualityCode.KEPT
    departure = (observed["t2m"] - observed["forecast_equivalent"]).to_numpy()[kept]
    assert np.abs(np.nanmean(departure)) < 0.1
    assert 0.2 < np.nanstd(departure) < 0.6


def test_without_fields_a_grid_is_laid_over_the_stations(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", every="24h", days=9)
    recipe = begun("stations", ["stations.csv"])
    assert recipe.variable.units == "degC"
    assert recipe.cycle_interval == datetime.timedelta(days=1)
    assert recipe.window.after == 2
    frame = ingest(recipe, data_dir=tmp_path, partly=True).frame
    assert frame["latitude"].min() < 50.5
    assert frame["latitude"].max() > 54.5
    found = counts(recipe, tmp_path)
    assert found[QualityCode.KEPT] + found[QualityCode.WITHHELD] == 20 * 9
    text = (tmp_path / "datasets" / "stations" / "recipe.yaml").read_text()
    assert text.count("guess:") >= 6
    card = (tmp_path / "datasets" / "stations" / "CARD.md").read_text()
    assert "to be filled in" in card
    assert "180 rows" in card
    assert "20 platforms" in card


def test_a_turn_of_all_longitudes_changes_no_grid(begun, tmp_path):
    write_stations(tmp_path / "a" / "stations.csv", days=2)
    write_stations(tmp_path / "b" / "stations.csv", days=2, turn=360.0)
    one, other = (begun(name, ["stations.csv"], data_dir=tmp_path / name) for name in ("a", "b"))
    assert one.grid == other.grid
    assert one.period == other.period


def test_several_files_are_streams_of_their_own(begun, tmp_path):
    write_stations(tmp_path / "one" / "stations.csv", days=2)
    write_stations(tmp_path / "two" / "stations.csv", days=2)
    recipe = begun("both", ["one/stations.csv", "two/stations.csv"])
    assert [stream.name for stream in recipe.streams] == ["stations", "stations-2"]


def test_what_cannot_be_guessed_is_named_and_nothing_is_written(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "pressure.nc", units="Pa")
    write_fields(tmp_path / "unsaid.nc", units=None)
    write_fields(tmp_path / "elsewhere.nc", north=30.0)
    write_fields(tmp_path / "rows.nc")
    in_other_form(tmp_path / "rows.nc", lambda data: data.drop_vars("lat").rename(lat="row"))
    (tmp_path / "no.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "empty.csv").write_text("")
    write_stations(tmp_path / "pressure.csv", header="station,time,lat,lon,pres [hPa]", days=2)
    stations = ["stations.csv"]
    cases = [
        (["no.csv"], {}, r"observations.source: .*latitude.*source.columns"),
        (["empty.csv"], {}, "empty"),
        (stations, {"values": ["wind"]}, "'wind'.*--value"),
        (stations, {"prior": "pressure.nc"}, r"'t2m' \(Pa\).*'temp' \(degC\).*--value NAME"),
        (stations, {"prior": "unsaid.nc"}, "prior: .*no units attribute"),
        (stations, {"prior": "rows.nc"}, r"prior: rows.nc .* only 't2m' on \(time, row, lon\)"),
        (stations, {"prior": "elsewhere.nc"}, "prior: none of the 960 observations.*same place"),
        ([*stations, "pressure.csv"], {}, "'pressure'.*hPa.*cannot be converted.*degC"),
        (["nowhere.csv"], {}, "nowhere.csv"),
        ([], {}, "observations: .*--from"),
    ]
    for files, options, said in cases:
        with pytest.raises((RecipeError, SourceError)) as refused:
            begun("new", files, **options)
        assert re.search(said, str(refused.value), re.DOTALL), str(refused.value)
    for name in ("New", "", "-a", "a/b", ".."):
        with pytest.raises(RecipeError, match="name: expected"):
            begun(name, stations)
    assert not list((tmp_path / "datasets").rglob("*"))


def test_a_data_set_that_exists_stays_as_it_is(begun, tmp_path):
    write_stations(tmp_path / "stations.csv", days=2)
    begun("mine", ["stations.csv"])
    path = tmp_path / "datasets" / "mine" / "recipe.yaml"
    path.write_text(path.read_text() + "# my own words\n")
    with pytest.raises(RecipeError, match="'mine' exists already"):
        begun("mine", ["stations.csv"])
    assert path.read_text().endswith("# my own words\n")
    assert [p.name for p in path.parent.parent.iterdir()] == ["mine"]


def test_a_file_is_named_below_a_folder_of_data(tmp_path, monkeypatch):
    write_stations(tmp_path / "data" / "sub" / "stations.csv", stations=1, days=1)
    folders = [tmp_path / "data"]
    monkeypatch.chdir(tmp_path / "data" / "sub")
    for written in ("sub/stations.csv", "stations.csv", str(tmp_path / "data/sub/stations.csv")):
        assert name_below(written, folders) == "sub/stations.csv"
    assert name_below("sub/*.csv", folders) == "sub/*.csv"
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(SourceError, match=f"VARDAX_DATA_DIR={tmp_path}"):
        name_below("../../other.csv", folders)
    for wrong, said in (("/nowhere/x.csv", "no such file"), ("s3://bucket/x.csv", "URL")):
        with pytest.raises(SourceError, match=said):
            name_below(wrong, folders)


def test_new_recipes_go_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "new"))
    assert own_datasets_dir() == tmp_path / "new"


def records(times, places, values):
    none = Records.none("made", ("latitude", "longitude"))
    size = len(times)
    columns = {
        "time": np.asarray(times, "datetime64[ns]"),
        "place": np.asarray(places, float),
        "value": np.asarray(values, float),
        "level": np.full(size, np.nan),
        "error_sd": np.full(size, np.nan),
        "platform": np.zeros(size, np.int32),
        "code": np.zeros(size, np.int8),
        "arrival": np.asarray(times, "datetime64[ns]"),
        "file": np.zeros(size, np.int32),
        "row": np.arange(size),
    }
    return Records(**{**vars(none), **columns, "platforms": ("a",), "files": ("f",)})


@pytest.mark.parametrize(
    ("minutes", "interval", "spacing"),
    [(1, 180, 60), (60, 180, 60), (180, 360, 180), (360, 360, 360), (720, 720, 720),
     (1440, 1440, 1440), (7 * 1440, 7 * 1440, 7 * 1440)],
)  # fmt: skip
def test_cycles_follow_the_reports(minutes, interval, spacing):
    times = START + np.arange(60) * np.timedelta64(minutes, "m")
    found = rhythm_of([records(times, [(50.0, 5.0)] * 60, np.zeros(60))])
    assert (found.interval, found.spacing) == (interval, spacing)
    assert times[0] <= found.start <= found.end <= times[-1] or interval > 60 * minutes
    assert (found.end - found.start) % np.timedelta64(interval, "m") == np.timedelta64(0, "m")


def test_a_time_of_another_century_does_not_stretch_the_period():
    times = np.append(START + np.arange(2000) * np.timedelta64(1, "h"), np.datetime64("1950-01-01"))
    found = rhythm_of([records(times, [(50.0, 5.0)] * 2001, np.zeros(2001))])
    assert found.start >= START
    assert "1950" in found.without


PLACES = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        arrays(float, n, elements=st.floats(-85, 85)),
        st.floats(-180, 180),
        arrays(float, n, elements=st.floats(0, 100)),
    )
)


@given(PLACES)
@settings(max_examples=60, deadline=None)
def test_a_grid_holds_nearly_all_places_also_across_the_date_line(made):
    latitude, west, along = made
    longitude = (west + along + 180.0) % 360.0 - 180.0
    places = np.stack([latitude, longitude], axis=1)
    times = START + np.arange(len(places)) * np.timedelta64(1, "h")
    area = area_of([records(times, places, np.zeros(len(places)))], 180)
    (south, north), (left, right) = area.latitude, area.longitude
    assert south < north
    assert left < right <= left + 360.0
    inside = (latitude >= south) & (latitude <= north)
    turned = longitude + 360.0 * np.ceil((left - longitude) / 360.0 - 1e-12)
    inside &= turned <= right + 1e-9
    assert inside.mean() > 0.9 or len(places) < 20
    steps = (north - south) / area.step, (right - left) / area.step
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert (steps[0] + 1) * (steps[1] + 1) < 4 * MOST_POINTS


@given(arrays(float, st.integers(3, 40), elements=st.floats(-1e4, 1e4)))
@settings(max_examples=60, deadline=None)
def test_bounds_hold_all_usual_values_with_a_margin(values):
    times = START + np.arange(len(values)) * np.timedelta64(1, "h")
    made = records(times, [(50.0, 5.0)] * len(values), values)
    found = bounds_of([made], "m")
    assert found.low < found.high
    middle = np.quantile(values, [0.3, 0.7])
    assert found.low < middle[0]
    assert middle[1] < found.high
    assert found.found == (values.min(), values.max())
    assert error_of(made) > 0


def test_small_words():
    assert plain_units("degree Celsius") == "degC"
    assert plain_units("kelvin") == "K"
    assert plain_units("furlong") == "furlong"
    assert [span_of(m) for m in (10, 60, 180, 1440, 10080)] == ["10min", "1h", "3h", "1d", "7d"]


@pytest.mark.parametrize(
    ("files", "options", "used", "shape", "expected"),
    [
        (
            ["ireland-2019-03/synoptic.csv"],
            {"prior": "era5_t2m_uk_2019-03.nc", "values": ["maxtp"]},
            682,  # two stations lie west of the fields
            (33, 49),
            {"units": "K", "gap": None, "after": None, "by": "platform"},
        ),
        (
            ["med-adt/ADT_20140515_20140604.dat"],
            {"prior": "med-adt/dt_med_allsat_phy_l4_2005T2.nc"},
            11371,
            (128, 344),
            {"units": "m", "gap": 60, "after": 4, "by": "platform"},
        ),
        (
            ["alboran-sst/alboranSST_small.nc"],
            {},
            121224,
            (201, 301),
            {"units": "degC", "gap": None, "after": 2, "by": "cloud"},
        ),
    ],
    ids=["stations", "tracks", "images"],
)
def test_real_files_come_out_right(begun, files, options, used, shape, expected):
    folder = real_data_dir()
    recipe = begun("real", files, data_dir=folder, **options)
    (stream,) = recipe.streams
    gap = stream.source.gap
    assert {
        "units": recipe.variable.units,
        "gap": None if gap is None else gap.total_seconds(),
        "after": recipe.window.after,
        "by": recipe.withheld.by,
    } == expected
    assert recipe.cycle_interval == datetime.timedelta(days=1)
    ingested = ingest(recipe, data_dir=folder, partly=True)
    assert tuple(ingested.frame.sizes[dim] for dim in recipe.state_dims) == shape
    found = counts(recipe, folder)
    assert found[QualityCode.KEPT] + found[QualityCode.WITHHELD] == used
    assert 0.05 < found[QualityCode.WITHHELD] / used < 0.35
    if recipe.forecast is not None:
        assert recipe.forecast.statistic == stream.statistic
        assert stream.statistic.kind == "maximum"
