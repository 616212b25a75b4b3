"""One commit of a group of streams to the work branch of a backfill."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vardax_core.experiments.stream_progress import STREAMS, Round, StreamProgress
from vardax_core.store import ExperimentStore, SupersededError
from vardax_core.store.staging import Piece, Staged
from vardax_core.words import counted

COMMIT_WAIT = 600.0
"""Seconds to wait for the commits of other groups."""
COMMIT_ATTEMPTS = 50
"""How often a commit is made again where storage without a lock took another group's first."""


def commit_round(
    work: ExperimentStore,
    progress: StreamProgress,
    round: Round,
    pieces: Sequence[Piece],
    record: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, Any],
) -> None:
    """Commit the rows of a group, and how far its streams are by now.

    What groups write differs, so all of it is encoded and written before the lock is taken.

    Arguments:
        work: the store on the work branch.
        progress: of all streams.
        round: the cycles that the group ran.
        pieces: its rows.
        record: its arrays in the group of streams.
        metadata: of the commit.

    Raises:
        SupersededError: another process has run the same streams, or joined them.
        StoreBusyError, StorageError: see `ExperimentStore.writer`.
    """
    put = {STREAMS: record}
    with work.staged(pieces, put=put) as staged:
        rows: Staged | None = staged
        for attempt in range(COMMIT_ATTEMPTS):
            with work.writer(wait=COMMIT_WAIT) as writer:
                _refuse_overtaken(work, progress, round)
                try:
                    if rows is not None:
                        writer.commit(rows, metadata=metadata)
                    else:
                        writer.fill(pieces, put=put, metadata=metadata)
                    return
                except SupersededError:
                    # Storage without a lock: another group was committed in between.
                    if attempt == COMMIT_ATTEMPTS - 1:
                        raise
                    rows = None
            time.sleep(random.uniform(0, 0.1 * (attempt + 1)))


def _refuse_overtaken(work: ExperimentStore, progress: StreamProgress, round: Round) -> None:
    if work.branch not in work.branches.names():
        raise SupersededError(work.location, f"branch {work.branch}", "a joined backfill")
    done = progress.done(work.arrays(STREAMS, names=progress.names_of_done(round.group)))
    for stream, span in zip(progress.groups[round.group], round.spans, strict=True):
        if span and done[stream.number] != span.start - stream.start:
            raise SupersededError(
                work.location,
                f"{counted(span.start - stream.start, 'cycle')} of stream {stream.number}",
                counted(done[stream.number], "cycle"),
            )
