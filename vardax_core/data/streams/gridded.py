"""Observations of images on grids of their own."""

from collections.abc import Iterator, Sequence

import xarray as xr

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.discrete import dataset_pieces, opened, variables_named
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.rows import Piece
from vardax_core.data.streams.sections import GriddedSource
from vardax_core.data.streams.tally import Tally
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning

_TIMES = ("valid_time", "time", "t", "date")
_AXES = {
    LATITUDE: ("latitude", "lat", "nav_lat", "y"),
    LONGITUDE: ("longitude", "lon", "long", "nav_lon", "x"),
}
"""Usual names of coordinates, the most certain first."""


def gridded_pieces(
    file: Found, source: GriddedSource, dims: Sequence[str], tally: Tally
) -> Iterator[Piece]:
    """Read the pixels of images in pieces.

    Raises:
        SourceFormatError: the file cannot be read, or lacks a variable.
    """
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
