"""Files that hold members of the same forecasts are one ensemble; none is dropped in silence."""

import numpy as np
import pytest
import xarray as xr

from tests.experiments import profiles
from vardax_core.data import RecipeError, SourceFormatError
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.found import _of_forecast
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.forecast_inputs import ForecastInputs
from vardax_core.experiments.settings import default_settings

MADE = profiles.forecasts()[1]
DAYS = profiles.START + np.arange(10) * np.timedelta64(24, "h")


def given(folder, **changes):
    section = profiles.values()["forecast"] | changes
    return GivenForecast(profiles.recipe(forecast=section), [folder])


@pytest.fixture
def whole(tmp_path):
    """An ensemble in one file, with a member of which one field is nowhere known."""
    made = MADE.copy()
    made[2, 0, 3] = np.nan
    profiles.write_forecasts(tmp_path / "whole" / "forecast-1.nc", made)
    return tmp_path / "whole"


@pytest.fixture
def data(whole):
    with xr.open_dataset(whole / "forecast-1.nc", decode_timedelta=True) as found:
        return found.load()


@pytest.fixture
def split(tmp_path, data):
    """Write each member of each start to a file of its own, or pieces as they are given."""

    def write(form=lambda one: one, pieces=None, starts=range(10)):
        for at in starts:
            for number in pieces or range(10):
                one = data.isel(time=at, number=number)
                # The order of names is not that of members.
                name = f"forecast-{at}-{99 - np.atleast_1d(number)[0]}.nc"
                form(one).to_netcdf(tmp_path / name)
        return tmp_path

    return write


def _unsaid(one):
    """A scalar variable that no attribute calls a coordinate."""
    return one.reset_coords("number").rename(number="Realization")


def _of_cf(one):
    told = one.rename(number="zz")
    return told.assign_coords(zz=told["zz"].assign_attrs(standard_name="realization"))


def _beside_a_dimension(one):
    """A dimension without a coordinate of its own, and numbers along it."""
    return one.expand_dims("ens").assign_coords(number=("ens", [int(one["number"])]))


FORMS = {
    "scalar": (lambda one: one, None),
    "dimension of one": (lambda one: one.expand_dims("number"), None),
    "with its start": (lambda one: one.expand_dims(["time", "number"]), None),
    "realization": (lambda one: one.rename(number="realization"), None),
    "scalar variable": (_unsaid, None),
    "standard name": (_of_cf, None),
    "beside a dimension": (_beside_a_dimension, None),
    "several in a file": (lambda one: one, [[0, 1, 5], [2], [9, 3, 4], [8, 6, 7]]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("members", [None, [7, 0, 3]])
def test_members_in_files_of_their_own_are_the_ensemble_of_one_file(whole, split, form, members):
    with xr.open_dataset(whole / "forecast-1.nc", decode_timedelta=True) as data:
        first = data.isel(time=slice(1, 3)).load()
    first.to_netcdf(whole / "forecast-1.nc")
    apart = given(split(*FORMS[form], starts=[1, 2]), members=members)
    one = given(whole, members=members)
    for name in ("minutes", "starts", "fields"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(one, name), strict=True)
    cycles = to_minutes(DAYS[1:5])
    np.testing.assert_array_equal(apart.background(cycles), one.background(cycles), strict=True)
    assert apart.incomplete() == one.incomplete() == ""
    assert np.isnan(one.fields).any()


def test_leads_of_a_member_may_be_in_files_of_their_own(whole, data, tmp_path):
    for step in (0, 1):
        for number in range(10):
            one = data.isel(step=[step], number=number)
            one.to_netcdf(tmp_path / f"forecast-{step}-{number}.nc")
    np.testing.assert_array_equal(given(tmp_path).fields, given(whole).fields, strict=True)


def test_two_files_of_one_member_are_refused(split, tmp_path, data):
    split(starts=[1, 2])
    data.isel(time=2, number=4).to_netcdf(tmp_path / "forecast-copy.nc")
    with pytest.raises(
        SourceFormatError,
        match=r"'forecast-2-95.nc' and 'forecast-copy.nc' both hold the member 4 of the forecast "
        r"from 2019-03-03T00:00 for 2019-03-04T00:00; leave one of them out of forecast.files",
    ):
        given(tmp_path)


def test_two_files_that_do_not_say_their_member_are_refused(split):
    folder = split(lambda one: one.drop_vars("number"), [0, 1], starts=[1])
    said = r"'forecast-1-98.nc' and 'forecast-1-99.nc' both hold the forecast from .*nothing says"
    with pytest.raises(SourceFormatError, match=said + ".*assign_coords.*leave one of them out"):
        given(folder)
    with pytest.raises(SourceFormatError, match="nothing says which member this file holds"):
        given(folder, members=[0, 1])


def test_a_file_that_does_not_say_its_member_is_refused_beside_others(split, tmp_path, data):
    split(starts=[1])
    data.isel(time=1, number=0).drop_vars("number").to_netcdf(tmp_path / "forecast-0.nc")
    with pytest.raises(
        SourceFormatError, match=r"forecast-0.nc: nothing says which member it holds, while .* tell"
    ):
        given(tmp_path)


def test_files_that_do_not_say_their_starts_are_refused_where_they_overlap(data, tmp_path):
    maps = data.isel(step=0, number=0, drop=True)
    maps.isel(time=slice(0, 5)).to_netcdf(tmp_path / "forecast-a.nc")
    maps.isel(time=slice(4, 9)).to_netcdf(tmp_path / "forecast-b.nc")
    with pytest.raises(
        SourceFormatError,
        match=r"'forecast-a.nc' and 'forecast-b.nc' both hold the field of 2019-03-05T00:00.*"
        r"forecast.starts",
    ):
        given(tmp_path)
    maps.isel(time=slice(5, 9)).to_netcdf(tmp_path / "forecast-b.nc")
    assert given(tmp_path).fields.shape[:2] == (9, 1)


def test_a_forecast_that_lacks_a_member_has_not_come_and_this_is_told(
    whole, split, data, tmp_path, monkeypatch
):
    """A forecast of which member 6 is in no file: the one before steps in."""
    split(pieces=[list(range(10))], starts=[0, 1, 2, 3, 5, 6, 7, 8])
    folder = split(starts=[4])
    (folder / "forecast-4-93.nc").unlink()
    found, complete = given(folder), given(whole)
    at = to_minutes(DAYS[[5]])
    assert found.members == 10
    starts, leads = found.origins(at)
    assert (starts.tolist(), leads.tolist()) == (to_minutes(DAYS[[3]]).tolist(), [48 * 60])
    np.testing.assert_array_equal(found.background(at)[0], MADE[3, 1].astype(np.float32))
    left = [n for n in range(len(complete.starts)) if complete.starts[n] != to_minutes(DAYS[[4]])]
    np.testing.assert_array_equal(found.fields, complete.fields[left])

    said = (
        "2 fields of 1 forecast left out, as if not arrived, for want of members in the files: the "
        "forecast from 2019-03-05T00:00 for 2019-03-06T00:00 lacks [6] of 10 members"
    )
    assert said in found.incomplete()
    assert found.incomplete(to_minutes(DAYS[:5])) == ""
    monkeypatch.setenv("VARDAX_DATA_DIR", str(folder))
    recipe = profiles.recipe()
    assert any(said in line for line in _of_forecast(recipe, [folder]))
    frame = xr.Dataset(coords={"latitude": profiles.LATITUDE, "longitude": profiles.LONGITUDE})
    inputs = ForecastInputs(recipe, default_settings(recipe, "letkf"), frame)
    lacking, older = inputs.warnings(DAYS[1:9])
    assert said in lacking
    assert "an older forecast is the background of 1 cycle" in older
    assert inputs.warnings(DAYS[1:5]) == ()


def test_members_that_no_file_holds_are_refused(split):
    folder = split(pieces=[0, 1], starts=[1, 2])
    with pytest.raises(
        SourceFormatError,
        match=r"forecast-1-98.nc and 3 other files: there are no members \[7\], only \[0, 1\]",
    ):
        given(folder, members=[0, 7])
    (folder / "forecast-1-98.nc").unlink()
    (folder / "forecast-2-99.nc").unlink()
    with pytest.raises(
        SourceFormatError, match=r"no field of a forecast has all members \[0, 1\].* lacks \[1\]"
    ):
        given(folder, members=[0, 1])


def test_forecasts_may_number_their_members_each_in_its_own_way(whole, data, tmp_path):
    """As ensembles that are drawn anew, and single forecasts: one file holds all of a start."""
    data.isel(time=slice(0, 4)).to_netcdf(tmp_path / "forecast-a.nc")
    later = data.isel(time=slice(4, 10)).assign_coords(number=np.arange(10) + 7)
    later.to_netcdf(tmp_path / "forecast-b.nc")
    np.testing.assert_array_equal(given(tmp_path).fields, given(whole).fields, strict=True)


def test_variables_of_other_members_and_numbers_given_twice_are_refused(data, tmp_path):
    data.assign_coords(number=[0] * 10).to_netcdf(tmp_path / "forecast-1.nc")
    assert given(tmp_path).members == 10
    with pytest.raises(SourceFormatError, match="'number' does not tell the members apart"):
        given(tmp_path, members=[0])
    with pytest.raises(RecipeError, match=r"members names \[1\] more than once"):
        given(tmp_path, members=[1, 1])
    other = data["u"].rename(number="member").assign_coords(member=np.arange(10) + 1)
    data.drop_vars("u").assign(u=other).to_netcdf(tmp_path / "forecast-1.nc")
    with pytest.raises(SourceFormatError, match=r"'t' and 'u' of a state have other members"):
        given(tmp_path)
