"""CF attributes of what is made from a recipe (CF conventions 1.11)."""

from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import Variable


def attributes_of(variable: Variable) -> dict[str, str]:
    """Attributes of a variable."""
    attrs = {"long_name": variable.long_name, "units": variable.units}
    if variable.standard_name is not None:
        attrs["standard_name"] = variable.standard_name
    return attrs


def error_attributes(recipe: Recipe) -> dict[str, str]:
    """Attributes of the standard deviation of its observation error."""
    attrs = attributes_of(recipe.observed)
    attrs["long_name"] = f"observation error of {attrs['long_name']}"
    if "standard_name" in attrs:
        attrs["standard_name"] += " standard_error"
    return attrs


def global_attributes(recipe: Recipe) -> dict[str, str]:
    """Attributes of every dataset made from the recipe."""
    return {
        "Conventions": "CF-1.11",
        "title": recipe.title,
        "license": recipe.attribution,
        "vardax_recipe": recipe.name,
        "vardax_recipe_sha256": recipe.digest,
    }
