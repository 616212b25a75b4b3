"""Opening a gridded data set lazily: a file, a zarr or icechunk directory, or a URL."""

import dataclasses
import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable

import icechunk
import numpy as np
import obstore
import xarray as xr
import zarr

from vardax_core.data.errors import SourceFormatError, SourceNotFoundError

_ENGINES = {
    b"GRIB": "cfgrib",
    b"\x89HDF": "netcdf4",
} | {b"CDF" + version: "netcdf4" for version in (b"\x01", b"\x02", b"\x05")}
_ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
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


def open_place(place: str | pathlib.Path, cache_dir: pathlib.Path) -> Opened:
    """Open a data set, unread.

    Arguments:
        place: a GRIB or NetCDF file, a zarr (v2 or v3) or icechunk directory, or the URL
            (`s3://`, `https://`, `file://`) of a zarr hierarchy or of such a file. Credentials,
            region and endpoint of S3 come from the AWS environment.
        cache_dir: where a file behind a URL is put before it is opened.

    Raises:
        SourceNotFoundError: nothing is there.
        SourceFormatError: it is none of these, or damaged.
    """
    if is_url(place):
        return _open_url(str(place), cache_dir)
    path = pathlib.Path(place)
    if path.is_dir():
        return _open_directory(path)
    if not path.is_file():
        raise SourceNotFoundError(f"{path}: there is no such file; correct the path.")
    return _open_file(path, str(path))


def _open_file(path: pathlib.Path, shown: str) -> Opened:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic not in _ENGINES:
        raise SourceFormatError(
            f"{shown}: neither GRIB nor NetCDF (it begins with {magic!r}); convert it to NetCDF."
        )
    engine = _ENGINES[magic]
    no_index_file = {"indexpath": ""} if engine == "cfgrib" else None
    try:
        dataset = xr.open_dataset(path, engine=engine, chunks={}, backend_kwargs=no_index_file)
    except _UNREADABLE as error:
        raise _damaged(shown, engine, error) from error
    return Opened(dataset, path.name, lambda: _stat(path))


def _open_directory(path: pathlib.Path) -> Opened:
    if any((path / name).is_file() for name in _ZARR_METADATA):
        try:
            dataset = _open_zarr(path)
        except _UNREADABLE as error:
            raise _damaged(str(path), "zarr", error) from error
        return Opened(dataset, path.name, lambda: _newest(path))
    if (path / "refs").is_dir() or (path / "repo").is_file():
        try:
            repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
            store = repository.readonly_session("main").store
            dataset = xr.open_zarr(store, consolidated=False, chunks={})
        except (*_UNREADABLE, icechunk.IcechunkError) as error:
            raise _damaged(str(path), "icechunk", error) from error
        # A session reads one snapshot for ever, whatever is committed meanwhile.
        return Opened(dataset, path.name, lambda: None)
    raise SourceFormatError(
        f"{path}: neither a zarr nor an icechunk directory (no {', '.join(_ZARR_METADATA)} or "
        "refs); name a file, or the directory that holds the metadata."
    )


def _open_zarr(store: pathlib.Path | zarr.storage.ObjectStore) -> xr.Dataset:
    with warnings.catch_warnings():
        # Metadata may be consolidated or not; an http server without lists needs them to be.
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")
        return xr.open_zarr(store, chunks={})


def _open_url(url: str, cache_dir: pathlib.Path) -> Opened:
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
    except (*_UNREADABLE, obstore.exceptions.BaseError) as error:
        if isinstance(error, SourceNotFoundError):
            raise
        raise _damaged(url, "obstore", error) from error
    opened = _open_file(path, url)
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


def _damaged(shown: str, engine: str, error: Exception) -> SourceFormatError:
    return SourceFormatError(
        f"{shown}: cannot be read with {engine}: {error}. The file is damaged or incomplete; "
        "fetch it again."
    )


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
