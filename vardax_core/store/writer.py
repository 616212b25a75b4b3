"""The one writer of a store: every append is one commit, published by compare-and-swap."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.core.sync import sync

from vardax_core.store.errors import OverwriteError, StorageError, StructureError, SupersededError
from vardax_core.store.experiment import OBSERVATIONS
from vardax_core.store.files import storage_errors
from vardax_core.store.location import Location
from vardax_core.store.repository import (
    CYCLE_GROUP_ATTR,
    MAIN,
    Tip,
    instant,
    json_able,
    open_repository,
    read_tip,
)
from vardax_core.store.rows import write
from vardax_core.store.staging import (
    Piece,
    Staged,
    check_names,
    check_pieces,
    check_put,
    drop_unreferenced,
    is_full,
)
from vardax_core.store.validate import (
    Growth,
    Times,
    WholeArrays,
    check_append,
    check_growth,
    check_whole,
)
from vardax_core.store.widen import widen


class Writer:
    """Appends to a store; made by `ExperimentStore.writer`, which holds the lock meanwhile.

    A commit is written as a snapshot that no branch names, forced to the disk, and published by
    moving the branch (for readers `main`) onto it if the branch is still where the commit
    started. A process that dies before that leaves readers with the store as it was and some
    unreferenced files.
    """

    def __init__(self, location: Location, branch: str, before_publish: Callable[[], None] | None):
        self._location = location
        self._branch = branch
        self._repository = open_repository(location)
        self._before_publish = before_publish

    def append(
        self,
        groups: Mapping[str, Mapping[str, np.ndarray]],
        times: Times,
        *,
        state: Mapping[str, np.ndarray] | None = None,
        replace: Mapping[str, WholeArrays] | None = None,
        widths: Mapping[str, int] | None = None,
        revise: Sequence[Piece] = (),
        metadata: Mapping[str, Any],
    ) -> Tip:
        """Add time steps to some groups and rewrite others whole, all in one commit.

        Arguments:
            groups: for every group appended to, all its variables with the new time steps on the
                leading axis.
            times: int64 minutes since `MINUTES_EPOCH`, for all groups or by group.
            state: what the next cycle needs; replaces the `state` group.
            replace: for every group to be replaced, its arrays.
            widths: least length of some dimensions but time, which grow to it wherever they are.
            revise: of an observation store, consecutive times that it has and, by group, all
                variables at them as they are from now on; snapshots before keep what was.
            metadata: what made this commit (JSON types).

        Returns:
            Where the cycle group stands after the commit. Without any time step or array to write
            there is no commit.

        Raises:
            StructureError: names, shapes, dtypes or metadata do not fit; nothing was written.
            OverwriteError: times do not lie after the stored ones, or cycles would be revised;
                nothing was written.
            SupersededError: the store moved on meanwhile; nothing was published.
            StorageError: the file system refused; nothing was published.
        """
        metadata = json_able(metadata, "commit metadata")
        replace = {**(replace or {}), **({} if state is None else {"state": state})}
        with storage_errors(self._location, "read"):
            session = self._repository.writable_session(self._branch)
            root, changes = zarr.open_group(session.store, mode="r+"), list[str]()
            known = dict(root.groups())
            check_names(self._location, known, [*groups, *replace])
            if revise and str(root.attrs[CYCLE_GROUP_ATTR]) != OBSERVATIONS:
                self._refuse_main("revised")
            for dim, size in (widths or {}).items():
                if widen(known.values(), dim, size):
                    changes.append(f"{dim} widened to {size}")
            revised, words = check_pieces(self._location, known, revise)
            growths, more = _check_groups(known, groups, times)
            growths, changes = revised + growths, [*changes, *words, *more]
            whole = {
                name: check_whole(known[name], name, arrays) for name, arrays in replace.items()
            }
        changes += [f"{name} replaced" for name in whole]
        return self._commit(session, growths, whole, changes, metadata)

    def grow(self, names: Sequence[str], times: np.ndarray, *, metadata: Mapping[str, Any]) -> Tip:
        """Lengthen the time axis of some groups on a work branch, their values to be filled in.

        Raises:
            OverwriteError: on `main`, whose readers would see cycles without values; or times do
                not lie after the stored ones.
            SupersededError, StorageError: see `append`.
        """
        self._refuse_main("grown without values")
        metadata = json_able(metadata, "commit metadata")
        with storage_errors(self._location, "read"):
            session = self._repository.writable_session(self._branch)
            known = dict(zarr.open_group(session.store, mode="r+").groups())
            check_names(self._location, known, names)
            growths = [g for name in names for g in check_growth(known[name], name, times)]
        changes = [f"{name} grown by {len(times)}" for name in names]
        return self._commit(session, growths, {}, changes, metadata)

    def fill(
        self,
        pieces: Sequence[Piece],
        *,
        put: Mapping[str, WholeArrays] | None = None,
        replace: Mapping[str, WholeArrays] | None = None,
        metadata: Mapping[str, Any],
    ) -> Tip:
        """Write values at times that a work branch has already, all in one commit.

        Arguments:
            pieces: consecutive times in minutes, at least one, and by group all its variables
                at them.
            put: for some groups without a time axis, arrays to write beside those they have.
            replace, metadata: see `append`.

        Raises:
            OverwriteError: on `main`, or the branch has not these times one after another.
            StructureError, SupersededError, StorageError: see `append`.
        """
        self._refuse_main("rewritten")
        metadata = json_able(metadata, "commit metadata")
        put, replace = put or {}, replace or {}
        with storage_errors(self._location, "read"):
            session = self._repository.writable_session(self._branch)
            known = dict(zarr.open_group(session.store, mode="r+").groups())
            growths, changes = check_pieces(self._location, known, pieces)
            beside = check_put(self._location, known, put)
            whole = check_put(self._location, known, replace)
        changes += [f"{name} replaced" for name in whole]
        return self._commit(session, growths, whole, changes, metadata, beside)

    def commit(self, staged: Staged, *, metadata: Mapping[str, Any]) -> None:
        """Commit what was written without the lock, as `fill` does.

        Where others wrote the same objects meanwhile, it is written anew.

        Raises:
            SupersededError, StorageError: see `append`.
        """
        with storage_errors(self._location, "read"):
            session = staged.on_tip()
        if session is None:
            self.fill(staged.pieces, put=staged.put, metadata=metadata)
        else:
            self._publish_changes(session, staged.changes, json_able(metadata, "commit metadata"))

    def rewrite(
        self, edit: Callable[[zarr.Group], None], *, message: str, metadata: Mapping[str, Any]
    ) -> Tip:
        """Change a work branch by a function of its root group, in one commit.

        Raises:
            OverwriteError: on `main`.
            SupersededError, StorageError: see `append`.
        """
        self._refuse_main("rewritten")
        metadata = json_able(metadata, "commit metadata")
        with storage_errors(self._location, "write to"):
            session = self._repository.writable_session(self._branch)
            edit(zarr.open_group(session.store, mode="r+"))
        return self._commit(session, [], {}, [message], metadata)

    def _refuse_main(self, what: str) -> None:
        if self._branch == MAIN:
            raise OverwriteError(
                f"{self._location}: cycles of {MAIN} are never {what}. Start a branch, write "
                "there, and publish it."
            )

    def _commit(
        self,
        session: icechunk.Session,
        growths: list[Growth],
        whole: Mapping[str, Mapping[str, xr.DataArray]],
        changes: list[str],
        metadata: dict[str, Any],
        beside: Mapping[str, Mapping[str, xr.DataArray]] | None = None,
    ) -> Tip:
        try:
            with storage_errors(self._location, "write to"):
                sync(write(session.store, growths, whole, beside or {}))
        except StorageError as error:
            self._make_room(error)
            raise
        if session.has_uncommitted_changes:
            self._publish_changes(session, changes, metadata)
        return self._tip()

    def _publish_changes(
        self, session: icechunk.Session, changes: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        base = session.snapshot_id
        try:
            with storage_errors(self._location, "write to"):
                snapshot = session.flush("; ".join(changes), metadata)
                self._location.make_durable()
            if self._before_publish is not None:
                self._before_publish()
            self._publish(base, snapshot)
        except StorageError as error:
            self._make_room(error)
            raise

    def _make_room(self, error: StorageError) -> None:
        if is_full(error):
            drop_unreferenced(self._location)

    def _tip(self) -> Tip:
        with storage_errors(self._location, "read"):
            return read_tip(self._repository, branch=self._branch)

    def _publish(self, base: str, snapshot: str) -> None:
        with storage_errors(self._location, "publish to"):
            try:
                self._repository.reset_branch(self._branch, snapshot, from_snapshot_id=base)
            except icechunk.IcechunkError as error:
                now = self._repository.lookup_branch(self._branch)
                if now != base:
                    raise SupersededError(self._location, base, now) from error
                raise
            self._location.make_durable()


@contextmanager
def open_writer(
    location: Location, branch: str, wait: float, before_publish: Callable[[], None] | None
) -> Iterator[Writer]:
    """Hold the writer lock and a writer."""
    with location.lock(wait):
        yield Writer(location, branch, before_publish)


def _check_groups(
    known: Mapping[str, zarr.Group], groups: Mapping[str, Mapping[str, np.ndarray]], times: Times
) -> tuple[list[Growth], list[str]]:
    growths: list[Growth] = []
    message: list[str] = []
    by_group = times if isinstance(times, Mapping) else dict.fromkeys(groups, times)
    if set(by_group) != set(groups):
        raise StructureError(
            f"times: expected the groups {sorted(groups)}, got {sorted(by_group)}."
        )
    for name, variables in groups.items():
        new = by_group[name]
        growth = check_append(known[name], name, variables, new)
        if len(new):
            growths += growth
            message.append(f"{name} +{len(new)} to {instant(int(new[-1]))}")
    return growths, message
