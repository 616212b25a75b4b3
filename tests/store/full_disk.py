"""Fills the small file system at sys.argv[1] in the middle of an append."""

import errno
import os
import sys
from pathlib import Path

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
    print("recovered")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
