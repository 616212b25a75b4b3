"""Of forecasts in files, the latest that had arrived is the background, in every variable."""

import datetime

import eccodes
import numpy as np
import pytest
import xarray as xr

from tests.experiments import profiles
from tests.support import real_data_dir
from vardax_core.data import RecipeError, SourceFormatError, TimeAxisError
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.forecast_members import UNKNOWN
from vardax_core.data.timeaxis import to_minutes

DAY = np.timedelta64(24, "h")
HOUR = datetime.timedelta(hours=1)
TRUTH, MADE = profiles.forecasts()


def minutes(*days):
    return to_minutes(profiles.START + np.array(days) * DAY)


def given(folder, cut_off=None, **changes):
    section = profiles.values()["forecast"] | changes
    return GivenForecast(profiles.recipe(forecast=section), [folder], cut_off)


@pytest.fixture
def folder(tmp_path):
    profiles.write_forecasts(tmp_path / "forecast-1.nc", MADE)
    return tmp_path


def test_the_latest_that_had_arrived_by_the_cut_off_is_taken(folder):
    """A forecast of each day at 00 arrives at 06: the one of the analysis' own day does so in
    time for nobody, that of the day before for everybody, unless the cut-off is long before."""
    found = given(folder).background(minutes(2, 5))
    np.testing.assert_array_equal(found, MADE[[1, 4], 0].astype(np.float32))
    early = given(folder, -20 * HOUR).background(minutes(2, 5))
    np.testing.assert_array_equal(early, MADE[[0, 3], 1].astype(np.float32))
    starts, leads = given(folder, -20 * HOUR).origins(minutes(1, 2, 5))
    assert starts.tolist() == [UNKNOWN, *minutes(0, 3)]
    np.testing.assert_array_equal(leads, [np.nan, 48 * 60, 48 * 60])


def test_where_one_is_missing_the_one_before_steps_in_with_its_longer_lead(folder):
    holes = MADE.copy()
    holes[2, 0] = np.nan
    profiles.write_forecasts(folder / "forecast-1.nc", holes)
    found = given(folder)
    np.testing.assert_array_equal(found.background(minutes(3))[0], MADE[1, 1].astype(np.float32))
    starts, leads = found.origins(minutes(3, 4))
    assert (starts.tolist(), leads.tolist()) == (minutes(1, 3).tolist(), [48 * 60, 24 * 60])
    assert found.usual_lead == 24 * 60
    assert np.isnan(found.background(minutes(0))).all()


def test_files_may_be_cut_and_named_as_anybody_likes(folder, tmp_path):
    other = tmp_path / "other"
    for number, day in enumerate((4, 0, 7, 2)):
        after = {0: 2, 2: 4, 4: 7, 7: 10}[day]
        profiles.write_forecasts(other / f"forecast-{number}.nc", MADE, days=slice(day, after))
    one, cut = given(folder), given(other)
    np.testing.assert_array_equal(one.minutes, cut.minutes)
    np.testing.assert_array_equal(one.starts, cut.starts)
    np.testing.assert_array_equal(one.fields, cut.fields)


def _as_cf(data):
    """One forecast as CF has it: valid times, and the start as a scalar coordinate."""
    one = data.isel(time=3).rename(time="forecast_reference_time")
    valid = one["forecast_reference_time"].values + one["step"].values
    return one.rename(step="time").assign_coords(time=valid)


def _as_one_message(data):
    """As GRIB has a single start and step."""
    one = data.isel(time=3, step=0)
    return one.assign_coords(valid_time=one["time"].values + one["step"].values)


def _as_nemo(data):
    return _as_cf(data).rename(time="time_counter")


def _named_oddly(data):
    odd = data.isel(time=[3]).rename(time="launched", step="reach")
    return odd.assign_coords(reach=("reach", [24, 48], {"units": "hours"}))


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        (_as_cf, {}),
        (_as_nemo, {}),
        (_as_one_message, {}),
        (_named_oddly, {"starts": "launched", "leads": "reach"}),
    ],
)
def test_starts_and_leads_are_known_in_every_form(folder, form, changes):
    with xr.open_dataset(folder / "forecast-1.nc", decode_timedelta=True) as data:
        data.load()
    form(data).to_netcdf(folder / "forecast-1.nc")
    found = given(folder, **changes)
    starts, leads = found.origins(minutes(4))
    assert (starts.tolist(), leads.tolist()) == (minutes(3).tolist(), [24 * 60])
    np.testing.assert_array_equal(found.background(minutes(4))[0], MADE[3, 0].astype(np.float32))
    assert np.isnan(given(folder, **changes, arrival_delay="25h").background(minutes(4))).all()


def test_values_in_other_units_are_converted(folder):
    expected = given(folder).background(minutes(2, 5))
    with xr.open_dataset(folder / "forecast-1.nc", decode_timedelta=True) as data:
        data.load()
    data["t"] = (data["t"] - 273.15).assign_attrs(units="degC")
    data.to_netcdf(folder / "forecast-1.nc")
    found = given(folder).background(minutes(2, 5))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_chosen_members_are_taken_in_their_order(folder):
    found = given(folder, members=[7, 0]).background(minutes(2))
    np.testing.assert_array_equal(found[0], MADE[1, 0, [7, 0]].astype(np.float32))
    with pytest.raises(SourceFormatError, match=r"no members \[10\], only \[0, 1, .*forecast.mem"):
        given(folder, members=[1, 10])


def test_a_start_without_a_lead_and_a_name_that_is_not_there_are_refused(folder):
    with pytest.raises(TimeAxisError, match=r"no coordinate 'launched'.*forecast.starts"):
        given(folder, starts="launched")
    with xr.open_dataset(folder / "forecast-1.nc") as data:
        data = data.isel(step=0, drop=True).rename(time="forecast_reference_time").load()
    data.to_netcdf(folder / "forecast-1.nc")
    with pytest.raises(TimeAxisError, match="nothing says how far they reach"):
        given(folder)


def test_files_of_other_grids_are_refused(folder):
    with xr.open_dataset(folder / "forecast-1.nc", decode_timedelta=True) as data:
        part = data.isel(longitude=slice(0, 4)).load()
    part.to_netcdf(folder / "forecast-2.nc")
    with pytest.raises(SourceFormatError, match=r"on \(3, 11, 4\) points, those of forecast-1.nc"):
        given(folder)


def test_a_level_that_is_not_there_is_named(folder):
    made = profiles.values()
    made["variables"][1]["select"] = {"level": 700}
    with pytest.raises(SourceFormatError, match=r"no level 700, only 850, 500; correct `select`"):
        GivenForecast(profiles.recipe(variables=made["variables"]), [folder])
    del made["variables"][1]["select"]
    with pytest.raises(SourceFormatError, match=r"'level' \(2: 850, 500\)"):
        GivenForecast(profiles.recipe(variables=made["variables"]), [folder])


def test_fields_are_taken_at_the_points_of_the_states_whatever_their_order(folder):
    """Southward and from 0 to 360 degrees in the file, northward, from -180 and fewer here."""
    frame = xr.Dataset(
        coords={"latitude": [41.0, 41.5, 42.0], "longitude": np.arange(-9.0, -4.9, 0.5)}
    )
    section = profiles.recipe()
    found = GivenForecast(section, [folder], frame=frame).background(minutes(2))[0]
    expected = MADE[1, 0][..., [8, 7, 6], 2:11].astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        SourceFormatError, match="'t' has another latitude: 11 values from 45 to 40"
    ):
        GivenForecast(section, [folder], frame=frame.assign_coords(latitude=[41.0, 41.2, 41.4]))


def test_two_variables_of_the_same_values_are_refused():
    made = profiles.values()
    made["variables"][1]["select"] = {"level": 850}
    with pytest.raises(RecipeError, match="'t850' and 't500' are both 't' in the files"):
        profiles.recipe(variables=made["variables"])


@pytest.mark.parametrize(("name", "said"), [(None, "is needed"), ("v", "'v' is not there")])
def test_a_stream_says_which_of_several_variables_it_observes(name, said):
    one = profiles.stream("t850") | {"variable": name}
    with pytest.raises(RecipeError, match=f"observations.0.variable {said}: which of .'t850'"):
        profiles.recipe(observations=[one])


def test_members_starts_and_steps_of_grib(tmp_path):
    """50 members of one forecast of 78 hours; beside its control they are no single field."""
    variable = {"long_name": "geopotential", "units": "m**2 s**-2", "valid_min": 0}
    recipe = profiles.recipe(
        variables=[variable | {"name": "z", "valid_max": 1e5}],
        grid={
            "dims": ["latitude", "longitude"],
            "latitude": {"first": 60, "last": 50, "step": 10},
            "longitude": {"first": -10, "last": 10, "step": 10},
        },
        observations=[profiles.stream("z") | {"source": _source_of_z()}],
        forecast={"kind": "fields", "files": ["ens_50.grib"], "members": [1, 2, 50]},
    )
    with pytest.raises(SourceFormatError, match="grib_copy -w dataType=pf IN OUT"):
        GivenForecast(recipe, [real_data_dir() / "formats"])
    _perturbed(real_data_dir() / "formats" / "ens_50.grib", tmp_path / "ens_50.grib")
    found = GivenForecast(recipe, [tmp_path])
    at = to_minutes(np.array(["2013-10-28T06:00"], "datetime64[ns]"))
    assert found.fields.shape == (1, 3, 2, 3)
    starts, leads = found.origins(at)
    assert starts.tolist() == to_minutes(np.array(["2013-10-25"], "datetime64[ns]")).tolist()
    assert leads.tolist() == [78 * 60]


def _perturbed(path, kept):
    """What `grib_copy -w dataType=pf` does."""
    with path.open("rb") as source, kept.open("wb") as target:
        while (message := eccodes.codes_grib_new_from_file(source)) is not None:
            if eccodes.codes_get(message, "dataType") == "pf":
                eccodes.codes_write(message, target)
            eccodes.codes_release(message)


def _source_of_z():
    return profiles.stream("u")["source"] | {"units": "m**2 s**-2"}
