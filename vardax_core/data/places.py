"""Opening a gridded data set lazily: a file, a zarr or icechunk directory, or a URL."""

import dataclasses
import hashlib
import os
import pathlib
import re
import warnings
from collections.abc import Callable

import icechunk
import numpy as np
import obstore
import xarray as xr
import zarr

from vardax_core.data.errors import (
    SourceFormatError,
    SourceNotFoundError,
    SourceUnreachableError,
    TimeAxisError,
)
from vardax_core.words import in_a_line

_ENGINES = {
    b"GRIB": "cfgrib",
    b"\x89HDF": "netcdf4",
} | {b"CDF" + version: "netcdf4" for version in (b"\x01", b"\x02", b"\x05")}
_PACKED = {b"PK": "it is a zip archive, unpack it", b"\x1f\x8b": "it is packed, gunzip it"}
_ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
_ALONG_ROW = ("longitudeOfFirstGridPointInDegrees", "longitudeOfLastGridPointInDegrees", "Nx")
_BLOCK_BYTES = 64 * 2**20
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A data set that is open but not read.

    Attributes:
        dataset: backed by dask arrays.
        name: of the file, directory or object.
        identity: gives what changes when the source is replaced or written to.
    """

    dataset: xr.Dataset
    name: str
    identity: Callable[[], object]


def is_url(place: str | pathlib.Path) -> bool:
    """Whether a place is a URL and not a path."""
    return "://" in str(place)


def open_place(
    place: str | pathlib.Path, cache_dir: pathlib.Path, *, variable: str | None = None
) -> Opened:
    """Open a data set, unread.

    Arguments:
        place: a GRIB or NetCDF file, a zarr (v2 or v3) or icechunk directory, or the URL
            (`s3://`, `https://`, `file://`) of a zarr hierarchy or of such a file. Credentials,
            region and endpoint of S3 come from the AWS environment.
        cache_dir: where a file behind a URL is put before it is opened.
        variable: what is wanted of a GRIB file, whose other messages then need not fit it.

    Raises:
        SourceNotFoundError: nothing is there.
        SourceUnreachableError: it may not be read, or does not answer.
        SourceFormatError: it is none of these, or damaged.
        TimeAxisError: its times cannot be decoded.
    """
    if is_url(place):
        return _open_url(str(place), cache_dir, variable)
    path = pathlib.Path(place)
    if path.is_dir():
        return _open_directory(path)
    if not path.is_file():
        raise SourceNotFoundError(f"{path}: there is no such file; correct the path.")
    return _open_file(path, str(path), variable)


def _open_file(path: pathlib.Path, shown: str, variable: str | None) -> Opened:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except PermissionError as error:
        raise _forbidden(shown) from error
    if magic not in _ENGINES:
        what = "it is empty" if not magic else f"it begins with {magic!r}"
        repair = _PACKED.get(magic[:2], "convert it to NetCDF")
        raise SourceFormatError(f"{shown}: neither GRIB nor NetCDF ({what}); {repair}.")
    engine = _ENGINES[magic]
    try:
        dataset = _open_grib(path, shown, variable) if engine == "cfgrib" else _open_netcdf(path)
    except SourceFormatError:
        raise
    except _UNREADABLE as error:
        _refuse_undecodable_times(shown, error, lambda: _open_netcdf(path, decode_times=False))
        raise _damaged(shown, engine, error) from error
    return Opened(dataset, path.name, lambda: _stat(path))


def _open_netcdf(path: pathlib.Path, *, decode_times: bool = True) -> xr.Dataset:
    return xr.open_dataset(
        path, engine="netcdf4", chunks={}, decode_timedelta=False, decode_times=decode_times
    )


def _open_grib(path: pathlib.Path, shown: str, variable: str | None) -> xr.Dataset:
    """The messages of a variable, or all where there is none of that name."""
    from cfgrib.dataset import DatasetBuildError  # both load the library of GRIB
    from eccodes import CodesInternalError

    chosen: dict[str, str] = {} if variable is None else {"cfVarName": variable}
    for keys in (chosen, {}):
        try:
            dataset = xr.open_dataset(
                path,
                engine="cfgrib",
                chunks={},
                backend_kwargs={"indexpath": "", "filter_by_keys": keys, "errors": "raise"},
            )
        except DatasetBuildError as error:
            raise SourceFormatError(_several_fields(shown, keys, error)) from error
        except CodesInternalError as error:
            raise _damaged(shown, "cfgrib", error) from error
        if dataset.data_vars:
            break
    return _in_order_of_values(dataset)


def _in_order_of_values(dataset: xr.Dataset) -> xr.Dataset:
    """The same with longitudes in the order in which the values are: cfgrib gives those of a region
    across Greenwich sorted, with the eastern part first."""
    for field in dataset.data_vars.values():
        first, last, count = (float(field.attrs.get(f"GRIB_{name}", np.nan)) for name in _ALONG_ROW)
        across = first > last and not field.attrs.get("GRIB_iScansNegatively")
        if not across or field.sizes.get("longitude") != count:
            continue
        along = first + (last - first) % 360 * np.linspace(0, 1, int(count))
        kept = dataset["longitude"].attrs
        return dataset.assign_coords(longitude=("longitude", along, kept))
    return dataset


def _several_fields(shown: str, wanted: dict[str, str], error: Exception) -> str:
    why = str(error).splitlines()[0].partition(", try")[0]
    ways = [
        ",".join(
            f"{k}={v}" for k, v in re.findall(r"'(\w+)': '?([^,']+)'?", way) if k not in wanted
        )
        for way in re.findall(r"filter_by_keys=\{([^}]*)\}", str(error))
    ]
    choices = " or ".join(dict.fromkeys(ways)) or "those of one kind"
    of = f"of '{wanted['cfVarName']}' " if wanted else ""
    example = f", for instance with `grib_copy -w {ways[0]} IN OUT`" if ways else ""
    return (
        f"{shown}: the messages {of}are no single field ({why}); select {choices}{example}, and "
        "see that source.variable names one of them."
    )


def _refuse_undecodable_times(
    shown: str, error: Exception, reopen: Callable[[], xr.Dataset]
) -> None:
    """Tell a time axis that nobody can decode from a damaged file."""
    if "decode" not in str(error):
        return
    try:
        reopen().close()
    except _UNREADABLE:
        return
    raise TimeAxisError(
        f"{shown}: opens, but its times do not decode to instants ({error}); give them CF units "
        "such as 'hours since 2019-03-01' and the standard calendar."
    ) from error


def _open_directory(path: pathlib.Path) -> Opened:
    if any((path / name).is_file() for name in _ZARR_METADATA):
        try:
            dataset = _open_zarr(path)
        except PermissionError as error:
            raise _forbidden(str(path)) from error
        except _UNREADABLE as error:
            _refuse_undecodable_times(
                str(path), error, lambda: _open_zarr(path, decode_times=False)
            )
            raise _damaged(str(path), "zarr", error) from error
        return Opened(dataset, path.name, lambda: _newest(path))
    if (path / "refs").is_dir() or (path / "repo").is_file():
        try:
            repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
            store = repository.readonly_session("main").store
            dataset = xr.open_zarr(store, consolidated=False, chunks={}, decode_timedelta=False)
        except (*_UNREADABLE, icechunk.IcechunkError) as error:
            raise _damaged(str(path), "icechunk", error) from error
        # A session reads one snapshot for ever, whatever is committed meanwhile.
        return Opened(dataset, path.name, lambda: None)
    raise SourceFormatError(
        f"{path}: neither a zarr nor an icechunk directory (no {', '.join(_ZARR_METADATA)} or "
        "refs); name a file, or the directory that holds the metadata."
    )


def _open_zarr(
    store: pathlib.Path | zarr.storage.ObjectStore, *, decode_times: bool = True
) -> xr.Dataset:
    with warnings.catch_warnings():
        # Metadata may be consolidated or not; an http server without lists needs them to be.
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")
        return xr.open_zarr(store, chunks={}, decode_timedelta=False, decode_times=decode_times)


def _open_url(url: str, cache_dir: pathlib.Path, variable: str | None) -> Opened:
    folder, _, name = url.rstrip("/").rpartition("/")
    try:
        inside = _object_store(url.rstrip("/"))
        if any(_etag(inside, metadata) is not None for metadata in _ZARR_METADATA):
            dataset = _open_zarr(zarr.storage.ObjectStore(inside, read_only=True))
            return Opened(
                dataset, name, lambda: [_etag(inside, metadata) for metadata in _ZARR_METADATA]
            )
        store = _object_store(folder)
        tag = _etag(store, name)
        if tag is None:
            raise SourceNotFoundError(f"{url}: there is no such object; correct the URL.")
        path = cache_dir / "fetched" / hashlib.sha256(f"{url} {tag}".encode()).hexdigest() / name
        if not path.is_file():
            _fetch(store, name, path)
    except SourceNotFoundError:
        raise
    except (OSError, obstore.exceptions.BaseError) as error:
        if "recognise URL" in str(error):
            raise SourceFormatError(
                f"{url}: is no kind of URL that can be read; expected s3://, https:// or file://."
            ) from error
        raise SourceUnreachableError(
            f"{url}: cannot be read ({type(error).__name__}: {in_a_line(error)}); check the "
            "address, the network and the credentials (for s3:// the AWS variables), then run "
            "again."
        ) from error
    except _UNREADABLE as error:
        raise _damaged(url, "obstore", error) from error
    opened = _open_file(path, url, variable)
    return dataclasses.replace(opened, identity=lambda: _etag(store, name))


def _object_store(url: str) -> obstore.store.ObjectStore:
    if not url.startswith("s3://"):
        return obstore.store.from_url(url, client_options={"allow_http": True})
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is None:
        return obstore.store.from_url(url)
    return obstore.store.from_url(
        url, endpoint=endpoint, client_options={"allow_http": endpoint.startswith("http://")}
    )


def _etag(store: obstore.store.ObjectStore, key: str) -> str | None:
    try:
        found = store.head(key)
    except FileNotFoundError:
        return None
    return f"{found.get('e_tag')} {found['size']} {found['last_modified']}"


def _fetch(store: obstore.store.ObjectStore, key: str, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.fetching")
    with unfinished.open("wb") as file:
        for block in store.get(key).stream():
            file.write(block)
    unfinished.rename(path)


def _stat(path: pathlib.Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _newest(path: pathlib.Path) -> tuple[int, int]:
    files = [file.stat() for file in path.rglob("*") if file.is_file()]
    return len(files), max(file.st_mtime_ns for file in files)


def _forbidden(shown: str) -> SourceUnreachableError:
    return SourceUnreachableError(
        f"{shown}: may not be read by this user; change its permissions, for instance with chmod."
    )


def _damaged(shown: str, engine: str, error: Exception) -> SourceFormatError:
    return SourceFormatError(
        f"{shown}: cannot be read with {engine}: {error}. The file is damaged or incomplete; "
        "fetch it again."
    )


def unreadable(place: str | pathlib.Path, error: Exception) -> SourceFormatError:
    """The refusal of a place that opens, but whose values cannot be read."""
    repair = (
        "Its connection broke, or the file is damaged; run again, then look at the file"
        if is_url(place)
        else "The file is damaged; fetch it again"
    )
    return SourceFormatError(
        f"{place}: opens, but its values cannot be read ({in_a_line(error)}). {repair}."
    )


def sha256_of(path: pathlib.Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(field: xr.DataArray) -> str:
    """SHA-256 of a field's values in single precision and of its coordinates, block by block.

    Copies of one data set in different formats agree in it.
    """
    total = hashlib.sha256()
    for dim in field.dims:
        values = field[dim].values
        total.update(f"{dim} {values.shape}".encode())
        as_number = values.astype("datetime64[m]").astype(np.int64) if dim == "time" else values
        total.update(np.ascontiguousarray(as_number.astype(np.float64)).tobytes())
    row = max(1, 4 * int(np.prod(field.shape[1:])))
    step = max(1, _BLOCK_BYTES // row)
    for start in range(0, field.shape[0], step):
        block = field[start : start + step].to_numpy().astype(np.float32)
        block[np.isnan(block)] = np.nan
        total.update(np.ascontiguousarray(block).tobytes())
    return total.hexdigest()
