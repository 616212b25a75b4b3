"""Fills the small file system at sys.argv[1] while an experiment is assimilated."""

import errno
import os
import sys
from pathlib import Path

import pytest
import small

from vardax_core.data import ingest
from vardax_core.store import StorageError, content_digest


def main(disk: Path) -> None:
    small.shorten_segments()
    whole, made = (small.experiment_of(disk / n, "climatology") for n in ("whole", "filled"))
    observed = ingest(made.recipe)
    store, other = (small.ingested_store(each, observed) for each in (made, whole))
    small.catch_up(whole, other)
    assert len(small.catch_up(made, store, "2000-01-03T18")) == 1
    before = content_digest(store)

    filler = disk / "filler"
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(room - 16_384))
    with pytest.raises(StorageError, match="No space left on device") as caught:
        small.catch_up(made, store)
    assert caught.value.errno == errno.ENOSPC
    assert made.open_store().tip().cycles == small.SEGMENT
    assert content_digest(made.open_store()) == before

    filler.unlink()
    small.catch_up(made, made.open_store())
    assert content_digest(made.open_store()) == content_digest(other)
    print("recovered")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
