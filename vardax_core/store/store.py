"""The experiment store: where an experiment's cycles are kept and read."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from vardax_core.store.errors import (
    ForeignExperimentError,
    SnapshotNotFoundError,
    StructureError,
)
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import Layout
from vardax_core.store.repository import (
    CYCLE_GROUP_ATTR,
    EXPERIMENT_ATTR,
    MAIN,
    CommitRecord,
    Tip,
    create_repository,
    open_repository,
    read_tip,
)
from vardax_core.store.writer import Writer, open_writer


class ExperimentStore:
    """A transactional store of one experiment in a local directory.

    Reading needs no lock and writes nothing; a reader sees the last published commit, whole.
    """

    def __init__(self, path: Path, repository: icechunk.Repository):
        self.path = path
        self._repository = repository

    @classmethod
    def create(
        cls, path: str | Path, layout: Layout, experiment: Mapping[str, Any]
    ) -> "ExperimentStore":
        """Make a store; it appears at `path` whole or not at all.

        Args:
            path: a directory that does not exist yet.
            layout: groups, variables and chunks.
            experiment: a record in JSON types with at least `name` and `digest` (that of the
                configuration). It is part of the content: keep dates and host names out of it.

        Raises:
            StoreExistsError: something is at `path`.
            StoreBusyError: another process is making the store.
            StructureError: the record or an attribute has no JSON form.
            StorageError: the file system refuses.
        """
        create_repository(Path(path), layout, experiment)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, expected_digest: str | None = None) -> "ExperimentStore":
        """Open a store.

        Args:
            path: its directory.
            expected_digest: digest of the configuration that the caller works with.

        Raises:
            StoreNotFoundError: there is no store at `path`.
            ForeignExperimentError: the store's digest is another than `expected_digest`.
            StorageError: the file system refuses.
        """
        store = cls(Path(path), open_repository(Path(path)))
        record = store.experiment
        if expected_digest is not None and record["digest"] != expected_digest:
            raise ForeignExperimentError(
                store.path, record["name"], expected=expected_digest, got=record["digest"]
            )
        return store

    @property
    def experiment(self) -> dict[str, Any]:
        """The record of the experiment that the store was created with."""
        attrs: dict[str, Any] = self.root().attrs.asdict()
        return dict(attrs[EXPERIMENT_ATTR])

    @property
    def cycle_group(self) -> str:
        """The group whose time steps are the cycles."""
        return str(self.root().attrs[CYCLE_GROUP_ATTR])

    def session(self, as_of: str | None = None) -> icechunk.Session:
        """A read-only icechunk session; `session.store` is a zarr store for any zarr reader.

        Args:
            as_of: a snapshot identifier from `history`; None for the last published one.

        Raises:
            SnapshotNotFoundError: there is no such snapshot.
            StorageError: the file system refuses.
        """
        with storage_errors(self.path, "read"):
            if as_of is None:
                return self._repository.readonly_session(MAIN)
            if as_of not in {record.snapshot_id for record in self.history()}:
                raise SnapshotNotFoundError(self.path, as_of)
            return self._repository.readonly_session(snapshot_id=as_of)

    def root(self, as_of: str | None = None) -> zarr.Group:
        """The root group, read-only; see `session`."""
        session = self.session(as_of)
        with storage_errors(self.path, "read"):
            return zarr.open_group(session.store, mode="r")

    def tip(self, group: str | None = None) -> Tip:
        """Where the store stands: its cycles, or the time steps of `group`.

        Raises:
            StructureError: `group` has no time axis.
            StorageError: the file system refuses.
        """
        with storage_errors(self.path, "read"):
            return read_tip(self._repository, group)

    def dataset(self, group: str, *, as_of: str | None = None, chunks: Any = None) -> xr.Dataset:
        """One group with decoded times; values are read when they are used.

        Args:
            group: its name.
            as_of: a snapshot identifier from `history`; None for the last published one.
            chunks: as in `xarray.open_zarr`; None for no dask, {} for the stored chunks.

        Raises:
            StructureError: there is no such group.
            SnapshotNotFoundError: there is no such snapshot.
            StorageError: the file system refuses.
        """
        session = self.session(as_of)
        with storage_errors(self.path, "read"):
            known = sorted(zarr.open_group(session.store, mode="r").group_keys())
            if group not in known:
                raise StructureError(f"{self.path} has no group {group!r}; it has {known}.")
            return xr.open_zarr(session.store, group=group, consolidated=False, chunks=chunks)

    def state(self) -> dict[str, np.ndarray] | None:
        """What the next cycle needs, as the last commit left it; None before the first."""
        root = self.root()
        with storage_errors(self.path, "read"):
            if "state" not in root:
                return None
            group = zarr.open_group(root.store, path="state", mode="r")
            arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        return arrays or None

    def history(self) -> list[CommitRecord]:
        """The commits of the store, newest first; the last one created it."""
        with storage_errors(self.path, "read"):
            return [
                CommitRecord(info.id, info.written_at, info.message, info.metadata)
                for info in self._repository.ancestry(branch=MAIN)
                if info.parent_id is not None
            ]

    def writer(
        self, *, wait: float = 0.0, before_publish: Callable[[], None] | None = None
    ) -> AbstractContextManager[Writer]:
        """The writer of the store, which holds its lock until the `with` block ends.

        Args:
            wait: seconds to wait for another writer to end.
            before_publish: called when a commit is written but not yet visible.

        Raises:
            StoreBusyError: another process is writing, on entering the block.
            StorageError: the file system refuses.
        """
        return open_writer(self.path, wait, before_publish)
