"""The recipes that are there: those that come with vardax, and a user's own."""

import os
import pathlib

import yaml

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.data.yamlfile import read_yaml
from vardax_core.paths import folder_settings, home, local_path
from vardax_core.words import did_you_mean

VARIABLE = "VARDAX_DATASETS_DIR"
FILE = "recipe.yaml"


def datasets_dir() -> pathlib.Path:
    """The folder of the recipes that come with vardax."""
    return home() / "datasets"


def own_folders() -> list[pathlib.Path]:
    """The folders of a user's own recipes: those of `VARDAX_DATASETS_DIR`, parted as in PATH, or
    `datasets` in the working directory, whether it is there or not."""
    return folder_settings(VARIABLE) or [pathlib.Path.cwd() / "datasets"]


def recipe_files() -> dict[str, pathlib.Path]:
    """The file of every recipe by its name, sorted; a user's own goes before one that comes with
    vardax.

    Raises:
        RecipeError: if `VARDAX_DATASETS_DIR` names a folder that is not there.
    """
    for folder in folder_settings(VARIABLE):
        if not folder.is_dir():
            raise RecipeError(
                f"{VARIABLE}: expected folders of recipes (<name>/{FILE}), got {folder}, which is "
                "no folder; make it, or correct the variable."
            )
    found: dict[str, pathlib.Path] = {}
    for folder in (*own_folders(), datasets_dir()):
        for path in folder.glob(f"*/{FILE}"):
            found.setdefault(path.parent.name, path)
    return dict(sorted(found.items()))


def list_recipes() -> list[str]:
    """Names of all recipes, sorted."""
    return list(recipe_files())


def recipe_file(name: str) -> pathlib.Path:
    """The file of the recipe of a name.

    Raises:
        RecipeError: if there is none of this name.
    """
    known = recipe_files()
    if name not in known:
        raise RecipeError(
            f"Unknown data set '{name}'{did_you_mean(name, list(known))} "
            f"Known data sets: {', '.join(known)}."
        )
    return known[name]


def load_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        RecipeError: if there is none of this name, or it is not valid.
    """
    return read_recipe(recipe_file(name))


def named_by(written: str) -> str:
    """The name of the data set that a name, or the path of a recipe or of its folder, stands for.

    The folder that such a path lies in goes before all others, for this process and those that it
    starts.

    Raises:
        RecipeError: if there is no recipe at the path.
    """
    if os.sep not in written and not written.endswith((".yaml", ".yml")):
        return written
    path = local_path(written, "DATASET").absolute()
    file = path / FILE if path.is_dir() else path
    if file.name != FILE or not file.is_file():
        raise RecipeError(
            f"{written}: expected the name of a data set, or the path of its <name>/{FILE}, got a "
            "path where there is none; correct it."
        )
    folder = file.parent.parent
    others = [one.absolute() for one in own_folders() if one.is_dir() and one.absolute() != folder]
    os.environ[VARIABLE] = os.pathsep.join(map(str, (folder, *others)))
    return file.parent.name


def read_recipe(path: pathlib.Path) -> Recipe:
    """The recipe in a file, whose folder must carry its name.

    Raises:
        RecipeError: if it cannot be read or is not valid.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, got {type(values).__name__}.")
    recipe = validate_recipe(values, path)
    if recipe.name != path.parent.name:
        raise RecipeError(
            f"{path}: the recipe is named '{recipe.name}' but its folder '{path.parent.name}'; "
            "give them the same name."
        )
    return recipe
