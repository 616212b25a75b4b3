"""Makes cycles again with another reject list, and publishes them; dies where it is told to.

`python rerun_faults.py ROOT MOMENT` dies by SIGKILL at a moment, or not at all: `written`, before a
commit of the branch is published, `committed`, after one, and `renewed`, before the branch is. With
`begin` it makes what there was before. With
`full` ROOT is a small file system, which is filled while the branch is written.
"""

import errno
import os
import signal
import sys
from pathlib import Path

import pytest
import small

from vardax_core.data import ingest
from vardax_core.experiments.relist import relisting
from vardax_core.experiments.rerun import Rerun
from vardax_core.store import StorageError, Writer
from vardax_core.store.branches import Branches

SINCE = "2000-01-05T00:00Z"


def begin(root: Path):
    """The experiment, cycled, and a list that concerns its later half."""
    small.shorten_segments()
    made = small.experiment_of(root, "etkf")
    store = small.ingested_store(made, ingest(made.recipe))
    small.catch_up(made, store)
    os.environ["VARDAX_DATASETS_DIR"] = str(root / "datasets")
    small.write_recipe(root / "datasets")
    (root / "datasets" / "small" / "rejected.yaml").write_text(
        f"- {{platform: '3', from: '{SINCE}', reason: fouled, decided_by: me}}\n"
    )
    return made, store


def again(made, store) -> Rerun:
    asked = relisting(made, store, made.prepare(store))
    assert asked is not None
    return asked.rerun


def die(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(root: Path, moment: str) -> None:
    os.environ["VARDAX_DATASETS_DIR"] = str(root / "datasets")
    small.shorten_segments()
    made = small.experiment_of(root, "etkf")
    store = made.open_store()
    rerun = again(made, store)
    if moment == "written":
        Writer._publish = die
    if moment == "renewed":
        Branches.publish = die
    work = rerun.open_branch()
    if len(rerun.pending(work)):
        for _ in rerun.run(work):
            if moment == "committed":
                die()
    rerun.publish()


def full(disk: Path) -> None:
    made, store = begin(disk)
    before = store.tip().snapshot_id
    filler = disk / "filler"
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(room - 16_384))
    with pytest.raises(StorageError, match="No space left on device") as caught:
        again(made, store).finish()
    assert caught.value.errno == errno.ENOSPC
    assert made.open_store().tip().snapshot_id == before
    filler.unlink()
    rerun = again(made, made.open_store())
    rerun.finish()
    rerun.publish()
    assert relisting(made, made.open_store(), made.prepare(store)) is None
    print("recovered")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2] == "begin":
        begin(place)
    elif sys.argv[2] == "full":
        full(place)
    else:
        main(place, sys.argv[2])
