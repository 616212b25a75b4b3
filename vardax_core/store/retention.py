"""What is kept of old cycles, of old snapshots, and of objects that nothing names."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import icechunk
import numpy as np
import zarr

from vardax_core.store.errors import StoreError
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import TIME
from vardax_core.store.repository import dimensions
from vardax_core.store.store import ExperimentStore

MEMBER = "member"
THINNED = "thinned_before"
SAFE_AGE = timedelta(days=1)
"""A writer may hold objects that no snapshot names yet; none holds them for so long."""
BRANCH = "thin"
_BLOCK_BYTES = 64 * 2**20


class RetentionError(StoreError):
    """A wish that would lose what is in use or should be kept."""


@dataclass(frozen=True)
class Collected:
    """What `collect` removed.

    Attributes:
        snapshots: expired snapshots; they cannot be read by `as_of` any more.
        objects: objects deleted.
        bytes: their size.
    """

    snapshots: int
    objects: int
    bytes: int


def thin(store: ExperimentStore, before: np.datetime64, *, members: int) -> int:
    """Keep of the ensembles of old cycles the first members alone; the others become NaN.

    Mean and spread of the analysis, departures and verification sums stay as they are. The work
    is done on a branch and published in one step; space is freed by `collect`, once the snapshots
    that name the whole ensembles have expired.

    Arguments:
        store: the store.
        before: cycles of earlier times are thinned.
        members: how many stay, at least 1.

    Returns:
        The number of cycles thinned now.

    Raises:
        RetentionError: the last cycle would be thinned, from which the chain goes on, or no
            member would stay.
        SupersededError: a cycle was committed meanwhile; nothing was changed.
        StorageError: the storage refuses.
    """
    times = store.dataset(store.cycle_group)[TIME].values
    if members < 1 or (len(times) and before > times[-1]):
        raise RetentionError(
            f"{store.location}: members must be at least 1, got {members}, and cycles before "
            f"{before} hold the last one; leave that one whole."
        )
    record = store.root()[store.cycle_group].attrs
    done = np.datetime64(str(record.get(THINNED, "0000-01-01")))
    old = np.flatnonzero((times < before) & (times >= done))
    if not old.size:
        return 0
    if BRANCH in store.branches.names():
        store.branches.delete(BRANCH)
    store.branches.start(BRANCH)
    work = store.on_branch(BRANCH)
    with work.writer(wait=60.0) as writer:
        writer.rewrite(
            lambda root: _thin_groups(root, int(old[0]), int(old[-1]) + 1, members, before),
            message=f"ensembles before {before} thinned to {members} members",
            metadata={"kind": "thin", "members": members, "before": str(before)},
        )
    store.branches.publish(BRANCH, rewrite=True)
    return int(old.size)


def _thin_groups(
    root: zarr.Group, start: int, stop: int, members: int, before: np.datetime64
) -> None:
    for _, group in root.groups():
        for _, array in group.arrays():
            dims = dimensions(array)
            if dims[:2] == (TIME, MEMBER) and array.shape[1] > members:
                row = max(1, array.nbytes // max(1, array.shape[0]))
                step = array.chunks[0] * max(1, _BLOCK_BYTES // (row * array.chunks[0]))
                for first in range(start, stop, step):
                    array[first : min(stop, first + step), members:] = np.nan
                group.attrs[THINNED] = str(before)


def collect(store: ExperimentStore, *, keep: timedelta, now: datetime | None = None) -> Collected:
    """Expire old snapshots, and delete the objects that nothing names any more.

    The writer lock is held meanwhile, and nothing younger than `SAFE_AGE` is deleted, so that no
    writer on another machine loses what it has not committed yet.

    Arguments:
        store: the store.
        keep: for how long snapshots stay readable by `as_of`.
        now: the present; for tests.

    Raises:
        RetentionError: `keep` is shorter than `SAFE_AGE`, or the last commit lies in the future,
            so that the clock cannot be trusted.
        StoreBusyError, StorageError: see `ExperimentStore.writer`.
    """
    now = datetime.now(UTC) if now is None else now
    if keep < SAFE_AGE:
        raise RetentionError(
            f"{store.location}: keep {keep} is shorter than {SAFE_AGE}, within which a writer may "
            "be at work; keep longer."
        )
    newest = store.history()[0].written_at
    if newest > now:
        raise RetentionError(
            f"{store.location}: the last commit is of {newest}, but the clock says {now}; set the "
            "clock, then collect."
        )
    with store.location.lock(0.0), storage_errors(store.location, "collect garbage in"):
        repository = icechunk.Repository.open(store.location.storage())
        expired = repository.expire_snapshots(older_than=now - keep)
        found = repository.garbage_collect(now - keep)
    objects = (
        found.chunks_deleted
        + found.manifests_deleted
        + found.snapshots_deleted
        + found.attributes_deleted
        + found.transaction_logs_deleted
    )
    return Collected(len(expired), int(objects), int(found.bytes_deleted))
