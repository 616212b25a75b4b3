import datetime

import numpy as np
import pytest
import xarray as xr

from tests.support import real_data_dir
from vardax_core.data import (
    PeriodError,
    cycle_times,
    from_minutes,
    ingest,
    load_recipe,
    to_minutes,
    windows,
)
from vardax_core.observations.quality import QualityCode

RECIPE = load_recipe("era5-t2m-uk")
HOUR = 60


@pytest.fixture(scope="module")
def observations():
    """Of the network alone, without the stations beside it that no analysis sees."""
    ingested = ingest(RECIPE, path=real_data_dir() / "era5_t2m_uk_2019-03.nc")
    return ingested.observations.isel(station=slice(RECIPE.network.count))


def test_the_cycles_of_the_recipe():
    times = cycle_times(RECIPE)
    assert times.dtype == "datetime64[ns]"
    assert times[0] == np.datetime64("2019-03-21T00")
    assert times[-1] == np.datetime64("2019-03-31T21")
    assert times.size == 88
    assert len(cycle_times(load_recipe("lorenz96"))) == 5000


def test_training_cycles_continue_the_same_grid_and_ends_are_rounded_inwards():
    start, end = datetime.datetime(2019, 3, 1, 1), datetime.datetime(2019, 3, 1, 8, 59)
    expected = np.array(["2019-03-01T03", "2019-03-01T06"], "datetime64[ns]")
    np.testing.assert_array_equal(cycle_times(RECIPE, start, end), expected)
    with pytest.raises(PeriodError, match="ask for a longer period"):
        cycle_times(RECIPE, start, start)


def test_a_window_holds_the_hours_up_to_the_analysis_time(observations):
    times = cycle_times(RECIPE)
    got = windows(observations, times, RECIPE)
    assert got["values"].shape == got["error_sd"].shape == (88, 3, 81)
    np.testing.assert_array_equal(got["minutes"][:, -1], to_minutes(times))
    assert (np.diff(got["minutes"], axis=1) == HOUR).all()
    for cycle in (0, 50, 87):
        hours = times[cycle] + np.arange(-2, 1) * np.timedelta64(1, "h")
        np.testing.assert_array_equal(got["values"][cycle], observations["t2m"].sel(time=hours))
    assert (got["quality_control"] == QualityCode.KEPT).all()


def test_what_is_absent_or_not_kept_is_nan_and_says_why(observations):
    changed = observations.copy(deep=True)
    time = np.datetime64("2019-03-22T05")
    changed["quality_control"].loc[{"time": time}][4] = QualityCode.BLACKLISTED
    changed = changed.drop_sel(time=np.datetime64("2019-03-22T04"))
    got = windows(changed, np.array(["2019-03-22T06"], "datetime64[ns]"), RECIPE)
    assert np.isnan(got["values"][0, 0]).all()
    assert (got["quality_control"][0, 0] == QualityCode.MISSING).all()
    assert np.isnan(got["values"][0, 1, 4])
    assert got["quality_control"][0, 1, 4] == QualityCode.BLACKLISTED
    assert np.isnan(got["values"]).sum() == 82
    assert (got["error_sd"] > 0).all()


def test_cycles_outside_the_dataset_are_missing_windows(observations):
    times = np.array(["2018-01-01T00", "2019-03-31T21", "2020-01-01T00"], "datetime64[ns]")
    got = windows(observations, times, RECIPE)
    assert np.isnan(got["values"]).all(axis=(1, 2)).tolist() == [True, False, True]


def test_the_cut_off_leaves_out_what_came_later(observations):
    late = observations.copy(deep=True)
    late["arrival_time"] = late["arrival_time"] + 90
    times = cycle_times(RECIPE)[:2]
    # 90 minutes after their valid times, the three hours arrive 30 minutes before, and 30 and 90
    # minutes after the analysis time.
    for minutes, rows in (
        (90, [True, True, True]),
        (89, [True, True, False]),
        (0, [True, False, False]),
    ):
        cut_off = datetime.timedelta(minutes=minutes)
        got = windows(late, times, RECIPE, cut_off=cut_off)
        assert np.isfinite(got["values"]).all(axis=(0, 2)).tolist() == rows
        missed = got["quality_control"] == QualityCode.NOT_ARRIVED
        assert (~missed).all(axis=(0, 2)).tolist() == rows


def test_a_store_that_decodes_arrival_times_to_instants_gives_the_same(observations, tmp_path):
    observations.to_netcdf(tmp_path / "observations.nc")
    with xr.open_dataset(tmp_path / "observations.nc") as stored:
        assert stored["arrival_time"].dtype.kind == "M"
        cut_off = datetime.timedelta(0)
        got = windows(stored, cycle_times(RECIPE), RECIPE, cut_off=cut_off)
    expected = windows(observations, cycle_times(RECIPE), RECIPE, cut_off=cut_off)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


def test_minutes_and_instants_are_inverse():
    minutes = np.array([-1, 0, 10123020], np.int64)
    np.testing.assert_array_equal(to_minutes(from_minutes(minutes)), minutes)
    assert from_minutes(minutes)[1] == np.datetime64("2000-01-01")
