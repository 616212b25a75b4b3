"""The variables of a recipe's states in one file, each found by its name and its level."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.fields import canonical_field
from vardax_core.data.places import Opened, open_place
from vardax_core.data.recipe import Recipe
from vardax_core.data.reported import StateFields
from vardax_core.data.truth_sources import FileSource

Place = str | pathlib.Path


@dataclasses.dataclass(frozen=True)
class ChannelFields:
    """The variables of a state in one file, open and unread.

    Attributes:
        fields: each on (time, *state_dims), all on the same axes, by the recipe's names.
        notes: what was done to have them so.
        name: of the file.
        identity: gives what changes when the file is replaced or written to.
        close: lets the file go.
    """

    fields: dict[str, xr.DataArray]
    notes: tuple[str, ...]
    name: str
    identity: Callable[[], object]
    close: Callable[[], None]


def open_fields(
    place: Place,
    shown: Place,
    recipe: Recipe,
    section: StateFields | FileSource,
    cache: pathlib.Path,
) -> ChannelFields:
    """Open the variables of a recipe's states in one file.

    Arguments:
        place: see `open_place`.
        shown: name of the place in messages.
        section: of the recipe, which names the variables.
        cache: where a file behind a URL is put before it is opened.

    Raises:
        SourceError: the file cannot be used, or its variables are on different axes.
    """
    with contextlib.ExitStack() as stack:
        opened = opened_variables(place, recipe, section, cache, stack)
        fields, notes = {}, []
        for one in recipe.in_files(section):
            made, said = canonical_field(
                opened[one.name].dataset,
                shown,
                recipe,
                one.name,
                one.variable,
                one.select,
                converted=not isinstance(section, FileSource),
            )
            fields[one.variable.name] = made
            notes += [note for note in said if note not in notes]
        require_same_axes(fields, shown)
        first = next(iter(opened.values()))
        close = stack.pop_all().close
    return ChannelFields(fields, tuple(notes), first.name, first.identity, close)


def opened_variables(
    place: Place,
    recipe: Recipe,
    section: StateFields | FileSource,
    cache: pathlib.Path,
    stack: contextlib.ExitStack,
) -> dict[str, Opened]:
    """Open a file for each name that the recipe's variables have in it.

    Arguments:
        stack: closes them.
    """
    opened: dict[str, Opened] = {}
    for one in recipe.in_files(section):
        if one.name not in opened:
            opened[one.name] = open_place(place, cache, variable=one.name)
            stack.callback(opened[one.name].dataset.close)
    return opened


def require_same_axes(fields: dict[str, xr.DataArray], shown: Place) -> None:
    """Refuse variables of one state on different axes.

    Raises:
        SourceFormatError: naming the first two that differ, and the axis.
    """
    (name, first), *others = fields.items()
    for other, field in others:
        for dim in first.dims:
            if not np.array_equal(first[dim].values, field[dim].values):
                raise SourceFormatError(
                    f"{shown}: the variables '{name}' and '{other}' of a state differ in their "
                    f"{dim} ({first.sizes[dim]} and {field.sizes[dim]} values); interpolate one to "
                    "the axes of the other, or select the times that both have."
                )
