"""A store that was made with another configuration says in what it differs, and what to do."""

import copy
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_schema import MINE
from tests.experiments import small
from vardax_core.data import validate_recipe
from vardax_core.experiments.experiment import ForeignObservationsError
from vardax_core.experiments.made_with import differences, told
from vardax_core.store import ForeignExperimentError, StoreNotFoundError, content_digest

LEAVES = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
TREES = st.dictionaries(
    st.sampled_from("abc"), LEAVES | st.dictionaries(st.sampled_from("abc"), LEAVES)
)


@pytest.fixture
def made(tmp_path):
    experiment = small.experiment_of(tmp_path, "etkf")
    small.ingested_store(experiment)
    return experiment


def changed(made, **values):
    recipe = validate_recipe(made.recipe.model_dump(mode="json") | values, "small")
    return dataclasses.replace(made, recipe=recipe)


@given(TREES)
def test_equal_trees_do_not_differ_and_a_new_value_is_all_that_does(tree):
    assert differences(tree, copy.deepcopy(tree)) == []
    (found,) = differences(tree, tree | {"new": 1})
    assert found == ("new", None, 1)
    assert str(found) == "new was not set and is 1"


def test_lists_of_sections_differ_by_their_keys():
    recipe = validate_recipe(copy.deepcopy(MINE), "mine").model_dump(mode="json")
    other = copy.deepcopy(recipe)
    other["streams"][0]["error_sd"] = 0.5
    assert told(differences(recipe, other)) == "streams.0.error_sd was 0.3 and is 0.5"


def test_a_changed_recipe_is_told_by_its_keys_with_a_repair(made):
    other = changed(made, burn_in=7)
    with pytest.raises(ForeignExperimentError) as refused:
        other.open_store()
    said = str(refused.value)
    assert "burn_in was 5 and is 7" in said
    assert f"remove the folder of all that was made with it, {made.store_path.parent}," in said
    assert "another --root DIR" in said
    assert said.endswith(f"{made.digest[:12]} there, {other.digest[:12]} here.)")


def test_changed_settings_ask_for_no_other_recipe(made):
    settings = made.settings.model_copy(update={"members": 9})
    with pytest.raises(ForeignExperimentError) as refused:
        dataclasses.replace(made, settings=settings).open_store()
    assert "members was 6 and is 9" in str(refused.value)
    assert f"remove the folder {made.store_path} and run again" in str(refused.value)


def test_observations_of_another_recipe_are_told_by_its_keys(made):
    noise = made.recipe.model_dump(mode="json")["observation"] | {"error_sd": 2.0}
    settings = made.settings.model_copy(update={"method": "oi"})
    other = dataclasses.replace(changed(made, observation=noise), settings=settings)
    with pytest.raises(ForeignObservationsError, match=r"observation\.error_sd was 1\.0 and is 2"):
        other.open_observations()


def test_a_store_without_the_note_opens_as_before_and_is_refused_in_words(made):
    before = content_digest(made.open_store())
    for note in made.store_path.parent.glob("*.recipe.json"):
        note.unlink()
    assert content_digest(made.open_store()) == before
    with pytest.raises(ForeignExperimentError, match="the recipe is another than it was"):
        changed(made, burn_in=7).open_store()


def test_a_note_of_a_store_that_was_removed_is_not_believed(made):
    note = made.store_path.with_name("etkf.recipe.json")
    note.write_text(note.read_text().replace(made.digest, "0" * 64))
    with pytest.raises(ForeignExperimentError, match="the recipe is another than it was"):
        changed(made, burn_in=7).open_store()


def test_an_experiment_that_was_not_run_names_the_command(made):
    settings = made.settings.model_copy(update={"method": "oi"})
    with pytest.raises(StoreNotFoundError, match=r"vardax run small -m oi\."):
        dataclasses.replace(made, settings=settings).open_store()
