"""Where a nature run is found, and how its file becomes a checked dataset."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from vardax_core.data.channel_fields import open_fields
from vardax_core.data.conventions import attributes_of, global_attributes
from vardax_core.data.errors import (
    ChecksumError,
    PeriodError,
    SourceFormatError,
    SourceNotFoundError,
    SourceReplacedError,
)
from vardax_core.data.places import content_sha256, sha256_of, unreadable
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import Rounding, from_minutes, round_to_interval
from vardax_core.data.truth_sources import FileSource, SourceFile
from vardax_core.paths import default_cache_dir, folder_setting

COORDINATE_ATTRS = {
    "time": {"standard_name": "time", "long_name": "valid time", "axis": "T"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
"""CF attributes of the coordinates that every dataset may have."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A file as a nature run: open, checked, and unread but for its time axis and its digest.

    Attributes:
        path: where it is.
        dataset: the recipe's variables on (time, *state_dims), float32, of all its times.
        rounding: how its times were moved onto the recipe's observation times.
        notes: what was done to have the variables on these dimensions.
        close: lets the file go.
    """

    path: str
    dataset: xr.Dataset
    rounding: Rounding
    notes: tuple[str, ...]
    close: Callable[[], None]
    _before: object
    _identity: Callable[[], object]

    def read(self, part: xr.Dataset) -> xr.Dataset:
        """Read a part of the dataset into memory.

        Raises:
            SourceFormatError: it cannot be read.
            SourceReplacedError: the source was replaced or written to since it was opened.
        """
        try:
            loaded = part.load()
            unchanged = self._identity() == self._before
        except (OSError, EOFError, RuntimeError) as error:
            raise unreadable(self.path, error) from error
        if not unchanged:
            raise SourceReplacedError(
                f"{self.path}: the file was replaced or written to while it was read; wait until "
                "it is complete, then run again. Nothing was taken from it."
            )
        return loaded


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
    data_dir = folder_setting("VARDAX_DATA_DIR") if data_dir is None else data_dir
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
    # It imports a progress bar that warns in notebooks without widgets.
    import pooch

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
        data_dir, cache_dir, path: see `open_source`.

    Returns:
        The part of the dataset of `open_source`.

    Raises:
        SourceError: of the kind that fits the fault; see `vardax_core.data.errors`.
    """
    source = open_source(recipe, data_dir=data_dir, cache_dir=cache_dir, path=path)
    first, last = recipe.span
    return select_period(source, first if start is None else start, last if end is None else end)


def open_source(
    recipe: Recipe,
    *,
    data_dir: pathlib.Path | None = None,
    cache_dir: pathlib.Path | None = None,
    path: str | pathlib.Path | None = None,
) -> Source:
    """Open the file of a recipe and check what it is.

    Times near an observation time of the recipe are moved onto it; see `round_to_interval`.

    Arguments:
        recipe: a recipe whose source is of kind `file`.
        data_dir, cache_dir: see `locate`.
        path: a file, directory or URL to use instead, see `open_place`. The recipe's checksums do
            not apply to it.

    Returns:
        Its `dataset` is backed by dask arrays. Points are in the file's order (ERA5: from north to
        south). NaN and wild values are left as they are. The attributes `source_file` and
        `source_sha256` say what was read; the latter is the digest of the values and coordinates
        in the whole source, equal for copies of it in other formats.

    Raises:
        SourceError: of the kind that fits the fault; see `vardax_core.data.errors`.
    """
    if not isinstance(recipe.source, FileSource):
        raise SourceFormatError(
            f"Recipe '{recipe.name}': its nature run is made by a model, there is no file to open; "
            "use vardax_core.data.simulate_nature_run."
        )
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    if path is None:
        path = locate(recipe.source, data_dir=data_dir, cache_dir=cache_dir)
    opened = open_fields(path, path, recipe, recipe.source, cache_dir)
    identity, parts = opened.identity(), {}
    first = next(iter(opened.fields.values()))
    times, rounding = round_to_interval(
        first["time"].values, recipe.period.start, recipe.simulation.interval
    )
    fields = {
        name: field.assign_coords(time=("time", times)) for name, field in opened.fields.items()
    }
    digest = _digest_of(list(fields.values()), path)
    for variable in recipe.variables:
        parts[variable.name] = fields[variable.name].astype(np.float32).drop_encoding()
        parts[variable.name].attrs = attributes_of(variable)
    dataset = xr.Dataset(parts).drop_encoding()
    for axis, coordinate in dataset.coords.items():
        if axis != "time":
            dataset[axis] = coordinate.astype(np.float32)
        dataset[axis].attrs = _coordinate_attrs(str(axis), first[axis].attrs)
    dataset.attrs = global_attributes(recipe) | {
        "source_file": opened.name,
        "source_sha256": digest,
    }
    return Source(
        str(path), dataset, rounding, opened.notes, opened.close, identity, opened.identity
    )


def _coordinate_attrs(name: str, given: dict) -> dict[str, str]:
    meant = {key: given[key] for key in ("standard_name", "units", "axis") if key in given}
    return dict(COORDINATE_ATTRS.get(name, {"long_name": name} | meant))


def _digest_of(fields: Sequence[xr.DataArray], path: str | pathlib.Path) -> str:
    try:
        digests = [content_sha256(field) for field in fields]
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise unreadable(path, error) from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def select_period(source: Source, start: int, end: int, *, partly: bool = False) -> xr.Dataset:
    """The part of a source in a period.

    Arguments:
        start, end: first and last minute since `MINUTES_EPOCH`.
        partly: whether a source that ends within the period is taken as far as it goes.

    Raises:
        PeriodError: the source does not cover the period.
    """
    dataset = source.dataset
    wanted = from_minutes(np.array([start, end]))
    there = dataset["time"].values[[0, -1]]
    if partly and wanted[0] <= there[1]:
        wanted[1] = min(wanted[1], max(there[1], wanted[0]))
    if wanted[0] < there[0] or wanted[1] > there[1] or wanted[1] < wanted[0]:
        raise PeriodError(
            f"{source.path}: covers {_span(there)}, but {_span(wanted)} was asked for; choose a "
            "period within the data or name a file that covers it."
        )
    return dataset.sel(time=slice(*wanted))


def _span(times: np.ndarray) -> str:
    first, last = np.datetime_as_string(times, unit="m")
    return f"{first} to {last}"
