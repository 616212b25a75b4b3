"""The real files: everything in them is found, and what the files cannot give is refused."""

import datetime

import numpy as np
import pytest
import xarray as xr

from tests.support import real_data_dir
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.account import Reason
from vardax_core.data.streams.read import read_stream
from vardax_core.data.streams.sections import Stream

STATIONS = "ireland-2019-03"
KELVIN = ("K", (200.0, 350.0))


def read(source, units, bounds, year, **changes):
    span = (datetime.datetime(year, 1, 1), datetime.datetime(year, 12, 31))
    return read_stream(
        Stream.model_validate({"name": "real", "source": source}),
        dims=("latitude", "longitude"),
        units=units,
        bounds=bounds,
        start=span[0],
        end=span[1],
        folders=[real_data_dir()],
        **changes,
    )


def stations(file, value, platform, **changes):
    columns = {"time": "date", "latitude": "lat", "longitude": "lon", "value": value,
               "platform": platform}  # fmt: skip
    source = {"kind": "table", "files": [f"{STATIONS}/{file}.csv"], "columns": columns,
              "time": {"zone": "UTC", "offset": "24h"}, "units": "degC"}  # fmt: skip
    return source | changes


def test_every_report_of_the_synoptic_stations_is_used():
    result = read(stations("synoptic", "maxtp", "station"), *KELVIN, 2019)
    assert result.account.rows == result.account.used == 744
    assert len(result.records.platforms) == 24
    assert not result.account.warnings()
    first = result.records.platforms.index("1075")
    own = result.records.taken(result.records.platform == first)
    assert own.time[0] == np.datetime64("2019-03-02")
    np.testing.assert_allclose(own.value[:3], np.array([10.1, 10.9, 10.3]) + 273.15)
    np.testing.assert_array_equal(own.place[0], [51.793, -8.244])


def test_blanks_of_the_climate_stations_are_counted():
    result = read(stations("climate", "maxt", "st"), *KELVIN, 2019)
    assert (result.account.rows, result.account.count(Reason.MISSING)) == (1829, 219)
    assert result.account.used == 1829 - 219


def test_knots_and_hectopascals_are_converted():
    wind = read(stations("synoptic", "wdsp", "station", units="knots"), "m s-1", (0.0, 60.0), 2019)
    assert wind.records.value.max() == pytest.approx(0.514444 * 34.7, rel=1e-5)
    assert "0.5144444444 x value" in " ".join(wind.account.notes)
    pressure = read(stations("synoptic", "cbl", "station", units="hPa"), "Pa", (8e4, 11e4), 2019)
    assert 9e4 < pressure.records.value.min() < pressure.records.value.max() < 10.5e4


def test_degrees_celsius_are_not_believed_to_be_kelvin():
    with pytest.raises(ValueError, match="would fit in degC"):
        read(stations("synoptic", "maxtp", "station", units="K"), *KELVIN, 2019)


def test_tracks_are_cut_at_their_gaps():
    columns = {"time": 2, "latitude": 1, "longitude": 0, "value": 3}
    source = {"kind": "table", "files": ["med-adt/ADT_*.dat"], "columns": columns, "gap": "60s",
              "time": {"units": "days since 1950-01-01"}, "units": "m"}  # fmt: skip
    result = read(source, "m", (-2.0, 2.0), 2014)
    assert result.account.used == 11371
    assert len(result.records.platforms) == 248
    assert result.account.period == ("2014-05-15T02:54:17", "2014-06-03T18:10:17")
    day = read_stream(
        Stream.model_validate({"name": "real", "source": source}),
        dims=("latitude", "longitude"), units="m", bounds=(-2.0, 2.0),
        start=datetime.datetime(2014, 5, 16, 4, 0), end=datetime.datetime(2014, 5, 17),
        folders=[real_data_dir()],
    )  # fmt: skip
    assert set(day.records.platforms) <= set(result.records.platforms)
    whole = result.records
    inside = (whole.time >= np.datetime64("2014-05-16T04:00")) & (
        whole.time <= np.datetime64("2014-05-17")
    )
    assert day.records.says_the_same(whole.taken(inside).tidied())


def test_images_are_read_where_there_is_sea_and_no_cloud():
    source = {"kind": "gridded", "files": ["alboran-sst/*.nc"], "variable": "SST",
              "mask": {"variable": "mask", "accept": [1]}}  # fmt: skip
    result = read(source, "K", (270.0, 310.0), 2017)
    with xr.open_dataset(real_data_dir() / "alboran-sst/alboranSST_small.nc") as data:
        use = data["SST"].notnull() & (data["mask"] == 1)
        per_image = use.sum(("lat", "lon")).values
        mean = float(data["SST"].where(use).mean(dtype=np.float64))
    times, count = np.unique(result.records.time, return_counts=True)
    np.testing.assert_array_equal(count, per_image)
    assert len(times) == 10
    assert times[0] == np.datetime64("2017-05-14")
    assert result.records.value.mean() == pytest.approx(mean + 273.15, abs=1e-5)


@pytest.mark.parametrize(
    ("file", "what", "how"),
    [
        ("O32_global.grib2", "a reduced Gaussian grid", "cdo -R -f nc copy"),
        ("healpix_H8.grib2", "a HEALPix grid", "cdo -f nc remapbil"),
    ],
)
def test_points_without_rows_and_columns_are_refused_with_what_to_do(file, what, how):
    source = {"kind": "gridded", "files": [f"formats/{file}"], "variable": "t"}
    with pytest.raises(SourceFormatError) as caught:
        read(source, "K", (200.0, 350.0), 2017)
    for said in (file, what, how):
        assert said in str(caught.value)
