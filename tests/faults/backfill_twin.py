"""Run in a process of its own: the small twin in streams, killed at a moment or not at all.

`python backfill_twin.py ROOT STORES SECONDS` dies by SIGKILL so many seconds after it has begun to
commit; with a negative number it runs to the end.
"""

import sys
import threading
from pathlib import Path

from tests.experiments import small
from vardax_core.experiments import backfill as module
from vardax_core.experiments.assimilate import pending_cycles

STREAMS, OVERLAP = 3, 4
SEGMENT = 3


def experiment(root: Path, stores: str | None):
    return small.experiment_of(root, "etkf", stores=stores)


def backfill(root: Path, stores: str | None = None) -> None:
    made = experiment(root, stores)
    store = small.ingested_store(made)
    times = pending_cycles(made, store)
    if len(times):
        module.backfill(made, store, made.prepare(store), times, streams=STREAMS, overlap=OVERLAP)


def main(root: str, stores: str, seconds: float) -> None:
    small.shorten_segments(length=SEGMENT)
    if seconds >= 0:
        commit = module.Backfill._commit

        def armed(self, *arguments):
            module.Backfill._commit = commit
            threading.Timer(seconds, small.die).start()
            return commit(self, *arguments)

        module.Backfill._commit = armed
    backfill(Path(root), stores)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
