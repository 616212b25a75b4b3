"""The digest of what a store holds, whatever the commits that brought it there."""

import hashlib
import json
from collections.abc import Collection

import numpy as np
import zarr

from vardax_core.store.files import storage_errors
from vardax_core.store.repository import dimensions, dtype_name
from vardax_core.store.store import ExperimentStore

_BLOCK_BYTES = 32 * 2**20


def content_digest(store: ExperimentStore, *, exclude: Collection[str] = ()) -> str:
    """SHA-256 over groups, variables, dimensions, dtypes, shapes, attributes and values.

    Stores of equal content have equal digests: snapshot identifiers, commit metadata, dates,
    compression and chunks do not enter, and every NaN counts as the same NaN.

    Arguments:
        store: the store; its last published commit is read whole, block by block, and so are its
            observations.
        exclude: groups left out, for example `calibration`.

    Raises:
        StorageError: the file system refuses.
    """
    total = hashlib.sha256()
    root = store.root()
    with storage_errors(store.location, "read"):
        _add(total, "attributes", dict(root.attrs))
        for name, group in store.groups().items():
            if name not in exclude:
                _add_group(total, name, group)
    return total.hexdigest()


def groups_digest(store: ExperimentStore, names: Collection[str]) -> str:
    """SHA-256 as in `content_digest` over some groups alone, without the experiment's record.

    Two experiments of different settings on the same observations agree in it.

    Raises:
        StorageError: the file system refuses.
    """
    total = hashlib.sha256()
    with storage_errors(store.location, "read"):
        for name, group in store.groups().items():
            if name in names:
                _add_group(total, name, group)
    return total.hexdigest()


def _add_group(total: "hashlib._Hash", name: str, group: zarr.Group) -> None:
    _add(total, name, dict(group.attrs))
    for key, array in sorted(group.arrays()):
        header = [list(array.shape), dtype_name(array), dimensions(array)]
        _add(total, f"{name}/{key}", [*header, dict(array.attrs)])
        total.update(_values_digest(array))


def _add(total: "hashlib._Hash", name: str, value: object) -> None:
    total.update(json.dumps([name, value], sort_keys=True).encode())


def _values_digest(array: zarr.Array) -> bytes:
    digest = hashlib.sha256()
    for block in _blocks(array):
        if block.dtype.kind in "OT":
            digest.update(json.dumps(block.astype(object).tolist()).encode())
            continue
        if block.dtype.kind in "fc":
            block[np.isnan(block)] = np.nan
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.digest()


def _blocks(array: zarr.Array):
    """The values in C order, in blocks of whole chunks along the first axis."""
    if array.ndim == 0 or array.dtype.kind in "OT":
        yield np.array(array[...])
        return
    row = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))
    chunk = array.chunks[0]
    step = chunk * max(1, _BLOCK_BYTES // (row * chunk))
    for start in range(0, array.shape[0], step):
        yield np.array(array[start : start + step])
