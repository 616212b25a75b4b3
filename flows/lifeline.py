"""A run outlives the process that reads what it prints."""

import contextlib
import os
import select
import stat
import threading
from collections.abc import Iterable

STANDARD = (1, 2)
"""Descriptors of standard output and standard error."""
_guarded: set[int] = set()


def outlive_readers(descriptors: Iterable[int] = STANDARD) -> None:
    """Send what this process prints into a pipe to nowhere as soon as nobody reads that.

    A worker reads the output of its flow runs. When it is killed, the next line that a healthy run
    logs would otherwise end it: rich, which Prefect logs with, leaves a process whose output
    breaks.
    """
    for descriptor in set(descriptors) - _guarded:
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                _guarded.add(descriptor)
                threading.Thread(target=_guard, args=[descriptor], daemon=True).start()


def _guard(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, 0)  # an end without a reader is reported whatever is asked for
    poller.poll()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
