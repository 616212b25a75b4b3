"""The icechunk repository under an experiment store: creating, opening, what a commit says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import icechunk
import numpy as np
import zarr

from vardax_core.store.errors import StoreExistsError, StoreNotFoundError, StructureError
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import (
    TIME,
    TIME_ATTRS,
    Coordinate,
    Group,
    Layout,
    default_fill_value,
)
from vardax_core.store.location import Location, require
from vardax_core.store.objects import compressor
from vardax_core.types import MINUTES_EPOCH

MAIN = "main"
EXPERIMENT_ATTR = "experiment"
CYCLE_GROUP_ATTR = "cycle_group"
CONVENTIONS = "CF-1.11"

# Its only use of this level is a warning that local commits need a lock, which the writer holds.
icechunk.set_logs_filter("icechunk=error")


@dataclass(frozen=True)
class Tip:
    """Where the store stands.

    Attributes:
        snapshot_id: the published snapshot.
        cycles: number of cycles (time steps of the cycle group).
        last_time: time of the last cycle in minutes since `MINUTES_EPOCH`, None if there is none.
        metadata: metadata of the last commit.
    """

    snapshot_id: str
    cycles: int
    last_time: int | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class CommitRecord:
    """One commit of the store's history."""

    snapshot_id: str
    written_at: datetime
    message: str
    metadata: Mapping[str, Any]


def instant(minutes: int) -> np.datetime64:
    """The UTC instant of an integer time in minutes since `MINUTES_EPOCH`."""
    return np.datetime64(MINUTES_EPOCH, "m") + np.timedelta64(minutes, "m")


def json_able(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A copy of `value` that holds JSON types only.

    Raises:
        StructureError: something in it has no JSON form (NaN has none).
    """
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StructureError(
            f"{what}: expected values that JSON can hold (finite numbers, strings, lists, "
            f"dictionaries): {error}. Convert NumPy numbers with .item()."
        ) from error


def dimensions(array: zarr.Array) -> tuple[str, ...]:
    """The dimension names of an array."""
    return tuple(array.metadata.to_dict().get("dimension_names") or ())  # type: ignore[arg-type]


def dtype_name(array: zarr.Array) -> str:
    """The dtype of an array; `string` for text, which each zarr version types its own way."""
    return "string" if array.dtype.kind in "OTU" else str(array.dtype)


def create_repository(location: Location, layout: Layout, experiment: Mapping[str, Any]) -> None:
    """Make a store: it appears there whole, or not at all.

    Raises:
        StoreExistsError: something is there already.
        StoreBusyError: another process is making it.
        StorageError: the storage refuses.
        StructureError: the record or the layout cannot be stored.
    """
    record = json_able(experiment, "experiment record")
    for name in ("name", "digest"):
        if not isinstance(record.get(name), str):
            raise StructureError(
                f"experiment record: expected a string {name!r}, got {record.get(name)!r}."
            )
    with (
        location.lock(wait=0.0),
        storage_errors(location, "create"),
        location.creating() as storage,
    ):
        repository = icechunk.Repository.open_or_create(storage, _configuration(layout))
        session = repository.writable_session(MAIN)
        if repository.lookup_snapshot(session.snapshot_id).parent_id is not None:
            raise StoreExistsError(location)
        root = zarr.create_group(
            session.store,
            attributes={
                "Conventions": CONVENTIONS,
                **json_able(layout.attrs, "layout attributes"),
                EXPERIMENT_ATTR: record,
                CYCLE_GROUP_ATTR: layout.cycle_group,
            },
        )
        for group in layout.groups:
            _create_group(root, group, layout)
        try:
            session.commit(f"create {record['name']}", {})
        except icechunk.ConflictError as error:
            raise StoreExistsError(location) from error


def open_repository(location: Location) -> icechunk.Repository:
    """Open the repository of a store; nothing is written.

    Raises:
        StoreNotFoundError: there is none.
        StorageError: the storage refuses.
    """
    require(location)
    with storage_errors(location, "open"):
        repository = icechunk.Repository.open(location.storage())
        tip = repository.lookup_snapshot(repository.lookup_branch(MAIN))
    if tip.parent_id is None:
        raise StoreNotFoundError(location)
    return repository


def read_tip(repository: icechunk.Repository, group: str | None = None, branch: str = MAIN) -> Tip:
    """Where the cycle group, or another group with a time axis, stands."""
    session = repository.readonly_session(branch)
    root = zarr.open_group(session.store, mode="r")
    name = group or str(root.attrs[CYCLE_GROUP_ATTR])
    path = f"{name}/{TIME}"
    if path not in root:
        raise StructureError(
            f"Group {name!r} has no time axis; the groups are {sorted(root.group_keys())}."
        )
    times = zarr.open_array(session.store, path=path, mode="r")
    cycles = times.shape[0]
    return Tip(
        snapshot_id=session.snapshot_id,
        cycles=cycles,
        last_time=int(np.asarray(times[-1])) if cycles else None,
        metadata=repository.lookup_snapshot(session.snapshot_id).metadata,
    )


def _configuration(layout: Layout) -> icechunk.RepositoryConfig:
    along_time = icechunk.ManifestSplitDimCondition.DimensionName(f"^{TIME}$")
    splitting = icechunk.ManifestSplittingConfig.from_dict(
        {
            icechunk.ManifestSplitCondition.AnyArray(): {
                along_time: layout.chunks.chunks_per_manifest
            }
        }
    )
    return icechunk.RepositoryConfig(manifest=icechunk.ManifestConfig(splitting=splitting))


def _create_group(root: zarr.Group, group: Group, layout: Layout) -> None:
    target = root.create_group(
        group.name, attributes=json_able(group.attrs, f"attributes of group {group.name!r}")
    )
    for coord in group.coords:
        _create_coordinate(target, coord, layout)
    if not group.variables:
        return
    target.create_array(
        TIME,
        shape=(0,),
        chunks=(layout.chunks.time_chunk,),
        dtype="int64",
        compressors=compressor(),
        attributes=dict(TIME_ATTRS),
        dimension_names=(TIME,),
    )
    for variable in group.variables:
        dtype = np.dtype(variable.dtype)
        shape = group.shape_per_time(variable)
        auxiliary = [
            c.name
            for c in group.coords
            if c.dims != (c.name,) and set(c.dims) <= set(variable.dims)
        ]
        fill_value = variable.fill_value
        target.create_array(
            variable.name,
            shape=(0, *shape),
            chunks=layout.chunks.along_time(shape, dtype.itemsize),
            dtype=dtype,
            fill_value=default_fill_value(dtype) if fill_value is None else fill_value,
            compressors=compressor(),
            attributes=json_able(
                {**variable.attrs, **({"coordinates": " ".join(auxiliary)} if auxiliary else {})},
                f"attributes of {group.name}/{variable.name}",
            ),
            dimension_names=variable.dims,
        )


def _create_coordinate(target: zarr.Group, coord: Coordinate, layout: Layout) -> None:
    values = coord.values
    text = values.dtype.kind in "US"
    array = target.create_array(
        coord.name,
        shape=values.shape,
        chunks=layout.chunks.whole(values.shape, values.dtype.itemsize),
        dtype=str if text else values.dtype,
        fill_value="" if text else default_fill_value(values.dtype),
        compressors=None if text else compressor(),
        attributes=json_able(coord.attrs, f"attributes of {coord.name!r}"),
        dimension_names=coord.dims,
    )
    array[...] = values.astype(object) if text else values
