"""What a store holds, at a glance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from vardax_core.store.experiment import OBSERVATIONS
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import TIME
from vardax_core.store.location import Location
from vardax_core.store.repository import dimensions, dtype_name, instant
from vardax_core.store.store import ExperimentStore

METHOD = "method"
"""Commit metadata key: name of the analysis method."""
MODEL_VERSION = "model_version"
"""Commit metadata key: version of the trained model."""


@dataclass(frozen=True)
class VariableSummary:
    """One array; `size` is uncompressed, in bytes."""

    name: str
    sizes: Mapping[str, int]
    dtype: str
    units: str | None
    long_name: str | None
    size: int


@dataclass(frozen=True)
class GroupSummary:
    """One group; `first` and `last` are the ends of its time axis."""

    name: str
    first: np.datetime64 | None
    last: np.datetime64 | None
    variables: tuple[VariableSummary, ...]


@dataclass(frozen=True)
class StoreSummary:
    """A whole store; sizes in bytes, `size` uncompressed.

    `method` and `model_version` are those of the last commit that names them; `observations` is
    the store that holds the observations where it is another one, `counted` what `cycles` are.
    """

    location: Location
    observations: Location | None
    experiment: Mapping[str, Any]
    snapshot_id: str
    commits: int
    counted: str
    cycles: int
    first: np.datetime64 | None
    last: np.datetime64 | None
    method: str | None
    model_version: str | None
    size: int
    size_on_disk: int
    groups: tuple[GroupSummary, ...]


def summarize(store: ExperimentStore, *, as_of: str | None = None) -> StoreSummary:
    """Describe a store; reads metadata and times only.

    Arguments:
        store: what to describe; its observations are described with it.
        as_of: a snapshot identifier; None for what readers have now. The size on disk is always
            today's.

    Raises:
        SnapshotNotFoundError: there is no such snapshot.
        StorageError: the file system refuses.
    """
    found, history = store.groups(as_of), store.history(as_of)
    kept = store.observations

    def latest(key: str) -> str | None:
        return next((str(r.metadata[key]) for r in history if r.metadata.get(key)), None)

    with storage_errors(store.location, "read"):
        groups = tuple(_group(name, group) for name, group in found.items())
        on_disk = store.location.size()
    cycle_group = next(g for g in groups if g.name == store.cycle_group)
    return StoreSummary(
        location=store.location,
        observations=None if kept is store else kept.location,
        experiment=store.experiment,
        snapshot_id=history[0].snapshot_id,
        commits=len(history),
        counted="times" if store.cycle_group == OBSERVATIONS else "cycles",
        cycles=next(v.sizes[TIME] for v in cycle_group.variables if v.name == TIME),
        first=cycle_group.first,
        last=cycle_group.last,
        method=latest(METHOD),
        model_version=latest(MODEL_VERSION),
        size=sum(v.size for g in groups for v in g.variables),
        size_on_disk=on_disk,
        groups=groups,
    )


def render(summary: StoreSummary) -> str:
    """A plain-text tree of a summary."""
    lines = [
        f"{summary.location}",
        f"  experiment  {summary.experiment['name']} ({summary.experiment['digest'][:12]})",
        f"  {summary.counted:<10}  {summary.cycles}{_period(summary.first, summary.last)}",
        *([f"  observed    in {summary.observations}"] if summary.observations else []),
        f"  method      {summary.method or '-'}",
        f"  model       {summary.model_version or '-'}",
        f"  size        {_size(summary.size_on_disk)} on disk, {_size(summary.size)} uncompressed, "
        f"{summary.commits} commits, at {summary.snapshot_id}",
    ]
    for group in summary.groups:
        last_group = group is summary.groups[-1]
        lines.append(
            f"{'└' if last_group else '├'}── {group.name}{_period(group.first, group.last)}"
        )
        for variable in group.variables:
            stem = f"{' ' if last_group else '│'}   "
            branch = "└" if variable is group.variables[-1] else "├"
            dims = ", ".join(f"{dim} {n}" for dim, n in variable.sizes.items())
            units = f" [{variable.units}]" if variable.units else ""
            lines.append(
                f"{stem}{branch}── {variable.name} ({dims}) {variable.dtype}{units} "
                f"{_size(variable.size)}"
            )
    return "\n".join(lines)


def _group(name: str, group: zarr.Group) -> GroupSummary:
    arrays = dict(sorted(group.arrays()))
    first = last = None
    if TIME in arrays and arrays[TIME].shape[0]:
        first, last = (instant(int(np.asarray(arrays[TIME][i]))) for i in (0, -1))
    return GroupSummary(name, first, last, tuple(_variable(n, a) for n, a in arrays.items()))


def _variable(name: str, array: zarr.Array) -> VariableSummary:
    attrs: dict[str, Any] = array.attrs.asdict()
    return VariableSummary(
        name=name,
        sizes=dict(zip(dimensions(array), array.shape, strict=True)),
        dtype=dtype_name(array),
        units=attrs.get("units"),
        long_name=attrs.get("long_name"),
        size=int(array.nbytes),
    )


def _period(first: np.datetime64 | None, last: np.datetime64 | None) -> str:
    return "" if first is None else f", {first} to {last}"


def _size(n_bytes: int) -> str:
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
