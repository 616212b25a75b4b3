"""Rows of a work branch that lie in the storage before the lock is taken to commit them."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.core.sync import sync

from vardax_core.store.errors import StorageError, StructureError
from vardax_core.store.files import storage_errors
from vardax_core.store.location import Location
from vardax_core.store.repository import instant
from vardax_core.store.rows import write
from vardax_core.store.validate import Growth, WholeArrays, check_fill, check_whole

Piece = tuple[np.ndarray, Mapping[str, Mapping[str, np.ndarray]]]
"""Consecutive times in minutes and, by group, all its variables at them."""
COLLECTION_WAIT = 60.0
"""Seconds to wait for a writer before the objects of a failed commit are given up."""
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Staged:
    """Rows whose objects are written and that no snapshot names yet.

    Attributes:
        pieces, put: what is written, see `Writer.fill`.
        session: names their objects.
        changes: what a commit of them says.
    """

    pieces: Sequence[Piece]
    put: Mapping[str, WholeArrays]
    session: icechunk.Session
    changes: list[str]

    def on_tip(self) -> icechunk.Session | None:
        """The session on what the branch has by now; None where others wrote the same objects.

        Raises:
            IcechunkError: the storage refuses.
        """
        try:
            self.session.rebase(icechunk.ConflictDetector())
        except icechunk.RebaseFailedError:
            return None
        return self.session


@contextmanager
def staged(
    location: Location,
    repository: icechunk.Repository,
    branch: str,
    pieces: Sequence[Piece],
    put: Mapping[str, WholeArrays],
) -> Iterator[Staged]:
    """Encode and write rows and arrays of a work branch without its lock, for `Writer.commit`.

    Their objects are not collected as garbage until the block ends.

    Raises:
        StructureError, OverwriteError: see `Writer.fill`.
        StorageError: the file system refuses.
    """
    try:
        with location.staging():
            with storage_errors(location, "write to"):
                session = repository.writable_session(branch)
                known = dict(zarr.open_group(session.store, mode="r+").groups())
                growths, changes = check_pieces(location, known, pieces)
                sync(write(session.store, growths, {}, check_put(location, known, put)))
            yield Staged(pieces, put, session, changes)
    except StorageError as error:
        if is_full(error):
            with location.lock(COLLECTION_WAIT):
                drop_unreferenced(location)
        raise


def check_pieces(
    location: Location, known: Mapping[str, zarr.Group], pieces: Sequence[Piece]
) -> tuple[list[Growth], list[str]]:
    """The rows of every array, and a line of what is filled.

    Raises:
        StructureError: unknown groups, or see `check_fill`.
        OverwriteError: see `check_fill`.
    """
    names = list(dict.fromkeys(name for _, groups in pieces for name in groups))
    check_names(location, known, names)
    growths: list[Growth] = []
    for name in names:
        growths += check_fill(
            known[name],
            name,
            [(times, groups[name]) for times, groups in pieces if name in groups],
        )
    return growths, [
        f"{instant(int(times[0]))} to {instant(int(times[-1]))} filled" for times, _ in pieces
    ]


def check_put(
    location: Location, known: Mapping[str, zarr.Group], put: Mapping[str, WholeArrays]
) -> dict[str, dict[str, xr.DataArray]]:
    """The arrays of groups without a time axis.

    Raises:
        StructureError: unknown groups, or see `check_whole`.
    """
    check_names(location, known, list(put))
    return {name: check_whole(known[name], name, arrays) for name, arrays in put.items()}


def check_names(location: Location, known: Mapping[str, zarr.Group], names: Sequence[str]) -> None:
    """Refuse groups that a store does not have.

    Raises:
        StructureError: naming them and those that it has.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise StructureError(
            f"{location} has no groups {unknown}; it has {sorted(known)}. Correct the "
            "names, or declare the groups in the layout of a new store."
        )


def is_full(error: StorageError) -> bool:
    """Whether a disk or a quota is full."""
    return error.errno in _FULL_DISK


def drop_unreferenced(location: Location) -> None:
    """Give back the space that a failed commit took, unless others have objects staged.

    The caller holds the writer lock.
    """
    with location.no_staging() as alone, suppress(icechunk.IcechunkError):
        if alone:
            icechunk.Repository.open(location.storage()).garbage_collect(datetime.now(UTC))
