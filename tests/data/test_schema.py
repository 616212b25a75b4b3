"""Schema 2 says what schema 1 says, in other places; its faults are named as they were written."""

import copy

import pytest
import yaml

from tests.support import ROOT
from vardax_core.data import RecipeError, list_recipes, load_recipe, validate_recipe
from vardax_core.data.yamlfile import read_yaml

MINE = yaml.safe_load("""
schema: 2
name: my-sst
title: Sea surface temperature of my bay
attribution: mine
variables:
  - {name: sst, long_name: sea surface temperature, units: K, valid_min: 270, valid_max: 310}
grid:
  dims: [latitude, longitude]
  latitude: {first: 40, last: 42, step: 0.25}
  longitude: {first: -5, last: 0, step: 0.25}
observations:
  - name: buoys
    source:
      kind: table
      files: [buoys-*.csv]
      columns: {time: time, latitude: lat, longitude: lon, value: sst, platform: buoy}
      units: degC
    error_sd: 0.3
cycle:
  start: 2019-03-01T00:00Z
  end: 2019-03-10T00:00Z
  interval: 1d
  window: {times: 3, spacing: 1d, after: 2}
verification:
  withheld: {share: 0.2, seed: 1}
""")


def in_schema_2(recipe):
    """A simulated recipe as schema 2 writes it."""
    flat = recipe.model_dump(mode="json", exclude_none=True)
    noise = flat.pop("observation")
    stream = {
        "name": "simulated",
        "source": {"kind": "simulated", "network": flat.pop("network")}
        | {key: value for key, value in noise.items() if key != "error_sd"},
        "error_sd": noise["error_sd"],
    } | {key: flat.pop(key) for key in ("screening", "binning") if key in flat}
    del stream["name"]
    period = flat.pop("period")
    return {
        "schema": 2,
        "variables": [flat.pop("variable"), *flat.pop("further", ())],
        "grid": {"dims": flat.pop("state_dims")},
        "truth": flat.pop("source"),
        "prior": {"period": flat.pop("training")} if "training" in flat else {},
        "observations": [stream],
        "cycle": {
            **period,
            "interval": flat.pop("cycle_interval"),
            "window": flat.pop("window"),
            "latency": flat.pop("latency"),
        },
        "verification": {"burn_in": flat.pop("burn_in")},
        **flat,
    }


@pytest.mark.parametrize(
    "name", [name for name in list_recipes() if not load_recipe(name).reported]
)
def test_a_simulated_recipe_is_the_same_in_both_schemas(name):
    recipe = load_recipe(name)
    assert validate_recipe(in_schema_2(recipe), "2") == recipe
    assert validate_recipe({"schema": 1} | recipe.model_dump(mode="json"), "1") == recipe


def test_real_observations_need_no_truth():
    recipe = validate_recipe(copy.deepcopy(MINE), "mine")
    assert recipe.reported
    assert not recipe.source.simulates
    assert recipe.error_sd == 0.3
    assert recipe.window.after == 2
    again = validate_recipe(recipe.model_dump(mode="json"), "again")
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("cycle", "interval"), 3, r"cycle\.interval: write a duration"),
        (("cycle", "intervall"), "3h", r"cycle: unknown key 'intervall'; did you mean 'interval'"),
        (("variables", 0, "valid_min"), 400.0, r"variables\.0: valid_min"),
        (("observations", 0, "error_sd"), -1.0, r"observations\.0\.error_sd"),
        (("observations", 0, "source", "kind"), "ftp", r"observations\.0\.source"),
        (("observations", 0, "source", "columns", "lattitude"), "x", "unknown key 'lattitude'"),
        (("observations", 0, "source", "units"), "furlong", "furlong"),
        (("observations", 0, "source", "files"), ["../secret.csv"], "without a leading"),
        (("grid", "latitude", "step"), 0.3, "no whole number of steps"),
        (("grid", "lat"), {"first": 0, "last": 1, "step": 1}, "the axes must be"),
        (("verification", "withheld", "streams"), ["ships"], r"there are no streams \['ships'\]"),
        (("verification", "withheld", "share"), 1.0, r"verification\.withheld\.share"),
        (("nature",), {}, "unknown key 'nature'"),
        (("truth",), {"kind": "file", "variable": "x", "files": []}, "truth"),
        (("schema",), 3, "schema"),
    ],
)
def test_a_fault_is_named_as_it_was_written(path, value, told):
    values = copy.deepcopy(MINE)
    section = values
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(RecipeError, match=told):
        validate_recipe(values, "recipe.yaml")


def test_the_datasets_that_come_with_vardax_can_be_read():
    for path in sorted(ROOT.glob("datasets/*/recipe.yaml")):
        assert load_recipe(path.parent.name).name == path.parent.name


FREE = ("select", "methods", "regions")
"""Sections whose keys the writer chooses."""


def keys_of(values, path=()):
    """The path of every key that a recipe has in its sections."""
    if isinstance(values, list):
        for number, value in enumerate(values):
            yield from keys_of(value, (*path, number))
    elif isinstance(values, dict) and not set(path) & {*FREE}:
        for key, value in values.items():
            yield (*path, key)
            yield from keys_of(value, (*path, key))


def recipes_of_schema_2():
    read = (read_yaml(path.read_text()) for path in sorted(ROOT.glob("datasets/*/recipe.yaml")))
    return [MINE, *(values for values in read if values.get("schema") == 2)]


def misspelt(values, path):
    """A recipe with one letter of a key twice, and what is told about it."""
    values = copy.deepcopy(values)
    section = values
    for key in path[:-1]:
        section = section[key]
    section[f"{path[-1]}{path[-1][-1]}"] = section.pop(path[-1])
    with pytest.raises(RecipeError) as refused:
        validate_recipe(values, "here")
    return str(refused.value)


@pytest.mark.parametrize("values", recipes_of_schema_2(), ids=lambda values: values["name"])
def test_a_misspelt_key_is_named_with_its_section_and_the_right_one(values):
    for path in keys_of(values):
        if path == ("schema",):
            continue
        right, told = str(path[-1]), misspelt(values, path)
        lines = [line for line in told.splitlines() if f"'{right}{right[-1]}'" in line]
        where = str(path[0]) if path[1:] else "recipe"
        said = " ".join(lines).replace(f"'{right}{right[-1]}'", "")
        assert where in said, (path, told)
        assert right in said, (path, told)


def test_valid_keys_of_a_recipe_of_schema_2_are_its_sections():
    values = MINE | {"burn_in": 3, "cicle": {}}
    with pytest.raises(RecipeError) as refused:
        validate_recipe(values, "here")
    told = str(refused.value)
    assert "recipe: unknown key 'burn_in'; schema 2 has it as verification.burn_in" in told
    assert "unknown key 'cicle'; did you mean 'cycle'?" in told
    assert "observations, cycle, verification." in told
    assert "state_dims" not in told


@pytest.mark.parametrize(
    ("section", "value", "told"),
    [
        ("cycle", 3, "cycle: expected keys and values, got 3"),
        ("variables", {"name": "sst"}, "variables: expected a list, got"),
        ("grid", {"dims": ["latitude", "longitude"], "latitude": 4}, "grid.latitude: expected"),
        ("truth", {"knd": "twin"}, "truth: unknown key 'knd'; did you mean 'kind'?"),
    ],
)
def test_a_section_of_another_form_is_told(section, value, told):
    with pytest.raises(RecipeError, match=told.replace("?", r"\?")):
        validate_recipe(MINE | {section: value}, "here")
