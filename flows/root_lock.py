"""One service at a time works on a root."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "service.lock"


class RootBusyError(RuntimeError):
    """Another service works on the root."""


@contextmanager
def root_lock(root: Path, address: str) -> Iterator[None]:
    """Hold the lock of a root; the system frees it when the process dies.

    Arguments:
        root: the folder, which is there.
        address: where this service is found, for whoever finds the lock held.

    Raises:
        RootBusyError: another service holds it.
    """
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise RootBusyError(
                f"Another service works on the root {root} ({holder}): stop that one, or give "
                "this one a root of its own with --root."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, {address}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
