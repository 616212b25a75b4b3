"""Values of NetCDF, zarr and GRIB as rows: points, stations, profiles, tracks and images."""

import itertools
import math
import pathlib
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceError, SourceFormatError
from vardax_core.data.fields import WITHOUT_ROWS
from vardax_core.data.places import open_place
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.tally import Tally
from vardax_core.words import did_you_mean, in_a_line

ELEMENTS = 200_000
"""Elements of a piece."""

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError)


def opened(file: Found) -> xr.Dataset:
    """Open a file whose variables describe themselves, unread, with times as numbers.

    Raises:
        SourceFormatError: it is none, or damaged, or its points have no rows and columns.
    """
    try:
        if file.path.is_dir():
            return xr.open_zarr(file.path, chunks=None, decode_times=False, consolidated=None)
        with file.path.open("rb") as raw:
            begin = raw.read(4)
        if begin == b"GRIB":
            return _of_grib(file)
        return xr.open_dataset(file.path, engine="netcdf4", decode_times=False, cache=False)
    except SourceError:
        raise
    except _UNREADABLE as error:
        what = "empty" if not file.path.is_dir() and not file.path.stat().st_size else "damaged"
        raise SourceFormatError(
            f"{file.name}: cannot be opened as NetCDF, zarr or GRIB ({in_a_line(error)}). The file "
            f"is {what} or still being written, or another format; wait until it is complete, or "
            "correct source.format."
        ) from error


def _of_grib(file: Found) -> xr.Dataset:
    with tempfile.TemporaryDirectory() as nowhere:
        dataset = open_place(file.path, pathlib.Path(nowhere)).dataset
    for name, variable in dataset.data_vars.items():
        kind = str(variable.attrs.get("GRIB_gridType", ""))
        if kind in WITHOUT_ROWS:
            what, command = WITHOUT_ROWS[kind]
            raise SourceFormatError(
                f"{file.name}: '{name}' is on {what} (gridType {kind}), whose points have no rows "
                "and columns, expected an image on a grid; interpolate it, for instance with "
                f"`{command} IN OUT.nc`, or write it as a table with a row for each point."
            )
    return dataset


def variables_named(
    dataset: xr.Dataset, wanted: Mapping[str, str], file: Found
) -> dict[str, xr.DataArray]:
    """Find the variable of each role.

    Raises:
        SourceFormatError: one is not there.
    """
    known = [str(name) for name in dataset.variables]
    faults = [
        f"no variable '{name}' for {role}{did_you_mean(name, known).rstrip('.')}"
        for role, name in wanted.items()
        if name not in known
    ]
    if faults:
        raise SourceFormatError(
            f"{file.name}: there is {'; there is '.join(faults)}. Its variables are {known}."
        )
    return {role: dataset[name] for role, name in wanted.items()}


def dataset_pieces(
    dataset: xr.Dataset, wanted: Mapping[str, str], file: Found, tally: Tally
) -> Iterator[Piece]:
    """Read the elements of a variable as rows, in pieces.

    Every other variable has some of its dimensions, or belongs to the stations, profiles or tracks
    of CF discrete sampling geometries: an incomplete or orthogonal array, or ragged by
    `sample_dimension` or `instance_dimension`.

    Arguments:
        dataset: open.
        wanted: name of the variable of each role; that of `value` decides on the rows.
        file: it came from.
        tally: counts the rows.

    Raises:
        SourceFormatError: a variable is not there, does not fit, or cannot be read.

    Source: CF conventions 1.11, chapter 9 and appendix H.
    """
    variables = variables_named(dataset, wanted, file)
    value = variables["value"]
    indices = {
        role: _instances(dataset, variable, value, file) for role, variable in variables.items()
    }
    attrs = {
        role: variable.attrs | ({"zoned": True} if variable.dtype.kind == "M" else {})
        for role, variable in variables.items()
    }
    total = 0
    try:
        for block in blocks(value.shape):
            shape = tuple(part.stop - part.start for part in block)
            columns = {
                role: _broadcast(variable, value, block, shape, indices[role])
                for role, variable in variables.items()
            }
            rows = np.ravel_multi_index(
                np.meshgrid(*(np.arange(b.start, b.stop) for b in block), indexing="ij"),
                value.shape,
            ).ravel()
            total += rows.size
            tally.files[file.name] = total
            yield Piece(file, rows + 1, columns, dict(wanted), attrs)
    except _UNREADABLE as error:
        raise SourceFormatError(
            f"{file.name}: opens, but its values cannot be read ({in_a_line(error)}). The file is "
            "damaged or still being written; fetch it again."
        ) from error
    tally.files[file.name] = total


def blocks(shape: tuple[int, ...], most: int = ELEMENTS) -> Iterator[tuple[slice, ...]]:
    """Cut an array into blocks of at most `most` elements, each contiguous in its rows."""
    if not math.prod(shape):
        return
    along = next((n for n in range(len(shape)) if math.prod(shape[n + 1 :]) <= most), 0)
    step = max(1, most // math.prod(shape[along + 1 :])) if shape else 1
    for before in itertools.product(*(range(size) for size in shape[:along])):
        lead = tuple(slice(n, n + 1) for n in before)
        rest = tuple(slice(0, size) for size in shape[along + 1 :])
        if not shape:
            yield ()
            return
        for start in range(0, shape[along], step):
            yield (*lead, slice(start, min(start + step, shape[along])), *rest)


def _instances(
    dataset: xr.Dataset, variable: xr.DataArray, value: xr.DataArray, file: Found
) -> np.ndarray | None:
    """The station, profile or track of each element along the samples of a ragged array."""
    foreign = [dim for dim in variable.dims if dim not in value.dims]
    if not foreign:
        return None
    if len(variable.dims) == 1 and len(value.dims) == 1:
        (instance,), (sample,) = variable.dims, value.dims
        for other in dataset.variables.values():
            if other.attrs.get("sample_dimension") == sample and other.dims == (instance,):
                counts = np.nan_to_num(np.asarray(other.values, np.float64)).astype(np.int64)
                index = np.repeat(np.arange(counts.size), counts)
                if index.size == value.size:
                    return index
            if other.attrs.get("instance_dimension") == instance and other.dims == (sample,):
                return np.asarray(other.values, np.int64)
    raise SourceFormatError(
        f"{file.name}: '{variable.name}' has dimensions {variable.dims} and '{value.name}' "
        f"{value.dims}, expected some of these, or a ragged array of CF discrete geometries; name "
        "another variable, or write the file anew."
    )


def _broadcast(
    variable: xr.DataArray,
    value: xr.DataArray,
    block: tuple[slice, ...],
    shape: tuple[int, ...],
    instances: np.ndarray | None,
) -> np.ndarray:
    if instances is not None:
        return np.asarray(variable.values)[instances[block[0]]]
    own = {dim: part for dim, part in zip(value.dims, block, strict=True) if dim in variable.dims}
    part = variable.isel(own).transpose(*(dim for dim in value.dims if dim in own)).values
    full = tuple(size if dim in own else 1 for dim, size in zip(value.dims, shape, strict=True))
    return np.broadcast_to(part.reshape(full), shape).ravel()
