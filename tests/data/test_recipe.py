import datetime

import pytest
import yaml

from tests.support import ROOT
from vardax_core.data import (
    RecipeError,
    instant_to_minutes,
    list_recipes,
    load_recipe,
    read_recipe,
    validate_recipe,
)


def values_of(name):
    return yaml.safe_load((ROOT / "datasets" / name / "recipe.yaml").read_text())


def changed(values, dotted, value):
    section = values
    *path, last = dotted.split(".")
    for key in path:
        section = section[key]
    section[last] = value
    return values


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_a_card_and_its_own_name(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    card = (ROOT / "datasets" / name / "CARD.md").read_text()
    assert recipe.variable.units in card or recipe.variable.units == "1"


def test_the_era5_recipe_says_what_the_reference_scores_were_made_with():
    recipe = load_recipe("era5-t2m-uk")
    assert recipe.network.count == 81
    assert recipe.observation.error_sd == 0.5
    assert recipe.window.times == 3
    assert recipe.cycle_interval == datetime.timedelta(hours=3)
    assert recipe.span == (
        instant_to_minutes(datetime.datetime(2019, 3, 1)),
        instant_to_minutes(datetime.datetime(2019, 3, 31, 21)),
    )


def test_the_span_reaches_back_to_the_first_window_without_a_training_period():
    values = values_of("era5-t2m-uk")
    del values["training"]
    first, _ = validate_recipe(values, "recipe").span
    assert first == instant_to_minutes(datetime.datetime(2019, 3, 20, 22))


def test_lorenz96_holds_4000_scored_cycles():
    recipe = load_recipe("lorenz96")
    cycles = (recipe.period.end - recipe.period.start) // recipe.cycle_interval + 1
    assert cycles - recipe.burn_in >= 4000


@pytest.mark.parametrize(
    ("dotted", "value", "told"),
    [
        ("observation.intervall", "1h", r"observation: unknown key 'intervall'.*'interval'"),
        ("netwrok", {}, r"unknown key 'netwrok'; did you mean 'network'"),
        ("source.tutoriall", "x", r"source\.file: unknown key 'tutoriall'.*'tutorial'"),
        ("inflation", 1.1, "unknown key 'inflation'"),
        ("source.files", [{"name": "../secret.nc", "sha256": "0" * 64}], "plain file name"),
        ("source.files", [{"name": "/etc/passwd", "sha256": "0" * 64}], "plain file name"),
        ("source.files", [{"name": "..", "sha256": "0" * 64}], "plain file name"),
        ("source.files", [{"name": "a.nc", "sha256": "12"}], r"source\.file\.files\.0\.sha256"),
        ("source.tutorial", "another.grib", "must be one of the files"),
        ("source.kind", "ftp", "source"),
        ("cycle_interval", 3, "write a duration as '3h'"),
        ("cycle_interval", "0h", "longer than zero"),
        ("window.spacing", "2h", "an observation would be used twice"),
        ("window.times", 4_000_000_001, "an observation would be used twice"),
        ("window.spacing", "30min", "must be a multiple of observation.interval"),
        ("training.end", "2019-03-21T00:00:00Z", "scored on later days only"),
        ("period.end", "2019-03-31T20:00:00Z", "whole number of cycles"),
        ("period.end", "2019-03-01T00:00:00Z", "is before start"),
        ("observation.error_sd", -1.0, r"observation\.error_sd"),
        ("observation.error_sd", float("nan"), r"observation\.error_sd"),
        ("variable.valid_min", 400.0, "must be below valid_max"),
        ("variable", "t2m", "variable"),
    ],
)
def test_a_recipe_at_fault_names_the_key_and_the_repair(dotted, value, told):
    values = changed(values_of("era5-t2m-uk"), dotted, value)
    with pytest.raises(RecipeError, match=told):
        validate_recipe(values, "recipe.yaml")


@pytest.mark.parametrize(
    ("dotted", "value", "told"),
    [
        ("state_dims", ["y", "x"], "state_dims: a state of the model lorenz96 has 1 dimension"),
        ("source.step_interval", "12h", "multiple of source.step_interval"),
        ("source.model", "lorenz97", "lorenz96"),
    ],
)
def test_a_twin_at_fault_names_the_key(dotted, value, told):
    with pytest.raises(RecipeError, match=told):
        validate_recipe(changed(values_of("lorenz96"), dotted, value), "recipe.yaml")


@pytest.mark.parametrize("written", ["3h", "PT3H", "180min", "3 h"])
def test_a_duration_may_be_written_short_or_in_iso_8601(written):
    values = changed(values_of("era5-t2m-uk"), "cycle_interval", written)
    assert validate_recipe(values, "x").cycle_interval == datetime.timedelta(hours=3)


def test_an_instant_in_another_time_zone_is_the_same_instant():
    values = changed(values_of("era5-t2m-uk"), "period.start", "2019-03-21T01:00:00+01:00")
    assert validate_recipe(values, "x") == load_recipe("era5-t2m-uk")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(RecipeError, match=r"did you mean 'lorenz96'\? Known.*era5-t2m-uk"):
        load_recipe("lorenz69")
    with pytest.raises(RecipeError, match="Unknown data set"):
        load_recipe("../datasets/lorenz96")


def test_the_file_is_named_when_it_is_not_a_recipe(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    path = folder / "recipe.yaml"
    for text in ("a: [1", "- a\n- b\n", "!!python/object/apply:os.getcwd []", ""):
        path.write_text(text)
        with pytest.raises(RecipeError, match=r"broken/recipe\.yaml"):
            read_recipe(path)
    path.write_text((ROOT / "datasets/lorenz96/recipe.yaml").read_text())
    with pytest.raises(RecipeError, match="give them the same name"):
        read_recipe(path)


def test_the_folder_of_recipes_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path))
    shipped = list_recipes()
    (tmp_path / "mine").mkdir()
    text = (ROOT / "datasets/lorenz96/recipe.yaml").read_text()
    (tmp_path / "mine" / "recipe.yaml").write_text(text.replace("name: lorenz96", "name: mine"))
    assert set(list_recipes()) == {"mine", *shipped}
    assert load_recipe("mine").name == "mine"


def test_a_draw_changes_the_stations_only_and_the_digest():
    recipe = load_recipe("era5-t2m-uk")
    drawn = recipe.with_draw(7)
    assert drawn.network.seed == 7
    assert drawn.digest != recipe.digest
    assert drawn.with_draw(recipe.network.seed) == recipe
    with pytest.raises(RecipeError, match="leave the draw out"):
        load_recipe("lorenz96").with_draw(1)
    with pytest.raises(RecipeError, match=r"network\.random_points\.seed"):
        recipe.with_draw(-1)
