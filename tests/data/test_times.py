"""Times of a source: none vanishes, whatever they are written as."""

import datetime
import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.test_fields import HOURS, field, recipe, written
from vardax_core.data import PeriodError, ingest
from vardax_core.data.timeaxis import TOLERANCE, round_to_interval

START = datetime.datetime(2019, 3, 20, 3, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
MINUTE = np.timedelta64(1, "m")

units = st.sampled_from(["seconds", "minutes", "hours", "days"])
epochs = st.sampled_from(["1900-01-01", "1950-01-01", "1970-01-01", "2000-01-01T12:00:00"])


@settings(max_examples=60, deadline=None)
@given(units, epochs, st.sampled_from(["f4", "f8", "i8"]), st.integers(0, 60 * 365 * 24))
def test_an_hour_is_itself_in_every_unit_and_precision(unit, epoch, dtype, after):
    start = np.datetime64("1990-01-01", "ns") + after * np.timedelta64(1, "h")
    exact = start + np.arange(30) * np.timedelta64(1, "h")
    size = np.timedelta64(1, {"seconds": "s", "minutes": "m", "hours": "h", "days": "D"}[unit])
    numbers = (exact - np.datetime64(epoch, "ns")) / size
    if dtype == "i8" and (numbers % 1).any():
        return
    step = float(np.spacing(np.float32(np.abs(numbers).max()))) * (size / np.timedelta64(1, "s"))
    if dtype == "f4" and step / 2 > TOLERANCE.total_seconds():
        return  # seconds since 1900, from 2036 on: 256 s off at most
    coded = xr.DataArray(
        numbers.astype(dtype), dims="time", name="time", attrs={"units": f"{unit} since {epoch}"}
    )
    read = xr.decode_cf(coded.to_dataset(name="time"))["time"].values.astype("M8[ns]")
    found, rounding = round_to_interval(read, START, HOUR)
    np.testing.assert_array_equal(found, exact)
    off = np.abs(read - exact)
    assert rounding.moved == (off >= np.timedelta64(1, "s")).sum()
    assert abs(rounding.furthest / HOUR - off.max() / np.timedelta64(1, "h")) <= 0.5 / 3600
    assert rounding.furthest <= rounding.within == TOLERANCE


@given(
    st.lists(st.integers(0, 3 * 86400), min_size=1, max_size=60, unique=True),
    st.sampled_from([10, 60, 180, 1440]),
)
def test_only_the_nearest_within_the_tolerance_is_moved_and_order_stays(seconds, minutes):
    interval = datetime.timedelta(minutes=minutes)
    times = HOURS[3] + np.sort(seconds) * np.timedelta64(1, "s")
    found, rounding = round_to_interval(times, START, interval)
    assert (np.diff(found) > np.timedelta64(0, "ns")).all()
    moved = found != times
    within = min(240, minutes * 4)
    assert np.abs(found - times).max() <= np.timedelta64(within, "s")
    assert (((found - HOURS[3])[moved] / MINUTE) % minutes == 0).all()
    assert rounding.moved == moved.sum()
    # Each observation time with a time of the source in reach is there afterwards.
    at = np.round((times - HOURS[3]) / MINUTE / minutes) * minutes * 60
    near = np.abs(np.sort(seconds) - at) <= within
    expected = {HOURS[3] + int(t) * np.timedelta64(1, "s") for t in at[near]}
    assert expected <= set(found)
    again, none = round_to_interval(found, START, interval)
    np.testing.assert_array_equal(again, found)
    assert none.moved == 0


@pytest.mark.parametrize("unit", ["seconds since 1970-01-01", "hours since 1900-01-01"])
def test_times_in_single_precision_are_all_taken_and_it_is_said(unit, tmp_path):
    exact = ingest(recipe(), path=written(field(), tmp_path, "exact.nc"))
    coded = {"dtype": "f4", "units": unit}
    got = ingest(recipe(), path=written(field(), tmp_path, "f4.nc", time=coded))
    xr.testing.assert_equal(got.observations, exact.observations)
    assert got.nature_run.attrs["source_sha256"] == exact.nature_run.attrs["source_sha256"]
    assert exact.account.warnings() == []
    if unit.startswith("seconds"):
        (said,) = got.account.warnings()
        assert "moved onto the observation times" in said
        assert "by up to 64 s (allowed are 240 s)" in said


def test_what_is_off_by_more_is_counted(tmp_path):
    times = HOURS.copy()
    times[10:20] += np.timedelta64(10, "m")
    got = ingest(recipe(), path=written(field(time=times), tmp_path))
    account = got.account
    assert (account.taken, account.lacking.size, account.between) == (23, 10, 10)
    (said,) = account.warnings()
    assert "missing: 10 of 33 (2019-03-20T10:00 to 2019-03-20T19:00)" in said
    assert "between: 10" in said
    with pytest.raises(PeriodError, match="none on the observation times"):
        ingest(
            recipe(), path=written(field(time=HOURS + 10 * MINUTE), tmp_path, "all.nc"), partly=True
        )


@pytest.fixture(scope="module")
def hourly(tmp_path_factory):
    return written(field(), tmp_path_factory.mktemp("hourly"))


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=2, unique=True))
def test_what_is_taken_in_pieces_is_what_is_taken_at_once(hourly, cuts):
    whole = ingest(recipe(), path=hourly)
    bounds = [START - 2 * HOUR, *(START + hour * HOUR for hour in sorted(cuts)), None]
    parts = [
        ingest(recipe(), start=start, end=None if end is None else end - HOUR, path=hourly)
        for start, end in itertools.pairwise(bounds)
    ]
    together = xr.concat([part.observations for part in parts], "time", data_vars="minimal")
    xr.testing.assert_equal(together, whole.observations)
    assert sum(part.account.taken for part in parts) == whole.account.taken == 33
    codes = [sum(part.account.codes[code] for part in parts) for code in whole.account.codes]
    assert codes == list(whole.account.codes.values())
    assert sum(codes) == whole.observations["t2m"].size
