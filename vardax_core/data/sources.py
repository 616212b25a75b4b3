"""Where a nature run is found, and how its file becomes a checked dataset."""

import hashlib
import os
import pathlib

import numpy as np
import pooch
import xarray as xr

from vardax_core.data.conventions import global_attributes, variable_attributes
from vardax_core.data.errors import (
    ChecksumError,
    PeriodError,
    SourceFormatError,
    SourceNotFoundError,
    TimeAxisError,
    UnitsError,
)
from vardax_core.data.places import content_sha256, open_place
from vardax_core.data.recipe import FileSource, Recipe, SourceFile
from vardax_core.data.timeaxis import from_minutes
from vardax_core.state.axis import GridError
from vardax_core.state.coordinates import grid_of

_ALIASES = {"lat": "latitude", "lon": "longitude", "valid_time": "time"}
_COORDINATE_ATTRS = {
    "time": {"standard_name": "time", "long_name": "valid time", "axis": "T"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}


IDENTITY = "vardax_identity"
"""Key of a dataset's encoding: the identity of its source when it was opened, and a function that
gives its present one."""


def default_cache_dir() -> pathlib.Path:
    """The folder of downloaded files: `VARDAX_CACHE_DIR`, or `~/.cache/vardax`."""
    named = os.environ.get("VARDAX_CACHE_DIR")
    return pathlib.Path(named).expanduser() if named else pathlib.Path.home() / ".cache/vardax"


def sha256_of(path: pathlib.Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(
    source: FileSource,
    *,
    data_dir: pathlib.Path | None = None,
    cache_dir: pathlib.Path | None = None,
) -> pathlib.Path:
    """Find the file of a source and verify its checksum; download it if nothing is found.

    The places are `data_dir` (default: the environment variable `VARDAX_DATA_DIR`), then
    `cache_dir` (default: `default_cache_dir()`), then the xarray tutorial data; in each place the
    source's files are looked for in their order.

    Raises:
        SourceNotFoundError: listing every place searched.
        ChecksumError: if a file of the right name has another content.
    """
    named = os.environ.get("VARDAX_DATA_DIR")
    if data_dir is None and named:
        data_dir = pathlib.Path(named).expanduser()
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    searched = []
    for folder in (data_dir, cache_dir):
        if folder is None:
            continue
        for file in source.files:
            path = folder / file.name
            if path.is_file():
                _verify(path, file)
                return path
            searched.append(str(path))
    if source.tutorial is not None:
        file = next(file for file in source.files if file.name == source.tutorial)
        url = f"{xr.tutorial.base_url}/raw/{xr.tutorial.version}/{file.name}"
        try:
            return _download(url, file, cache_dir)
        except OSError as error:
            searched.append(f"{url} ({type(error).__name__})")
    raise SourceNotFoundError(
        "None of the files of this data set is there; searched:\n"
        + "\n".join(f"  {place}" for place in searched)
        + "\nPut one of them into a folder and export VARDAX_DATA_DIR=/path/to/that/folder"
        + (", or connect to the network for the download." if source.tutorial else ".")
    )


def _download(url: str, file: SourceFile, cache_dir: pathlib.Path) -> pathlib.Path:
    try:
        fetched = pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}",
            fname=file.name,
            path=cache_dir,
            downloader=pooch.HTTPDownloader(timeout=60),
        )
    except ValueError as error:
        raise ChecksumError(
            f"{url}: the download is not the file that the recipe names ({error}). Try again; if "
            "it persists the publisher has changed the file, and the recipe must name the new one."
        ) from error
    return pathlib.Path(fetched)


def _verify(path: pathlib.Path, file: SourceFile) -> None:
    found = sha256_of(path)
    if found != file.sha256:
        raise ChecksumError(
            f"{path}: expected SHA-256 {file.sha256}, got {found}. The file is damaged or another "
            "one; delete it and fetch it again, or name it as an explicit path if it is meant."
        )


def open_nature_run(
    recipe: Recipe,
    *,
    start: int | None = None,
    end: int | None = None,
    data_dir: pathlib.Path | None = None,
    cache_dir: pathlib.Path | None = None,
    path: str | pathlib.Path | None = None,
) -> xr.Dataset:
    """The nature run of a recipe whose source is a file, unread but for its time axis.

    Arguments:
        recipe: a recipe whose source is of kind `file`.
        start, end: first and last minute since `MINUTES_EPOCH`; by default `recipe.span`.
        data_dir, cache_dir: see `locate`.
        path: a file, directory or URL to use instead, see `open_place`. The recipe's checksums do
            not apply to it.

    Returns:
        The recipe's variable, float32 in its units, on (time, *state_dims), backed by dask arrays.
        Points are in the file's order (ERA5: from north to south). NaN and wild values are left
        as they are. The attributes `source_file` and `source_sha256` say what was read; the
        latter is the digest of the values and coordinates in the whole source, equal for copies
        of it in other formats.

    Raises:
        SourceError: of the kind that fits the fault; see `vardax_core.data.errors`.
    """
    if recipe.source.kind != "file":
        raise SourceFormatError(
            f"Recipe '{recipe.name}': its nature run is made by a model, there is no file to open; "
            "use vardax_core.data.simulate_nature_run."
        )
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    if path is None:
        path = locate(recipe.source, data_dir=data_dir, cache_dir=cache_dir)
    opened = open_place(path, cache_dir)
    identity = opened.identity()
    field = _read_variable(opened.dataset, path, recipe, recipe.source.variable)
    digest = _digest_of(field, path)
    field = _select_period(field, recipe, path, start, end)
    variable = recipe.variable
    dataset = field.astype(np.float32).rename(variable.name).to_dataset().drop_encoding()
    dataset[variable.name].attrs = variable_attributes(recipe)
    for name, coordinate in dataset.coords.items():
        if name != "time":
            dataset[name] = coordinate.astype(np.float32)
        dataset[name].attrs = _coordinate_attrs(str(name), field[name].attrs)
    dataset.attrs = global_attributes(recipe) | {
        "source_file": opened.name,
        "source_sha256": digest,
    }
    dataset.encoding |= {IDENTITY: (identity, opened.identity), "source": str(path)}
    return dataset


def _coordinate_attrs(name: str, given: dict) -> dict[str, str]:
    meant = {key: given[key] for key in ("standard_name", "units", "axis") if key in given}
    return dict(_COORDINATE_ATTRS.get(name, {"long_name": name} | meant))


def _digest_of(field: xr.DataArray, path: str | pathlib.Path) -> str:
    try:
        return content_sha256(field)
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise SourceFormatError(
            f"{path}: opens, but its values cannot be read ({error}). The file is damaged; fetch "
            "it again."
        ) from error


def _read_variable(
    dataset: xr.Dataset, path: str | pathlib.Path, recipe: Recipe, name: str
) -> xr.DataArray:
    if name not in dataset:
        raise SourceFormatError(
            f"{path}: there is no variable '{name}', only {sorted(map(str, dataset.data_vars))}; "
            "correct source.variable in the recipe or name another file."
        )
    field = dataset[name]
    if "time" in field.dims and "valid_time" in field.coords:
        # In GRIB `time` is the start of the forecast and `valid_time` what it is valid for.
        field = field.assign_coords(
            time=("time", field["valid_time"].broadcast_like(field["time"]).values)
        )
    field = field.rename({d: _ALIASES[str(d)] for d in field.dims if str(d) in _ALIASES})
    field = field.reset_coords([c for c in field.coords if c not in field.dims], drop=True)
    _check_axes(field, recipe, path)
    _check_grid(field, recipe, path)
    _check_units(field, recipe, path)
    return field.transpose("time", *recipe.state_dims)


def _check_grid(field: xr.DataArray, recipe: Recipe, path: str | pathlib.Path) -> None:
    try:
        grid_of(field, recipe.state_dims)
    except GridError as error:
        raise SourceFormatError(f"{path}: {error}") from error


def _check_units(field: xr.DataArray, recipe: Recipe, path: str | pathlib.Path) -> None:
    expected, found = recipe.variable.units, field.attrs.get("units")
    if found is None:
        raise UnitsError(
            f"{path}: variable '{field.name}' has no units attribute, expected '{expected}'; state "
            f"them, e.g. ncatted -a units,{field.name},c,c,{expected} {pathlib.Path(path).name}"
        )
    if found != expected:
        raise UnitsError(
            f"{path}: variable '{field.name}' is in '{found}', expected '{expected}'; convert the "
            "file, a nature run is never converted silently."
        )


def _check_axes(field: xr.DataArray, recipe: Recipe, path: str | pathlib.Path) -> None:
    if "time" not in field.dims or "time" not in field.coords:
        raise TimeAxisError(
            f"{path}: variable '{field.name}' has dimensions {field.dims} and no time axis with "
            "coordinates; give it a dimension 'time' with a coordinate variable of that name."
        )
    time = field["time"]
    if not np.issubdtype(time.dtype, np.datetime64) or not time.notnull().all() or not time.size:
        raise TimeAxisError(
            f"{path}: the time axis does not decode to instants (dtype {time.dtype}); it needs CF "
            "units such as 'hours since 2019-03-01', the standard calendar and no gap."
        )
    steps = np.diff(time.values)
    zero = np.timedelta64(0, "ns")
    for fault, wrong, repair in (
        ("is not in time order", steps < zero, "sort the file by time"),
        ("holds a time twice", steps == zero, "drop the duplicates"),
    ):
        if wrong.any():
            at = int(np.argmax(wrong))
            raise TimeAxisError(
                f"{path}: the time axis {fault} ({int(wrong.sum())} places, first at index "
                f"{at + 1}: {time.values[at]} is followed by {time.values[at + 1]}); {repair}."
            )
    expected = {"time", *recipe.state_dims}
    without = expected - set(field.coords)
    if set(field.dims) != expected or without:
        raise SourceFormatError(
            f"{path}: variable '{field.name}' has dimensions {field.dims} with coordinates "
            f"{sorted(map(str, field.coords))}, expected {('time', *recipe.state_dims)}, each with "
            "a coordinate; select one level or member and rename the rest."
        )


def _select_period(
    field: xr.DataArray,
    recipe: Recipe,
    path: str | pathlib.Path,
    start: int | None,
    end: int | None,
) -> xr.DataArray:
    first, last = recipe.span
    wanted = from_minutes(
        np.array([first if start is None else start, last if end is None else end])
    )
    there = field["time"].values[[0, -1]]
    if wanted[0] < there[0] or wanted[1] > there[1] or wanted[1] < wanted[0]:
        raise PeriodError(
            f"{path}: covers {_span(there)}, but {_span(wanted)} was asked for; choose a period "
            "within the data or name a file that covers it."
        )
    return field.sel(time=slice(*wanted))


def _span(times: np.ndarray) -> str:
    first, last = np.datetime_as_string(times, unit="m")
    return f"{first} to {last}"
