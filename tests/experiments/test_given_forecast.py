"""Forecasts from files: what they lack is left to the model, and other members are refused."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from tests.experiments import reported
from vardax_core.cycling.given import with_given
from vardax_core.data import RecipeError
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.forecast_inputs import ForecastInputs
from vardax_core.experiments.settings import default_settings

FIRST = np.datetime64("2019-03-01T12:00", "ns")
BACKGROUND = jnp.array([[1.0, 10.0], [3.0, 20.0], [5.0, 30.0]])


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Fields of two members every hour of two days, of which one hour is missing."""
    monkeypatch.setenv("VARDAX_DATA_DIR", str(tmp_path))
    hours = np.delete(np.arange(48), 30)
    shape = (hours.size, 2, reported.LATITUDE.size, reported.LONGITUDE.size)
    fields = 280.0 + hours[:, None, None, None] + np.zeros(shape) + np.arange(2)[:, None, None]
    xr.Dataset(
        {"sst": (("time", "number", "lat", "lon"), fields.astype(np.float32), {"units": "K"})},
        {
            "time": FIRST + hours * np.timedelta64(1, "h"),
            "lat": ("lat", reported.LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", reported.LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(tmp_path / "forecast.nc")
    reported.write_prior(tmp_path / "maps.nc", days=2)
    values = reported.values()
    return reported.recipe(
        forecast={"files": ["forecast.nc"], "variable": "sst"},
        cycle=values["cycle"] | {"window": {"times": 1, "spacing": "1d"}},
    )


def background(recipe, folder, *hours):
    given = GivenForecast(recipe, [folder])
    times = FIRST + np.array(hours) * np.timedelta64(1, "h")
    return given.background(to_minutes(times))[:, :, 0, 0]


def test_what_the_files_lack_is_not_a_number(recipe, tmp_path):
    found = background(recipe, tmp_path, 0, 5, 30, 47, 48)
    np.testing.assert_array_equal(found[[0, 1, 3]], [[280, 281], [285, 286], [327, 328]])
    assert np.isnan(found[[2, 4]]).all()


def test_a_maximum_needs_all_of_its_hours(recipe, tmp_path):
    statistic = {"statistic": {"kind": "maximum", "hours": 6}, "ends": "-1h"}
    section = recipe.forecast.model_dump() | statistic
    daily = reported.recipe(
        forecast=section,
        cycle=reported.values()["cycle"] | {"window": {"times": 1, "spacing": "1d"}},
    )
    found = background(daily, tmp_path, 7, 6, 32, 48)
    # The hours that end with the analysis time less one: that instant itself is not among them.
    np.testing.assert_array_equal(found[[0, 3]], [[285, 286], [326, 327]])
    assert np.isnan(found[2]).all()


def test_the_background_of_the_model_stays_where_nothing_is_given():
    nan = jnp.nan
    given = jnp.array([[7.0, nan], [8.0, 40.0], [nan, 50.0]])
    expected = [[7.0, 10.0], [8.0, 40.0], [5.0, 50.0]]
    np.testing.assert_array_equal(with_given(BACKGROUND, given), expected)
    one = with_given(BACKGROUND, jnp.array([[100.0, nan]]))
    np.testing.assert_array_equal(one, [[98.0, 10.0], [100.0, 20.0], [102.0, 30.0]])


def test_another_number_of_members_is_refused(recipe):
    with pytest.raises(ValueError, match="set members to 2"):
        with_given(BACKGROUND, BACKGROUND[:2])
    settings = default_settings(recipe, "interpolation")
    with pytest.raises(RecipeError, match="has 2 members and the ensemble 8; set members to 2"):
        ForecastInputs(recipe, settings, xr.Dataset())
