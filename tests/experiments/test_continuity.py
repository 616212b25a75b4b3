"""A source beside the store that began with an earlier version of it."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_fields import HOURS, field, recipe, written
from vardax_core.data import ingest
from vardax_core.experiments.continuity import SourceChangedError
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings

LATER = datetime.datetime(2019, 3, 21, 9, tzinfo=datetime.UTC)


def taken(path, root, until=LATER, tell=lambda _: None, first_time=True):
    """What a file holds up to a time, in a store below `root`."""
    made = Experiment(recipe(), ExperimentSettings(method="climatology", members=4), root)
    start = None
    if not first_time:
        start = made.open_store().tip("observations").last_time
        start = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            minutes=start
        )
    got = ingest(made.recipe, start=start, end=until, path=path, partly=True)
    store = made.create_store(got) if first_time else made.open_store()
    return made, store, made.append_observations(store, got, tell)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder whose store holds the hours 1, when the first window begins, to 24."""
    folder = tmp_path_factory.mktemp("begun")
    first = written(field().isel(time=slice(0, 25)), folder, "first.nc")
    assert taken(first, folder)[2] == 24
    return folder


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.integers(1, 24), min_size=1, max_size=4, unique=True).map(sorted),
    st.sampled_from([3.0, -0.25, np.nan]),
)
def test_a_correction_is_seen_wherever_it_is(begun, hours, amount):
    """Every hour that the store holds is compared, none is sampled."""
    corrected = field()
    corrected["t2m"][hours] += amount
    with pytest.raises(SourceChangedError) as caught:
        taken(written(corrected, begun, "second.nc"), begun, first_time=False)
    span = " to ".join(dict.fromkeys(str(HOURS[hours[i]])[:16] for i in (0, -1)))
    by = "values that one of them lacks" if np.isnan(amount) else f"up to {abs(amount):.4g} K"
    expected = f"differs at {len(hours)} of 24 times that both have ({span}), by {by}"
    assert expected in str(caught.value)


def test_a_correction_of_what_the_store_never_held_is_taken(tmp_path):
    taken(written(field().isel(time=slice(0, 25)), tmp_path, "first.nc"), tmp_path)
    corrected = field()
    corrected["t2m"][[0, 25, 35]] += 3.0
    _, store, new = taken(written(corrected, tmp_path, "second.nc"), tmp_path, first_time=False)
    assert new == 9
    np.testing.assert_array_equal(store.dataset("nature_run")["t2m"], corrected["t2m"][1:34])


def test_a_source_that_has_grown_continues(tmp_path):
    part = written(field().isel(time=slice(0, 25)), tmp_path, "part.nc")
    whole = written(field(), tmp_path, "whole.nc")
    taken(part, tmp_path)
    assert taken(whole, tmp_path, first_time=False)[2] == 9
    # Another root takes the whole file at once.
    _, store, _ = taken(whole, tmp_path / "other")
    other = taken(whole, tmp_path, first_time=False)
    assert other[2] == 0
    for group in ("observations", "nature_run"):
        one, two = (each.dataset(group) for each in (store, other[1]))
        assert one.equals(two)


def test_a_source_on_another_grid_is_refused(tmp_path):
    taken(written(field().isel(time=slice(0, 25)), tmp_path, "first.nc"), tmp_path)
    moved = field(longitude=field()["longitude"] + 0.5)
    with pytest.raises(SourceChangedError, match="another grid"):
        taken(written(moved, tmp_path, "second.nc"), tmp_path, first_time=False)


def test_times_that_come_too_late_or_go_are_counted(tmp_path):
    with_gap = [hour for hour in range(25) if hour not in (10, 11)]
    taken(written(field().isel(time=with_gap), tmp_path, "first.nc"), tmp_path)
    filled = [hour for hour in range(36) if hour not in (5, 6, 7)]
    told = []
    second = written(field().isel(time=filled), tmp_path, "second.nc")
    assert taken(second, tmp_path, tell=told.append, first_time=False)[2] == 9
    late, gone = told
    assert "not used: 2 (2019-03-20T10:00 to 2019-03-20T11:00)" in late
    assert "no longer has: 3 (2019-03-20T05:00 to 2019-03-20T07:00)" in gone


def test_a_store_says_what_its_observations_are(tmp_path):
    _, store, _ = taken(written(field(), tmp_path), tmp_path)
    said = store.experiment["observations"]
    assert said.startswith("observations are simulated: the fields of 't2m' in a file are taken")
    assert "0.5 K are added" in said
