import pathlib
import shutil

import numpy as np
import pooch
import pytest
import xarray as xr

from tests.support import real_data_dir
from vardax_core.data import (
    ChecksumError,
    PeriodError,
    SourceFormatError,
    SourceNotFoundError,
    TimeAxisError,
    UnitsError,
    draw_network,
    ingest,
    load_recipe,
    locate,
    open_nature_run,
    to_minutes,
)
from vardax_core.observations.quality import QualityCode

GRIB, NETCDF = "era5-2mt-2019-03-uk.grib", "era5_t2m_uk_2019-03.nc"
RECIPE = load_recipe("era5-t2m-uk")


@pytest.fixture(scope="module")
def data_dir():
    return real_data_dir()


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.delenv("VARDAX_DATA_DIR", raising=False)


@pytest.fixture(scope="module")
def real(data_dir):
    with xr.open_dataset(data_dir / NETCDF) as dataset:
        return dataset.load().astype("float32").drop_encoding()


def written(dataset, tmp_path):
    path = tmp_path / "changed.nc"
    dataset.to_netcdf(path)
    return path


def test_grib_and_netcdf_agree_to_the_packing(data_dir):
    before = sorted(data_dir.iterdir())
    grib = open_nature_run(RECIPE, path=data_dir / GRIB).load()
    netcdf = open_nature_run(RECIPE, path=data_dir / NETCDF).load()
    for name in ("time", "latitude", "longitude"):
        xr.testing.assert_identical(grib[name], netcdf[name])
    assert grib["t2m"].attrs == netcdf["t2m"].attrs
    # Packing rounds by at most half of 0.001 K, and float32 near 280 K by 1.6e-5 K.
    difference = np.abs(grib["t2m"].values - netcdf["t2m"].values).max()
    assert 0 < difference < 0.0005 + 2 * 1.6e-5
    assert sorted(data_dir.iterdir()) == before


def test_the_nature_run_is_canonical_and_lazy(data_dir):
    nature = open_nature_run(RECIPE, path=data_dir / NETCDF)
    field = nature["t2m"]
    assert field.chunks is not None
    assert field.dims == ("time", "latitude", "longitude")
    assert field.shape == (742, 33, 49)
    assert field.dtype == np.float32
    assert field.attrs["units"] == "K"
    assert field.attrs["standard_name"] == "air_temperature"
    assert nature["time"].attrs["standard_name"] == "time"
    assert set(nature.coords) == {"time", "latitude", "longitude"}
    assert tuple(to_minutes(nature["time"].values[[0, -1]])) == RECIPE.span
    assert (np.diff(nature["latitude"]) < 0).all()
    assert nature.attrs["source_file"] == NETCDF


def test_the_data_folder_comes_before_the_cache(data_dir, tmp_path, offline, monkeypatch):
    folder, cache = tmp_path / "data", tmp_path / "cache"
    for place, name in ((folder, NETCDF), (cache, GRIB)):
        place.mkdir()
        shutil.copy(data_dir / name, place)
    assert locate(RECIPE.source, cache_dir=cache) == cache / GRIB
    assert locate(RECIPE.source, data_dir=folder, cache_dir=cache) == folder / NETCDF
    monkeypatch.setenv("VARDAX_DATA_DIR", str(folder))
    assert locate(RECIPE.source, cache_dir=cache) == folder / NETCDF
    monkeypatch.delenv("VARDAX_DATA_DIR")
    monkeypatch.setenv("VARDAX_CACHE_DIR", str(cache))
    assert locate(RECIPE.source) == cache / GRIB


def test_a_missing_file_lists_every_place(tmp_path, offline):
    with pytest.raises(SourceNotFoundError) as caught:
        locate(RECIPE.source, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    message = str(caught.value)
    for place in ("data/" + GRIB, "data/" + NETCDF, "cache/" + GRIB, "cache/" + NETCDF, "https://"):
        assert place in message
    assert "export VARDAX_DATA_DIR=" in message
    with pytest.raises(SourceNotFoundError, match="correct the path"):
        open_nature_run(RECIPE, path=tmp_path / "none.nc")


def test_a_flipped_bit_is_found(data_dir, tmp_path, offline):
    content = bytearray((data_dir / GRIB).read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / GRIB).write_bytes(content)
    with pytest.raises(ChecksumError) as caught:
        locate(RECIPE.source, data_dir=tmp_path, cache_dir=tmp_path)
    assert RECIPE.source.files[0].sha256 in str(caught.value)
    assert str(tmp_path / GRIB) in str(caught.value)
    assert "fetch it again" in str(caught.value)


def test_the_download_is_the_last_resort_and_is_verified(tmp_path, monkeypatch):
    asked = {}

    def retrieve(url, known_hash, fname, path, downloader):
        asked.update(url=url, known_hash=known_hash)
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(path) / fname).write_bytes(b"")
        return str(pathlib.Path(path) / fname)

    monkeypatch.delenv("VARDAX_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    found = locate(RECIPE.source, cache_dir=tmp_path / "cache")
    assert found == tmp_path / "cache" / GRIB
    assert asked["url"].endswith("/xarray-data/raw/master/" + GRIB)
    assert asked["known_hash"] == "sha256:" + RECIPE.source.files[0].sha256

    def wrong(*args, **kwargs):
        raise ValueError("SHA256 hash of downloaded file does not match")

    monkeypatch.setattr(pooch, "retrieve", wrong)
    with pytest.raises(ChecksumError, match="does not match"):
        locate(RECIPE.source, cache_dir=tmp_path / "empty")


def without_units(dataset):
    del dataset["t2m"].attrs["units"]
    return dataset


def in_celsius(dataset):
    dataset["t2m"].attrs["units"] = "degC"
    return dataset


def swapped_times(dataset):
    order = np.arange(744)
    order[[10, 11]] = [11, 10]
    return dataset.isel(time=order)


def doubled_time(dataset):
    return dataset.isel(time=[*range(100), *range(99, 744)])


def numbered_times(dataset):
    return dataset.assign_coords(time=np.arange(744))


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        (without_units, UnitsError, "has no units attribute, expected 'K'"),
        (in_celsius, UnitsError, "is in 'degC', expected 'K'"),
        (swapped_times, TimeAxisError, "not in time order .1 places, first at index 11.*sort"),
        (doubled_time, TimeAxisError, "a time twice .1 places, first at index 100.*drop"),
        (numbered_times, TimeAxisError, "does not decode to instants"),
        (lambda d: d.drop_vars("time"), TimeAxisError, "no time axis with coordinates"),
        (lambda d: d.isel(time=0), TimeAxisError, "no time axis"),
        (lambda d: d.isel(time=slice(0)), TimeAxisError, "does not decode"),
        (
            lambda d: d.isel(time=slice(24, 700)),
            PeriodError,
            "covers 2019-03-02T00:00 to 2019-03-3",
        ),
        (lambda d: d.rename(t2m="t"), SourceFormatError, "no variable 't2m', only .'t'."),
        (lambda d: d.isel(latitude=0), SourceFormatError, "expected .'time', 'latitude'"),
        (lambda d: d.drop_vars("latitude"), SourceFormatError, "each with a coordinate"),
    ],
)
def test_a_file_at_fault_is_refused_with_the_place_and_the_repair(
    fault, error, told, real, tmp_path
):
    path = written(fault(real.copy(deep=True)), tmp_path)
    with pytest.raises(error, match=told) as caught:
        open_nature_run(RECIPE, path=path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_data_is_refused(tmp_path):
    path = tmp_path / "x.nc"
    for content, told in (
        (b"<html>", "neither GRIB nor NetCDF"),
        (b"\x89HDF\r\n", "cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(SourceFormatError, match=told):
            open_nature_run(RECIPE, path=path)
    path.write_bytes(b"GRIB" + bytes(50))
    with pytest.raises(SourceFormatError, match="cannot be read"):
        open_nature_run(RECIPE, path=path)


def test_values_damaged_in_a_file_that_opens_are_refused(data_dir, tmp_path):
    content = bytearray((data_dir / NETCDF).read_bytes())
    content[800_000:800_100] = bytes(100)
    (tmp_path / "damaged.nc").write_bytes(content)
    with pytest.raises(SourceFormatError, match="its values cannot be read"):
        ingest(RECIPE, path=tmp_path / "damaged.nc")


def test_a_missing_step_and_a_wild_value_become_codes_and_an_unknown_truth(real, tmp_path):
    faulty = real.copy(deep=True)
    station = int(draw_network(RECIPE, (33, 49))[5])
    faulty["t2m"][500] = np.nan
    faulty["t2m"].values.reshape(744, -1)[501, station] = 1e20
    got = ingest(RECIPE, path=written(faulty, tmp_path))
    codes = got.observations["quality_control"]
    assert (codes[500] == QualityCode.MISSING).all()
    assert codes[501, 5] == QualityCode.GROSS_ERROR
    used = codes != QualityCode.WITHHELD
    assert int((used & (codes != QualityCode.KEPT)).sum()) == 90 + 1
    truth = got.nature_run["t2m"].values
    assert np.isnan(truth[500]).all()
    assert np.isnan(truth).sum() == 33 * 49 + 1
    clean = ingest(RECIPE, path=written(real, tmp_path)).observations
    kept = codes.values == QualityCode.KEPT
    np.testing.assert_array_equal(got.observations["t2m"].values[kept], clean["t2m"].values[kept])


def test_short_names_of_coordinates_and_any_order_of_dimensions_are_read(real, tmp_path):
    other = real.rename(latitude="lat", longitude="lon", time="valid_time")
    other = other.transpose("lon", "valid_time", "lat")
    found = open_nature_run(RECIPE, path=written(other, tmp_path))
    np.testing.assert_array_equal(found["t2m"], real["t2m"][:742])


def test_the_time_is_the_valid_time_where_the_file_holds_both(real, tmp_path):
    forecast = real.assign_coords(
        time=real["time"] - np.timedelta64(6, "h"), valid_time=("time", real["time"].values)
    )
    found = open_nature_run(RECIPE, path=written(forecast, tmp_path))
    np.testing.assert_array_equal(found["time"], real["time"][:742])


def test_a_period_within_the_data_is_cut_out(data_dir):
    start, end = RECIPE.span[1] - 120, RECIPE.span[1]
    nature = open_nature_run(RECIPE, start=start, end=end, path=data_dir / NETCDF)
    assert to_minutes(nature["time"].values).tolist() == [start, start + 60, end]
