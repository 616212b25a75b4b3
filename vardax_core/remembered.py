"""Results of long computations, kept in the cache folder by what they were computed from."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vardax_core.files import write_atomically
from vardax_core.paths import PathError, default_cache_dir

KEPT = 8
"""Results of one kind that are kept, those that were used last."""

Arrays = tuple[np.ndarray, ...]


def remembered(kind: str, given: Sequence[np.ndarray], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays that a computation gives, read from the cache folder if it was made before.

    A folder that cannot be read or written costs the computation and nothing else.

    Arguments:
        kind: of the computation, with a number that changes with it.
        given: all that the result depends on.
        compute: makes the result.
    """
    digest = hashlib.sha256()
    for array in given:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    try:
        path = default_cache_dir() / "computed" / kind / f"{digest.hexdigest()}.npz"
    except (PathError, RuntimeError):
        return compute()
    try:
        with np.load(path, allow_pickle=False) as held:
            found = tuple(held[f"arr_{number}"] for number in range(len(held.files)))
        os.utime(path)
        return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    found = compute()
    content = io.BytesIO()
    np.savez(content, *found)
    try:
        write_atomically(path, content.getvalue())
        _forget(path.parent)
    except OSError:
        pass
    return found


def _forget(folder: Path) -> None:
    """Remove all but the results that were used last."""
    kept = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[KEPT:]:
        path.unlink(missing_ok=True)
