"""Recipes of a user stand beside those that come with vardax."""

import os
from unittest import mock

import pytest

from tests.support import ROOT
from vardax_core.data import RecipeError, list_recipes, load_recipe, named_by, recipe_file
from vardax_core.data.catalogue import own_folders

SHIPPED = sorted(path.parent.name for path in ROOT.glob("datasets/*/recipe.yaml"))


def own(folder, name, title):
    """A recipe of a user, made of one that comes with vardax."""
    text = (ROOT / "datasets" / "lorenz63" / "recipe.yaml").read_text()
    lines = [f"title: {title}" if line.startswith("title:") else line for line in text.split("\n")]
    path = folder / name / "recipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines).replace("name: lorenz63", f"name: {name}", 1))
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    with mock.patch.dict(os.environ):
        os.environ.pop("VARDAX_DATASETS_DIR", None)
        monkeypatch.chdir(tmp_path)
        yield


def test_those_of_the_working_directory_are_added(tmp_path):
    assert list_recipes() == SHIPPED
    path = own(tmp_path / "datasets", "mine", "Mine")
    assert list_recipes() == sorted([*SHIPPED, "mine"])
    assert recipe_file("mine") == path
    assert own_folders() == [tmp_path / "datasets"]


def test_the_first_of_several_folders_goes_before_the_others_and_before_vardax(tmp_path):
    for folder, title in (("first", "One"), ("second", "Two")):
        own(tmp_path / folder, "lorenz63", title)
    own(tmp_path / "second", "mine", "Mine")
    os.environ["VARDAX_DATASETS_DIR"] = f"first{os.pathsep}{tmp_path / 'second'}"
    assert load_recipe("lorenz63").title == "One"
    assert load_recipe("mine").title == "Mine"
    assert set(SHIPPED) < set(list_recipes())


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path):
    os.environ["VARDAX_DATASETS_DIR"] = str(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=rf"VARDAX_DATASETS_DIR: .*{tmp_path / 'nowhere'}.*make"):
        list_recipes()


def test_a_path_is_taken_before_every_name(tmp_path):
    """Also in processes that are started from elsewhere; and what was found before still is."""
    own(tmp_path / "datasets", "mine", "Mine")
    path = own(tmp_path / "elsewhere", "lorenz63", "From a path")
    for written in (path, path.parent, "elsewhere/lorenz63/recipe.yaml"):
        assert named_by(str(written)) == "lorenz63"
    assert load_recipe("lorenz63").title == "From a path"
    folders = os.environ["VARDAX_DATASETS_DIR"].split(os.pathsep)
    assert folders == [str(tmp_path / "elsewhere"), str(tmp_path / "datasets")]
    assert load_recipe("mine").title == "Mine"
    assert named_by("lorenz96") == "lorenz96"


@pytest.mark.parametrize(
    "written", ["nowhere/recipe.yaml", "recipe.yml", "./", "datasets/mine.yaml"]
)
def test_a_path_without_a_recipe_is_refused(written):
    with pytest.raises(RecipeError, match=r"<name>/recipe\.yaml"):
        named_by(written)
