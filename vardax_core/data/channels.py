"""States of several channels as variables of datasets, one to a channel, and back."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL


def names_of(recipe: Recipe, suffix: str = "") -> list[str]:
    """Names in a dataset of the variables of a recipe's states, in the order of the channels.

    Arguments:
        suffix: after the name of each, as in the variables of mean and spread.
    """
    return [one.name + suffix for one in recipe.variables]


def stacked(data: xr.Dataset, recipe: Recipe, suffix: str = "") -> xr.DataArray:
    """Give the states of a dataset on (..., *state_dims), or (..., channel, *state_dims) where a
    state has several channels.

    Arguments:
        data: with a variable for each channel, in memory or read as a whole here.
        suffix: see `names_of`.
    """
    names = names_of(recipe, suffix)
    if not recipe.channels:
        return data[names[0]].transpose(..., *recipe.state_dims)
    channel = xr.Variable(CHANNEL, np.array(recipe.channels))
    together = xr.concat([data[name] for name in names], channel, coords="minimal")
    return together.transpose(..., CHANNEL, *recipe.state_dims)


def split(
    states: Float[np.ndarray, "*any"], recipe: Recipe, suffix: str = ""
) -> dict[str, Float[np.ndarray, "..."]]:
    """Give the fields of states (..., channel, *grid) by the names of their variables."""
    return split_by(states, names_of(recipe, suffix), len(recipe.state_dims))


def split_by(
    states: Float[np.ndarray, "*any"], names: Sequence[str], dimensions: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """The same for names that are given; a single one names states without a channel's axis.

    Arguments:
        dimensions: of the grid.
    """
    if len(names) == 1:
        return {names[0]: states}
    parts = np.moveaxis(states, -dimensions - 1, 0)
    return {name: np.ascontiguousarray(part) for name, part in zip(names, parts, strict=True)}


def channel_attributes(recipe: Recipe) -> dict[str, object]:
    """Attributes of numbers of channels."""
    return {
        "long_name": "variable of the state",
        "flag_values": list(range(len(recipe.channels))),
        "flag_meanings": " ".join(recipe.channels),
    }
