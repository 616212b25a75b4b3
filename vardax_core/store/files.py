"""The writer lock and durability on a local file system."""

import ctypes
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk
from obstore.exceptions import BaseError

from vardax_core.store.errors import StorageError, StoreBusyError, SupersededError

_POLL_SECONDS = 0.05


def lock_path(path: Path) -> Path:
    """The lock file beside the store at `path`."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def writer_lock(path: Path, wait: float) -> Iterator[None]:
    """Hold the writer lock of the store at `path`; the system frees it when the process dies.

    Arguments:
        path: the store.
        wait: seconds to wait for another writer to end.

    Raises:
        StoreBusyError: another process (or thread) still holds it after `wait`.
        StorageError: the lock file cannot be written.
    """
    deadline = time.monotonic() + wait
    with storage_errors(path, "lock"):
        descriptor = os.open(lock_path(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                    raise StoreBusyError(path, holder) from None
                time.sleep(_POLL_SECONDS)
        with storage_errors(path, "lock"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def staging_path(path: Path) -> Path:
    """The file beside the store at `path` that is locked while objects are staged."""
    return path.with_name(f"{path.name}.staging")


@contextmanager
def staging_lock(path: Path, *, alone: bool) -> Iterator[bool]:
    """Hold the staging lock of the store at `path`, which any number of processes share.

    Arguments:
        path: the store.
        alone: whether to ask for it without others; nothing is waited for then.

    Yields:
        Whether it is held.

    Raises:
        StorageError: the lock file cannot be written.
    """
    with storage_errors(path, "lock"):
        descriptor = os.open(staging_path(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: object, action: str) -> Iterator[None]:
    """Turn what the file system and icechunk raise into `StorageError`; a branch that is not there
    any more into `SupersededError`, for only others who work on it take one away."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(path, action, reason, error.errno) from error
    except BaseError as error:
        raise StorageError(path, action, str(error).strip().splitlines()[0], None) from error
    except icechunk.IcechunkError as error:
        gone = re.search(r"ref not found `([^`]+)`", str(error))
        if gone:
            raise SupersededError(path, f"branch {gone.group(1)}", "one without it") from error
        number = re.search(r"os error (\d+)", str(error))
        code = int(number.group(1)) if number else None
        reason = os.strerror(code) if code else str(error).strip().splitlines()[0]
        raise StorageError(path, action, reason, code) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path, "write to"):
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)


def list_files(root: Path) -> set[str]:
    """Every file below `root`."""
    return {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}


def make_durable(path: Path) -> None:
    """Force everything written to the file system of `path` from the page cache to the disk.

    One call for a whole commit: its cost does not grow with the number of files in the store, as
    looking for the new ones among them would.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # Linux alone has it
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
