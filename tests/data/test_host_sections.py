"""The section `forecast` of a recipe, for models that run outside of vardax."""

import datetime

import pytest

from tests.experiments import hosted, reported
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.settings import default_settings, experiment_digest

COMMAND = ["python", "model.py", "{input}", "{output}"]
FILES = {"files": ["maps.nc"], "variable": "sst"}
ONE_TIME = {
    "start": "2019-03-03T12:00Z",
    "end": "2019-03-16T12:00Z",
    "interval": "1d",
    "window": {"times": 1, "spacing": "1d"},
}


def twin_with(**section):
    return hosted.recipe(None, forecast=section)


def buoys_with(**section):
    return reported.recipe(forecast=section, cycle=ONE_TIME)


@pytest.mark.parametrize("made", [twin_with, buoys_with])
def test_a_command_is_a_forecast_of_a_twin_and_of_real_observations(made):
    recipe = made(kind="command", command=COMMAND, timeout="10min", parallel=2)
    assert recipe.host.command == tuple(COMMAND)
    assert recipe.host.timeout == datetime.timedelta(minutes=10)
    assert recipe.forecast_files is None
    again = validate_recipe(recipe.model_dump(mode="json"), "again")
    assert again.host == recipe.host
    assert made(kind="callable", entry="package.module:function").host.parallel == 1


def test_a_forecast_that_names_no_kind_is_files_and_has_the_digest_that_it_had():
    old, new = buoys_with(**FILES), buoys_with(kind="fields", **FILES)
    assert old.digest == new.digest
    assert "kind" not in old.model_dump()["forecast"]
    assert old.host is None
    assert old.forecast_files.variable == "sst"


def test_how_fast_a_command_runs_is_no_part_of_what_an_experiment_is():
    slow = twin_with(kind="command", command=COMMAND)
    fast = twin_with(kind="command", command=COMMAND, parallel=8, timeout="1min")
    other = twin_with(kind="command", command=[*COMMAND, "--coarse"])
    settings = default_settings(slow, "letkf")
    digests = [experiment_digest(recipe, settings) for recipe in (slow, fast, other)]
    assert digests[0] == digests[1] != digests[2]
    assert experiment_digest(hosted.recipe(None), settings) not in digests


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"kind": "command", "command": ["model", "{input}"]}, "{output} is needed"),
        ({"kind": "command", "command": [*COMMAND, "{outputs}"]}, "nothing is known of {outputs}"),
        ({"kind": "command", "command": " ".join(COMMAND)}, "forecast.command.command: "),
        ({"kind": "command", "command": ["", *COMMAND]}, "the program, and is empty"),
        ({"kind": "command", "command": COMMAND, "parallel": 0}, "greater than or equal to 1"),
        ({"kind": "command", "command": COMMAND, "timeout": "0h"}, "longer than zero"),
        ({"kind": "command", "command": COMMAND, "shell": True}, "unknown key 'shell'"),
        ({"kind": "callable", "entry": "package.module"}, "forecast.callable.entry: "),
        ({"kind": "comand", "command": COMMAND}, "did you mean 'command'?"),
    ],
)
def test_what_is_wrong_with_a_forecast_is_said(section, said):
    with pytest.raises(RecipeError) as caught:
        twin_with(**section)
    assert said in str(caught.value)


def test_a_window_of_several_times_is_refused_with_a_command():
    values = hosted.recipe(None).model_dump(mode="json")
    values["observation"]["interval"] = values["source"]["step_interval"] = "3h"
    values["window"] = {"times": 2, "spacing": "3h"}
    values["forecast"] = {"kind": "command", "command": COMMAND}
    with pytest.raises(RecipeError, match="one time are analysed; set times to 1"):
        validate_recipe(values, "hosted")
