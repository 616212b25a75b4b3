"""Making a dimension of a store longer, other than time."""

from collections.abc import Iterable

import numpy as np
import zarr
from zarr.core.sync import sync

from vardax_core.store.repository import dimensions


def widen(groups: Iterable[zarr.Group], dim: str, size: int) -> bool:
    """Make a dimension at least so long in all arrays that have it; whether one was shorter.

    What is new of an array has its fill value; of the coordinate of the dimension, which counts
    from 0, the numbers that follow.
    """
    changed = False
    for group in groups:
        for name, array in group.arrays():
            dims = list(dimensions(array))
            if dim not in dims or array.shape[dims.index(dim)] >= size:
                continue
            axis, changed = dims.index(dim), True
            before = array.shape[axis]
            shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
            # The default would list every chunk of the array.
            sync(array.async_array.resize(shape, delete_outside_chunks=False))
            if name == dim:
                coordinate = zarr.Array(array.async_array)
                coordinate[before:] = np.arange(before, size, dtype=array.dtype)
    return changed
