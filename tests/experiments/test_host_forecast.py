"""Members of a host model: made once, checked, made again where they failed, or lost."""

import datetime
import json
import os
import time

import numpy as np
import pytest
import xarray as xr

from tests.experiments import hosted
from vardax_core.data.errors import RecipeError
from vardax_core.data.timeaxis import from_minutes
from vardax_core.experiments.host_files import MemberError, StateForm
from vardax_core.experiments.host_forecast import HostForecast, HostForecastError
from vardax_core.experiments.host_models import host_of

N, START, TARGET = 12, 360, 720
STATES = np.random.default_rng(7).normal(2, 3, (4, N)).astype(np.float32)
FRAME = xr.Dataset(coords={"location": np.arange(N)})


def forecast_with(tmp_path, section):
    recipe = hosted.recipe(None, forecast=section)
    form = StateForm.of(recipe, FRAME, [(-50.0, 50.0)], "float32")
    return HostForecast("hosted/letkf", tmp_path / "host", host_of(recipe), form, seed=1)


def commanded(tmp_path, how=None, **changes):
    folder = hosted.write_model(tmp_path / "model", how)
    section = {"kind": "command", "command": hosted.command(folder), "parallel": 2}
    return forecast_with(tmp_path, section | changes), folder


def rk4(x):
    """A step of Lorenz-96, forcing 8, written once more."""

    def slope(y):
        ahead, back, further = (np.roll(y, k, -1) for k in (-1, 1, 2))
        return (ahead - further) * back - y + 8

    k1 = slope(x)
    k2 = slope(x + 0.025 * k1)
    k3 = slope(x + 0.025 * k2)
    return x + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + 0.05 * k3))


EXPECTED = rk4(STATES.astype(np.float64))


def advance(state, start, end):
    """A model for recipes of the kind callable."""
    assert (end - start) == datetime.timedelta(hours=6)
    assert start.tzinfo is not None
    made = state.copy(data={"x": rk4(state["x"].values)})
    return made.assign_coords(time=np.datetime64(end.replace(tzinfo=None)))


def stumbling(state, start, end):
    """Fails for the second member."""
    if state.attrs["member"] == 1:
        raise ArithmeticError("no convergence")
    return advance(state, start, end)


def test_a_member_that_fails_once_is_made_by_its_second_attempt(tmp_path):
    forecast, folder = commanded(tmp_path, {"2": "once"})
    made = forecast.members(STATES, START, TARGET)
    assert not made.lost
    np.testing.assert_allclose(made.members, EXPECTED, rtol=1e-5, atol=1e-5)
    assert sorted(run.split()[1] for run in hosted.runs(folder)) == ["0", "1", "2", "2", "3"]


@pytest.mark.slow
def test_members_that_were_made_are_taken_while_what_they_were_made_of_is_the_same(tmp_path):
    forecast, folder = commanded(tmp_path)
    first = forecast.members(STATES, START, TARGET)
    again, _ = commanded(tmp_path)
    np.testing.assert_array_equal(again.members(STATES, START, TARGET).members, first.members)
    assert len(hosted.runs(folder)) == 4
    changed = STATES.copy()
    changed[1, 0] += 1e-3
    assert not again.members(changed, START, TARGET).lost
    assert sorted(run.split()[1] for run in hosted.runs(folder)[4:]) == ["1"]
    kept = tmp_path / "host" / "20000101T1200" / "member-0003" / "output.nc"
    kept.write_bytes(kept.read_bytes()[:-1000])
    assert not again.members(changed, START, TARGET).lost
    assert hosted.runs(folder)[5:] == ["2000-01-01T06:00Z 3"]
    (folder / "advance.py").write_text((folder / "advance.py").read_text() + "\n# mended\n")
    mended = forecast_with(tmp_path, hosted.recipe(folder).host.model_dump())
    mended.members(changed, START, TARGET)
    assert len(hosted.runs(folder)) == 10


def test_a_member_that_gives_nonsense_twice_is_lost_and_the_warning_says_why(tmp_path):
    how = {"1": "always", "2": "narrow", "3": "silent", "4": "garbled"}
    forecast, folder = commanded(tmp_path, how)
    made = forecast.members(np.concatenate([STATES, STATES]), START, TARGET)
    assert [lost.number for lost in made.lost] == [1, 2, 3, 4]
    np.testing.assert_array_equal(np.isnan(made.members).all(axis=1), [0, 1, 1, 1, 1, 0, 0, 0])
    expected = np.concatenate([EXPECTED, EXPECTED])
    kept = np.isfinite(made.members)
    np.testing.assert_allclose(made.members[kept], expected[kept], rtol=1e-5, atol=1e-5)
    (warning,) = made.warnings()
    for said in (
        "4 members of 8",
        "member 1: it ended with exit status 1",
        "member 2: its output has the shape (3,), expected (12,)",
        "member 3: it wrote no output",
        "member 4: its output cannot be read as NetCDF",
    ):
        assert said in warning
    numbers = [run.split()[1] for run in hosted.runs(folder)]
    assert [numbers.count(str(n)) for n in range(8)] == [1, 2, 2, 2, 2, 1, 1, 1]


def changed_first(made, value):
    return made.assign(x=made["x"].where(made["location"] != 0, value))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made.rename(x="y"), r"no variable 'x' in its output, only \['y'\]"),
        (lambda made: made.drop_vars("time"), "2000-01-01T12:00 as its one time, got none"),
        (
            lambda made: made.assign_coords(time=np.datetime64("2000-01-01T11:00")),
            r"12:00 as its one time, got \['2000-01-01T11:00'\]",
        ),
        (lambda made: made.expand_dims(level=2), r"dimensions \['level', 'location'\], expected"),
        (lambda made: made.isel(location=slice(3)), r"shape \(3,\), expected \(12,\)"),
        (lambda made: made.isel(location=slice(None, None, -1)), "another location: from 11 to 0"),
        (lambda made: made.assign(x=made["x"].assign_attrs(units="K")), "is in 'K', expected '1'"),
        (lambda made: changed_first(made, 1e6), "1e\\+06, and x can only lie between -50 and 50"),
        (lambda made: changed_first(made, np.nan), "not finite at 1 point"),
    ],
)
def test_what_is_no_state_on_the_grid_at_the_time_is_refused_in_words(spoil, said):
    form = StateForm.of(hosted.recipe(None), FRAME, [(-50.0, 50.0)], "float32")
    given = form.dataset(STATES[0], START, TARGET, member=0, seed=0)
    made = given.assign_coords(time=from_minutes(np.array([TARGET]))[0])
    np.testing.assert_array_equal(form.field(made, TARGET, STATES[0]), STATES[0])
    with_length = made.expand_dims(["time", "level"])
    np.testing.assert_array_equal(form.field(with_length, TARGET, STATES[0]), STATES[0])
    with pytest.raises(MemberError, match=said):
        form.field(spoil(made), TARGET, STATES[0])


def test_points_outside_of_a_mask_are_not_asked_for():
    mask = np.arange(N) > 2
    frame = FRAME.assign_coords(state_mask=("location", mask.astype(np.int8)))
    form = StateForm.of(hosted.recipe(None), frame, [(-50.0, 50.0)], "float32")
    given = form.dataset(STATES[0], START, TARGET, member=0, seed=0)
    np.testing.assert_array_equal(np.isfinite(given["x"]), mask)
    made = (given + 1).assign_coords(time=from_minutes(np.array([TARGET]))[0])
    expected = np.where(mask, STATES[0] + 1, STATES[0])
    np.testing.assert_array_equal(form.field(made, TARGET, STATES[0]), expected)


def test_a_command_that_hangs_is_stopped_with_all_that_it_started(tmp_path):
    forecast, folder = commanded(tmp_path, {"1": "hang"})
    forecast.host.timeout = datetime.timedelta(seconds=2)
    given = forecast.form.dataset(STATES[1], START, TARGET, member=1, seed=0)
    with pytest.raises(MemberError, match="it was stopped after 2 s"):
        forecast.host.forecast(given, folder)
    for _ in range(100):
        left = [pid for pid in os.listdir("/proc") if str(tmp_path) in _folder_of(pid)]
        if not left:
            break
        time.sleep(0.05)
    assert not left


def _folder_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def test_more_than_half_lost_is_an_error_with_what_the_model_wrote(tmp_path):
    forecast, folder = commanded(tmp_path, {"0": "always", "1": "always", "3": "silent"})
    with pytest.raises(HostForecastError, match="out of memory") as caught:
        forecast.members(STATES, START, TARGET)
    said = str(caught.value)
    assert "3 of 4 members have no forecast for 2000-01-01T12:00" in said
    assert "member 3: it wrote no output" in said
    (folder / "how.json").write_text("{}")
    assert not forecast.members(STATES, START, TARGET).lost
    assert [run.split()[1] for run in hosted.runs(folder)].count("2") == 1, "it was kept"


def test_folders_of_committed_cycles_are_removed(tmp_path):
    forecast, _ = commanded(tmp_path)
    forecast.members(STATES[:2], START, TARGET)
    forecast.members(STATES[:2], TARGET, TARGET + 360)
    assert [path.name for path in (tmp_path / "host").glob("*T*") if path.is_dir()] == [
        "20000101T1800"
    ]
    forecast.clear(from_minutes(np.array([TARGET + 360]))[0])
    assert not list((tmp_path / "host").iterdir())


def test_a_function_is_a_model_and_what_it_raises_loses_its_member(tmp_path):
    entry = f"{__name__}:advance"
    made = forecast_with(tmp_path, {"kind": "callable", "entry": entry, "parallel": 2})
    found = made.members(STATES, START, TARGET)
    np.testing.assert_allclose(found.members, EXPECTED, rtol=1e-5, atol=1e-5)
    entry = f"{__name__}:stumbling"
    made = forecast_with(tmp_path, {"kind": "callable", "entry": entry})
    lost = made.members(STATES, START, TARGET).lost
    assert [one.why for one in lost] == ["it raised ArithmeticError: no convergence"]
    assert "in stumbling" in lost[0].tail


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"kind": "callable", "entry": "no_such_package:advance"}, "cannot be imported"),
        ({"kind": "callable", "entry": f"{__name__}:N"}, "is no function"),
        (
            {"kind": "command", "command": ["no-such-program", "{input}", "{output}"]},
            "there is no program 'no-such-program'",
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_anything_runs(tmp_path, section, said):
    with pytest.raises(RecipeError, match=said):
        forecast_with(tmp_path, section)


def test_a_member_has_the_same_seed_whenever_it_is_run(tmp_path):
    forecast, _ = commanded(tmp_path, {"0": "always"})
    seeds = []
    for _ in range(2):
        with pytest.raises(HostForecastError) as caught:
            forecast.members(STATES[:1], START, TARGET)
        folder = str(caught.value).split("(in ")[1].split(")")[0]
        with xr.open_dataset(f"{folder}/input.nc") as given:
            seeds.append(given.attrs["seed"])
            assert given["time"].values == np.datetime64("2000-01-01T06:00")
            assert json.dumps(given["x"].attrs["units"]) == '"1"'
    assert seeds[0] == seeds[1]
