"""The quality control of a recipe, from its text to the codes in the dataset."""

import numpy as np
import pytest

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.window import cycle_times, windows
from vardax_core.observations.quality import QualityCode


def screened(**screening):
    values = small.recipe().model_dump(mode="json") | {"screening": screening}
    return validate_recipe(values, "screened")


def codes_of(recipe):
    return ingest(recipe).observations["quality_control"].values


def test_without_the_section_nothing_is_screened():
    assert (codes_of(small.recipe()) == QualityCode.KEPT).all()
    assert (codes_of(screened()) == QualityCode.KEPT).all()


def test_stations_of_the_blacklist_are_never_used():
    recipe = screened(blacklist=[2, 7])
    observations = ingest(recipe).observations
    codes = observations["quality_control"].values
    expected = np.isin(np.arange(12), [2, 7])
    assert ((codes == QualityCode.BLACKLISTED) == expected).all()
    # They stay as reported, and no analysis is given them.
    assert np.isfinite(observations["x"].values).all()
    given = windows(observations, cycle_times(recipe), recipe)
    assert (np.isnan(given["values"][:, -1]) == expected).all()


def test_one_station_of_a_box_is_kept():
    codes = codes_of(screened(thinning=3.0))
    assert ((codes == QualityCode.KEPT) == (np.arange(12) % 3 == 0)).all()
    assert ((codes == QualityCode.THINNED) == (np.arange(12) % 3 != 0)).all()
    # A station of the blacklist does not stand for its box.
    codes = codes_of(screened(thinning=3.0, blacklist=[3]))
    assert (codes[:, 3] == QualityCode.BLACKLISTED).all()
    assert (codes[:, 4] == QualityCode.KEPT).all()


def test_a_value_unlike_its_neighbours_is_a_gross_error():
    check = {"radius": 2.0, "expected_sd": 4.0, "k": 2.5, "fewest": 2}
    codes = codes_of(screened(buddy_check=check))
    values = ingest(small.recipe()).observations["x"].values
    flagged = codes == QualityCode.GROSS_ERROR
    assert 0 < flagged.mean() < 0.05
    # With two neighbours on each side a difference of 2.5 times 4 from their median is needed.
    for row, station in np.argwhere(flagged):
        others = np.delete(values[row], station)
        assert abs(values[row, station] - others).max() > 10


def test_any_part_of_a_period_has_the_same_codes():
    recipe = screened(buddy_check={"radius": 2.0, "expected_sd": 4.0, "k": 2.0}, thinning=2.0)
    whole = ingest(recipe).observations["quality_control"]
    part = ingest(recipe, start=recipe.period.end).observations["quality_control"]
    np.testing.assert_array_equal(whole.isel(time=[-1]), part)


@pytest.mark.parametrize(
    ("screening", "says"),
    [
        ({"blacklist": ["a"]}, "blacklist"),
        ({"thinning": 0}, "thinning"),
        ({"buddy_check": {"radius": 1}}, "expected_sd"),
        ({"buddies": 1}, "unknown key 'buddies'; did you mean 'buddy_check'"),
    ],
)
def test_a_bad_section_is_refused(screening, says):
    with pytest.raises(RecipeError, match=says):
        screened(**screening)


def test_a_station_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match=r"stations \[12\], but there are those from 0 to 11"):
        ingest(screened(blacklist=[12]))
