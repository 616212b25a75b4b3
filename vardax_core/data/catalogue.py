"""The recipes that are there: the `datasets` folder."""

import pathlib

import yaml

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.data.yamlfile import read_yaml
from vardax_core.paths import folder_setting
from vardax_core.words import did_you_mean

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def datasets_dir() -> pathlib.Path:
    """The folder of the recipes.

    The environment variable `VARDAX_DATASETS_DIR` names it; otherwise it is `datasets` in the
    checkout that holds this package, or in the working directory.

    Raises:
        RecipeError: if there is no such folder.
    """
    named = folder_setting("VARDAX_DATASETS_DIR")
    places = [named] if named else [_CHECKOUT / "datasets", pathlib.Path.cwd() / "datasets"]
    for place in places:
        if any(place.glob("*/recipe.yaml")):
            return place
    raise RecipeError(
        "No folder of recipes (<name>/recipe.yaml) found; searched "
        f"{', '.join(str(place) for place in places)}. Run from a checkout of vardax, or "
        "export VARDAX_DATASETS_DIR=/path/to/datasets."
    )


def list_recipes() -> list[str]:
    """Names of the recipes in `datasets_dir`, sorted."""
    return sorted(path.parent.name for path in datasets_dir().glob("*/recipe.yaml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        RecipeError: if there is none of this name, or it is not valid.
    """
    known = list_recipes()
    if name not in known:
        raise RecipeError(
            f"Unknown data set '{name}'{did_you_mean(name, known)} "
            f"Known data sets: {', '.join(known)}."
        )
    return read_recipe(datasets_dir() / name / "recipe.yaml")


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
