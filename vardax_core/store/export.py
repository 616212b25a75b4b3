"""A store as plain zarr v3 or NetCDF, for those who have no icechunk."""

import shutil
from pathlib import Path
from typing import Literal

import xarray as xr

from vardax_core.store.errors import StoreError, StoreExistsError
from vardax_core.store.experiment import PLATFORMS
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import TIME, TIME_UNITS
from vardax_core.store.store import ExperimentStore

FORMATS = ("zarr", "netcdf")
TIME_ENCODING = {"calendar": "proleptic_gregorian", "dtype": "int64"}


class ExportError(StoreError):
    """An export that cannot be made."""


def export(
    store: ExperimentStore, target: Path, *, format: str = "zarr", as_of: str | None = None
) -> list[str]:
    """Write every group with a time axis, those of the observations among them, and the names of
    platforms to `target`, which appears there whole or not at all.

    Values go through dask chunk by chunk, so that a store may be larger than memory.

    Arguments:
        store: the store.
        target: a directory (zarr) or file (NetCDF) that does not exist.
        format: `zarr` for a zarr v3 hierarchy, `netcdf` for one file with a group for each.
        as_of: a snapshot identifier; None for what readers have now.

    Returns:
        Names of the groups written.

    Raises:
        ExportError: the format is neither of the two.
        StoreExistsError: something is at `target`.
        SnapshotNotFoundError: there is no such snapshot.
        StorageError: a file system refuses.
    """
    if format not in FORMATS:
        raise ExportError(f"export: format must be 'zarr' or 'netcdf', got {format!r}.")
    if target.exists():
        raise StoreExistsError(target)
    names = [
        name
        for name, group in store.groups(as_of).items()
        if TIME in group or (name == PLATFORMS and len(group))
    ]
    unfinished = target.with_name(f"{target.name}.writing")
    with storage_errors(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(unfinished)
        for number, name in enumerate(names):
            dataset = (
                xr.Dataset({"name": ("platform", store.arrays(name)["name"])})
                if name == PLATFORMS
                else _plain(store.dataset(name, as_of=as_of, chunks={}))
            )
            mode: Literal["w", "a"] = "a" if number else "w"
            if format == "zarr":
                dataset.to_zarr(
                    unfinished, group=name, mode=mode, zarr_format=3, consolidated=False
                )
            else:
                dataset.to_netcdf(unfinished, group=name, mode=mode, engine="netcdf4")
        unfinished.rename(target)
    return names


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    plain = dataset.drop_encoding()
    for name, variable in plain.variables.items():
        if variable.dtype.kind == "M":
            units = dataset[name].encoding.get("units", TIME_UNITS)
            plain[name].encoding = {"units": units, **TIME_ENCODING}
    return plain


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
