"""Observations of images on grids of their own."""

import dataclasses
from collections.abc import Iterator, Sequence

import xarray as xr

from vardax_core.data.errors import RecipeError, SourceFormatError
from vardax_core.data.streams.discrete import dataset_pieces, opened, variables_named
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.rows import Piece, Reader
from vardax_core.data.streams.sections import GriddedSource
from vardax_core.data.streams.superobserve import Cells, added
from vardax_core.data.streams.tally import Tally
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning
from vardax_core.words import counted

_TIMES = ("valid_time", "time", "t", "date")
_AXES = {
    LATITUDE: ("latitude", "lat", "nav_lat", "y"),
    LONGITUDE: ("longitude", "lon", "long", "nav_lon", "x"),
}
"""Usual names of coordinates, the most certain first."""


def gridded_records(reader: Reader, file: Found, source: GriddedSource) -> Iterator[Records]:
    """Read the pixels of images, piece by piece, or all their superobservations.

    Raises:
        SourceError: the file cannot be read, or lacks a variable.
        RecipeError: superobservations fit no grid.
    """
    pieces = _pieces(file, source, reader.dims, reader.tally)
    pixels = (reader.records(piece) for piece in pieces)
    if source.superobserve is None:
        yield from pixels
        return
    if reader.grid is None:
        raise RecipeError(
            f"stream '{reader.stream.name}': superobserve needs the grid of the states; give one."
        )
    circle = tuple(
        360.0 if n == reader.spherical.get(LONGITUDE) else None for n in range(len(reader.dims))
    )
    cells = Cells.on(reader.grid, source.superobserve, circle, reader.stream.representativeness)
    sums = [cells.sums(part) for part in pixels if len(part)]
    if sums:
        none = Records.none(reader.stream.name, reader.dims)
        yield cells.records(added(*sums), dataclasses.replace(none, files=(file.name,)))
        side = counted(source.superobserve.points, "grid point")
        reader.tally.note(f"pixels are averaged in cells of {side} a side")


def _pieces(
    file: Found, source: GriddedSource, dims: Sequence[str], tally: Tally
) -> Iterator[Piece]:
    with opened(file) as dataset:
        wanted = {"value": source.variable}
        value = variables_named(dataset, wanted, file)["value"]
        for role, name in (("error", source.error), ("quality", source.quality)):
            if name is not None:
                wanted[role] = name
        if source.mask is not None:
            wanted["mask"] = source.mask.variable
        for axis in ("time", *dims):
            wanted[axis] = source.axes.get(axis) or _found(dataset, value, axis, file)
        yield from dataset_pieces(dataset, wanted, file, tally)


def _found(dataset: xr.Dataset, value: xr.DataArray, axis: str, file: Found) -> str:
    """The coordinate of an axis, by its attributes or its usual name."""
    fitting = [
        str(name)
        for name, variable in dataset.variables.items()
        if name != value.name
        and set(variable.dims) <= set(value.dims)
        and variable.dtype.kind in "fiuM"
    ]
    if axis == "time":
        told = [n for n in fitting if dataset[n].attrs.get("standard_name") == "time"]
        usual = [n for n in _TIMES if n in fitting]
    else:
        kind = meaning(axis, {})
        told = [n for n in fitting if kind and meaning(n, dataset[n].attrs) == kind]
        usual = [n for n in (axis, *_AXES.get(str(kind), ())) if n in fitting]
    chosen = [n for n in usual if n in told] or told or usual
    if not chosen:
        raise SourceFormatError(
            f"{file.name}: no variable on the points of '{value.name}' {value.dims} is known to be "
            f"its {axis}, only {fitting}; write source.axes, e.g. axes: {{{axis}: NAME}}."
        )
    return chosen[0]
