"""Rows that are put straight into objects are what zarr would have put there."""

import numpy as np
import pytest
import zarr
from zarr.core.sync import sync

from vardax_core.store.objects import Objects, compress, compressor, is_ours


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("chunks", [(4, 3, 5), (4, 2, 5), (1, 3, 2), (5, 3, 5)])
@pytest.mark.parametrize("compressors", [compressor(), None])
def test_rows_are_put_as_zarr_puts_them(dtype, chunks, compressors):
    values = np.random.default_rng(0).normal(size=(12, 3, 5)).astype(dtype)
    made = {"chunks": chunks, "dtype": dtype, "compressors": compressors}
    target = zarr.create_array({}, shape=values.shape, **made).async_array

    async def put():
        objects = Objects()
        for start, stop in ((0, 4), (4, 6), (6, 12)):
            await objects.put_rows(target, start, values[start:stop])
        await objects.flush()

    sync(put())
    np.testing.assert_array_equal(zarr.Array(target)[...], values)
    assert is_ours(target) is (compressors is not None)


def test_an_object_has_the_bytes_that_zarr_gives_it():
    values = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    made = {"chunks": (4, 3), "dtype": "float32", "compressors": compressor()}
    memory = {}
    zarr.create_array(memory, shape=values.shape, **made)[...] = values
    assert memory["c/0/0"].to_bytes() == compress(values)
