"""Observations at other heights than the grid has, and what they would be at those."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vardax_core.data.errors import SourceFormatError, UnitsError
from vardax_core.data.recipe import Recipe
from vardax_core.data.state_frame import one_field
from vardax_core.data.streams.account import Example, StreamAccount
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.observations.quality import QualityCode
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import counted

HEIGHT_SHIFT = "height_shift"
"""Name of what heights make of every value, among the observations."""


def orography(recipe: Recipe, folders: Sequence[pathlib.Path]) -> Float[np.ndarray, "*state"]:
    """Read the heights of a recipe's grid in metres.

    Raises:
        SourceError: the file cannot be used, or is of another grid.
        UnitsError: its units are not known.
    """
    assert recipe.grid is not None, "a recipe with heights has a grid"
    wanted = recipe.grid.orography
    assert wanted is not None, "a recipe with heights has those of its grid"
    field = one_field(wanted, recipe, folders)
    units = wanted.units or field.attrs.get("units")
    if units is None:
        raise UnitsError(
            f"Recipe '{recipe.name}': '{wanted.variable}' states no units; write "
            "grid.orography.units in the recipe."
        )
    try:
        return conversion(str(units), "m")(field.to_numpy().astype(float))
    except UnknownUnitsError as error:
        raise UnitsError(
            f"Recipe '{recipe.name}': grid.orography: {error}; heights are lengths. A geopotential "
            "(m2 s-2) is 9.80665 times its height."
        ) from error


def height_shift(
    stream: Stream,
    records: Records,
    grid: AbstractGrid,
    heights: Float[np.ndarray, "*state"],
) -> Float[np.ndarray, " record"]:
    """What values are greater by than at the height of the grid: the lapse rate times the
    difference of heights; zero where a height is not known.

    Arguments:
        stream: with a lapse rate.
        records: whose levels are heights in metres.
        grid: of the states.
        heights: of its points in metres.

    Raises:
        SourceFormatError: the heights are of another grid.
    """
    assert stream.heights is not None, "asked for with heights"
    if heights.shape != grid.shape:
        raise SourceFormatError(
            f"Stream '{stream.name}': the grid has {grid.shape} points, and its orography "
            f"{heights.shape}; name a field on the grid (grid.orography)."
        )
    shift = np.zeros(len(records))
    at = np.flatnonzero(np.isin(records.code, (QualityCode.KEPT, QualityCode.WITHHELD)))
    if at.size:
        corners = grid.stencil(records.place[at])
        below = np.sum(corners.weights * heights.reshape(-1)[corners.indices], axis=1)
        shift[at] = np.nan_to_num(stream.heights.lapse_rate * (records.level[at] - below))
    return shift


def told(account: StreamAccount, records: Records) -> StreamAccount:
    """The account with the observations whose height is not known, if there are any."""
    used = np.isin(records.code, (QualityCode.KEPT, QualityCode.WITHHELD))
    lacking = np.flatnonzero(used & ~np.isfinite(records.level))
    if not lacking.size:
        return account
    first = lacking[0]
    example = Example(records.files[records.file[first]], int(records.row[first]))
    said = (
        f"{counted(lacking.size, 'observation')} of {int(used.sum())} without a height (first "
        f"{example}) are taken as they are; correct columns.level"
    )
    return dataclasses.replace(account, suspicions=(*account.suspicions, said))
