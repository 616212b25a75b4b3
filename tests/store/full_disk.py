"""Fills the small file system at sys.argv[1] in the middle of an append."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import twin

from vardax_core.store import ExperimentStore, StorageError, content_digest
from vardax_core.store.files import list_files

WIDE = 2000
"""State size that makes a cycle about 80 kB of incompressible numbers."""


def main(disk):
    path = disk / "store"
    whole = twin.create(disk / "whole", n_state=WIDE)
    with whole.writer() as writer:
        twin.append(writer, 0, 8, n_state=WIDE)
    store = twin.create(path, n_state=WIDE)
    with store.writer() as writer:
        twin.append(writer, 0, 4, n_state=WIDE)
    before, files = content_digest(store), list_files(path)

    filler = disk / "filler"
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(room - 150_000))
    says = rf"{path}: No space left on device\. Cycles committed earlier are safe"
    with pytest.raises(StorageError, match=says) as caught, store.writer() as writer:
        twin.append(writer, 4, 8, n_state=WIDE)
    assert caught.value.errno == errno.ENOSPC
    store = ExperimentStore.open(path)
    assert store.tip().cycles == 4
    assert content_digest(store) == before
    assert list_files(path) == files, "the failed commit left files behind"

    filler.unlink()
    with store.writer() as writer:
        twin.append(writer, 4, 8, n_state=WIDE)
    assert content_digest(store) == content_digest(whole)
    stage_on_a_full_disk(store, disk)
    print("recovered")


def stage_on_a_full_disk(store, disk):
    """One who has staged what fits is not hurt by one whose rows do not fit."""
    groups, times, _ = twin.segment(8, 16, n_state=WIDE)
    store.branches.start("work")
    work = store.on_branch("work")
    with work.writer() as writer:
        writer.grow(list(groups), times, metadata={})
    pieces = [
        [(times[part], {g: {n: v[part] for n, v in vs.items()} for g, vs in groups.items()})]
        for part in (slice(0, 4), slice(4, 8))
    ]
    filler = disk / "filler"
    with work.staged(pieces[0], put={}) as fitting:
        files = list_files(store.path)
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(bytes(max(0, room - 150_000)))
        with pytest.raises(StorageError) as caught, work.staged(pieces[1], put={}):
            pass
        assert caught.value.errno == errno.ENOSPC
        assert files <= list_files(store.path)
        filler.unlink()
        with work.writer() as writer:
            writer.commit(fitting, metadata={})
    with work.staged(pieces[1], put={}) as rest, work.writer() as writer:
        writer.commit(rest, metadata={})
    store.branches.publish("work")
    alike = twin.create(disk / "alike", n_state=WIDE)
    with alike.writer() as writer:
        twin.append(writer, 0, 16, n_state=WIDE)
    assert np.array_equal(
        store.dataset("analysis")["t2m"].values, alike.dataset("analysis")["t2m"].values
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
