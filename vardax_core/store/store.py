"""The experiment store: where an experiment's cycles are kept and read."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from vardax_core.store.branches import Branches
from vardax_core.store.errors import (
    BranchError,
    ForeignExperimentError,
    ObservationsNotFoundError,
    SnapshotNotFoundError,
    StoreNotFoundError,
    StructureError,
)
from vardax_core.store.experiment import OBSERVED
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import TIME, Coordinate, Layout
from vardax_core.store.location import Location, location_of
from vardax_core.store.repository import (
    CYCLE_GROUP_ATTR,
    EXPERIMENT_ATTR,
    MAIN,
    CommitRecord,
    Tip,
    create_repository,
    dimensions,
    dtype_name,
    open_repository,
    read_tip,
)
from vardax_core.store.staging import Piece, Staged, staged
from vardax_core.store.validate import WholeArrays
from vardax_core.store.writer import Writer, open_writer

OBSERVATION_STORE = "observation_store"
"""Name in the record of an experiment: the observation store in the same folder. A record without
it is of a store that holds its observations itself."""
MADE_FROM = "observations"
"""Commit metadata key: snapshot of the observation store that cycles were made from."""


class ExperimentStore:
    """A transactional store of one experiment or of observations, in a local directory or in S3.

    Reading needs no lock and writes nothing; a reader sees the last published commit, whole. The
    groups of observations are read as if they were here, wherever they are kept.

    Attributes:
        location: where it is.
        branch: what this object reads and writes; `main` is what readers have.
    """

    def __init__(self, location: Location, repository: icechunk.Repository, branch: str = MAIN):
        self.location = location
        self.branch = branch
        self._repository = repository
        self._observations: ExperimentStore | None = None

    @classmethod
    def create(
        cls, path: str | Path | Location, layout: Layout, experiment: Mapping[str, Any]
    ) -> "ExperimentStore":
        """Make a store; it appears at `path` whole or not at all.

        Arguments:
            path: a directory that does not exist yet, or `s3://bucket/prefix`.
            layout: groups, variables and chunks.
            experiment: a record in JSON types with at least `name` and `digest` (that of the
                configuration). It is part of the content: keep dates and host names out of it.

        Raises:
            StoreExistsError: something is at `path`.
            StoreBusyError: another process is making the store.
            StructureError: the record or an attribute has no JSON form.
            StorageError: the file system refuses.
        """
        create_repository(location_of(path), layout, experiment)
        return cls.open(path)

    @classmethod
    def open(
        cls,
        path: str | Path | Location,
        *,
        expected_digest: str | None = None,
    ) -> "ExperimentStore":
        """Open a store.

        Arguments:
            path: its directory, or `s3://bucket/prefix`.
            expected_digest: digest of the configuration that the caller works with.

        Raises:
            StoreNotFoundError: there is no store at `path`.
            ForeignExperimentError: the store's digest is another than `expected_digest`.
            StorageError: the file system refuses.
        """
        location = location_of(path)
        store = cls(location, open_repository(location))
        record = store.experiment
        if expected_digest is not None and record["digest"] != expected_digest:
            raise ForeignExperimentError(
                store.location, record["name"], expected_digest, record["digest"]
            )
        return store

    @property
    def path(self) -> Path:
        """The directory of a local store.

        Raises:
            LocationError: it is not local.
        """
        return self.location.directory()

    @property
    def experiment(self) -> dict[str, Any]:
        """The record of the experiment that the store was created with."""
        attrs: dict[str, Any] = self.root().attrs.asdict()
        return dict(attrs[EXPERIMENT_ATTR])

    @property
    def observations(self) -> "ExperimentStore":
        """The store that holds the observations: one for all methods, or this one itself.

        Raises:
            ObservationsNotFoundError: it is not where the record of the experiment says.
        """
        if self._observations is None:
            name = self.experiment.get(OBSERVATION_STORE)
            if name is None:
                return self
            place = self.location.beside(str(name))
            try:
                self._observations = ExperimentStore.open(place)
            except StoreNotFoundError as error:
                raise ObservationsNotFoundError(self.location, place) from error
        return self._observations

    def observations_at(self, as_of: str | None) -> str | None:
        """The snapshot of the observations that belongs to one of this store: that which the last
        cycles before it were made from, or what readers had when it was written.

        Raises:
            SnapshotNotFoundError: there is no such snapshot.
        """
        if as_of is None or self.observations is self:
            return as_of
        self.session(as_of)
        history = self.history(as_of)
        made_from = (record.metadata.get(MADE_FROM) for record in history)
        named = next(filter(None, made_from), None)
        return str(named) if named else self.observations.snapshot_at(history[0].written_at)

    def groups(self, as_of: str | None = None) -> dict[str, zarr.Group]:
        """All groups by name, in alphabetical order, with those of the observations.

        Raises:
            ObservationsNotFoundError: see `observations`.
            SnapshotNotFoundError, StorageError: see `session`.
        """
        found = dict(self.root(as_of).groups())
        kept = self.observations
        if kept is not self:
            found |= dict(kept.root(self.observations_at(as_of)).groups())
        return dict(sorted(found.items()))

    def _holder(self, group: str) -> "ExperimentStore":
        return self.observations if group in OBSERVED else self

    @property
    def cycle_group(self) -> str:
        """The group whose time steps are the cycles."""
        return str(self.root().attrs[CYCLE_GROUP_ATTR])

    def session(self, as_of: str | None = None) -> icechunk.Session:
        """A read-only icechunk session; `session.store` is a zarr store for any zarr reader.

        Arguments:
            as_of: a snapshot identifier from `history`; None for the last published one.

        Raises:
            SnapshotNotFoundError: there is no such snapshot.
            StorageError: the file system refuses.
        """
        with storage_errors(self.location, "read"):
            if as_of is None:
                return self._repository.readonly_session(self.branch)
            try:
                # The snapshot without a parent is the empty one before the store was made.
                made = self._repository.lookup_snapshot(as_of).parent_id is not None
            except icechunk.IcechunkError:
                made = False
            if not made:
                raise SnapshotNotFoundError(self.location, as_of)
            return self._repository.readonly_session(snapshot_id=as_of)

    def root(self, as_of: str | None = None) -> zarr.Group:
        """The root group, read-only; see `session`."""
        session = self.session(as_of)
        with storage_errors(self.location, "read"):
            return zarr.open_group(session.store, mode="r")

    def tip(self, group: str | None = None) -> Tip:
        """Where the store stands: its cycles, or the time steps of `group`.

        Of a group of observations the snapshot is that of the store that holds them.

        Raises:
            StructureError: `group` has no time axis.
            StorageError: the file system refuses.
        """
        if group is not None and self._holder(group) is not self:
            return self.observations.tip(group)
        with storage_errors(self.location, "read"):
            return read_tip(self._repository, group, self.branch)

    def dataset(self, group: str, *, as_of: str | None = None, chunks: Any = None) -> xr.Dataset:
        """One group with decoded times; values are read when they are used.

        Arguments:
            group: its name.
            as_of: a snapshot identifier from `history`; None for the last published one.
            chunks: as in `xarray.open_zarr`; None for no dask, {} for the stored chunks.

        Raises:
            StructureError: there is no such group.
            SnapshotNotFoundError: there is no such snapshot.
            StorageError: the file system refuses.
        """
        if self._holder(group) is not self:
            return self.observations.dataset(
                group, as_of=self.observations_at(as_of), chunks=chunks
            )
        session = self.session(as_of)
        with storage_errors(self.location, "read"):
            known = sorted(zarr.open_group(session.store, mode="r").group_keys())
            if group not in known:
                raise StructureError(f"{self.location} has no group {group!r}; it has {known}.")
            return xr.open_zarr(session.store, group=group, consolidated=False, chunks=chunks)

    def coordinates(self, group: str) -> dict[str, Coordinate]:
        """The arrays of a group without a time axis, as they were declared; those along which the
        others lie first.

        Raises:
            StructureError: there is no such group.
            StorageError: the file system refuses.
        """
        known = self.groups()
        if group not in known:
            raise StructureError(f"{self.location} has no group {group!r}; it has {sorted(known)}.")
        found = []
        with storage_errors(self.location, "read"):
            for name, array in known[group].arrays():
                dims, values = dimensions(array), np.asarray(array[...])
                if TIME not in dims:
                    text = dtype_name(array) == "string"
                    values = values.astype(str) if text else values
                    found.append(Coordinate(name, dims, values, array.attrs.asdict()))
        found.sort(key=lambda one: (one.dims != (one.name,), one.name))
        return {one.name: one for one in found}

    def state(self) -> dict[str, np.ndarray] | None:
        """What the next cycle needs, as the last commit left it; None before the first."""
        return self.arrays("state") or None

    def arrays(
        self,
        group: str,
        *,
        without: str | None = None,
        only: str = "",
        names: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """The arrays of a group without a time axis, read; empty where there is no such group.

        Arguments:
            group: its name.
            without: arrays whose names begin so are left out.
            only: arrays whose names begin so are read.
            names: of these those that are there are read, and none else is looked at.
        """
        if self._holder(group) is not self:
            return self.observations.arrays(group, without=without)
        root = self.root()
        with storage_errors(self.location, "read"):
            if group not in root:
                return {}
            found = zarr.open_group(root.store, path=group, mode="r")
            arrays = found.arrays() if names is None else _named(found, names)
            return {
                name: np.asarray(array[...])
                for name, array in arrays
                if name.startswith(only) and (without is None or not name.startswith(without))
            }

    def history(self, as_of: str | None = None) -> list[CommitRecord]:
        """The commits up to a snapshot, newest first; the last one created the store."""
        with storage_errors(self.location, "read"):
            start = as_of or self._repository.lookup_branch(self.branch)
            return [
                CommitRecord(info.id, info.written_at, info.message, info.metadata)
                for info in self._repository.ancestry(snapshot_id=start)
                if info.parent_id is not None
            ]

    def snapshot_at(self, instant: datetime) -> str:
        """The snapshot that readers had at an instant, for `as_of`.

        Raises:
            SnapshotNotFoundError: the store was not there yet.
        """
        for record in self.history():
            if record.written_at <= instant:
                return record.snapshot_id
        raise SnapshotNotFoundError(self.location, instant.isoformat())

    def snapshot_of(self, text: str) -> str:
        """The snapshot that a text names: an ISO instant (UTC if it does not say) or itself.

        Raises:
            SnapshotNotFoundError: there is none.
        """
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            if text not in {record.snapshot_id for record in self.history()}:
                raise SnapshotNotFoundError(self.location, text) from None
            return text
        return self.snapshot_at(instant if instant.tzinfo else instant.replace(tzinfo=UTC))

    @property
    def branches(self) -> Branches:
        """The work branches of the store."""
        return Branches(self.location, self._repository)

    def on_branch(self, name: str) -> "ExperimentStore":
        """The store as seen and written on a work branch.

        Raises:
            BranchError: there is no such branch.
        """
        if name not in self.branches.names():
            raise BranchError(
                f"{self.location} has no branch {name!r}; it has {self.branches.names()}. Start "
                "it with store.branches.start."
            )
        return ExperimentStore(self.location, self._repository, name)

    def writer(
        self, *, wait: float = 0.0, before_publish: Callable[[], None] | None = None
    ) -> AbstractContextManager[Writer]:
        """The writer of the store, which holds its lock until the `with` block ends.

        Arguments:
            wait: seconds to wait for another writer to end.
            before_publish: called when a commit is written but not yet visible.

        Raises:
            StoreBusyError: another process is writing, on entering the block.
            StorageError: the file system refuses.
        """
        return open_writer(self.location, self.branch, wait, before_publish)

    def staged(
        self, pieces: Sequence[Piece], *, put: Mapping[str, WholeArrays]
    ) -> AbstractContextManager[Staged]:
        """What `Writer.fill` writes, encoded and written without the lock, for `Writer.commit`.

        Raises:
            StructureError, OverwriteError: see `Writer.fill`.
            StorageError: the file system refuses.
        """
        return staged(self.location, self._repository, self.branch, pieces, put)


def _named(group: zarr.Group, names: Sequence[str]) -> list[tuple[str, zarr.Array]]:
    found = ((name, group.get(name)) for name in names)
    return [(name, array) for name, array in found if isinstance(array, zarr.Array)]
