"""Rows of an array as the objects that hold them, encoded without a detour."""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from typing import Literal

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import StorePath

CODEC: Literal["lz4"] = "lz4"
LEVEL = 5
LARGEST_IN_FLIGHT = 8 * 2**20
"""Bytes of objects that wait for the storage at once, beside one object of any size: with few
buffers in use the same memory is used again, and fresh pages cost more than encoding."""


def compressor() -> BloscCodec:
    """LZ4 with byte shuffle: on ensembles of floats the shuffle makes the ratio."""
    return BloscCodec(cname=CODEC, clevel=LEVEL, shuffle=BloscShuffle.shuffle)


def compress(values: np.ndarray) -> bytes:
    """The object of a chunk of an array that has `compressor`, as zarr itself would encode it."""
    codec = numcodecs.Blosc(cname=CODEC, clevel=LEVEL, shuffle=numcodecs.Blosc.SHUFFLE)
    encoded: bytes = codec.encode(np.ascontiguousarray(values))
    return encoded


def is_ours(array: zarr.AsyncArray) -> bool:
    """Whether the chunks of an array are encoded by `compress`."""
    metadata = array.metadata
    if metadata.zarr_format != 3 or sys.byteorder != "little":
        return False
    ours = BloscCodec(
        cname=CODEC, clevel=LEVEL, shuffle=BloscShuffle.shuffle, typesize=array.dtype.itemsize
    )
    # A dtype of one byte has no order of bytes.
    return metadata.codecs in ((BytesCodec(), ours), (BytesCodec(endian=None), ours))


class Objects:
    """Puts rows of arrays into a store, a bounded number of bytes at a time.

    An object that the rows fill is encoded and put as it is; one that they fill in part is read
    and written through zarr. Objects that hold nothing but fill values are put too: finding them
    would cost more than they do.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._size = 0

    async def put_rows(self, array: zarr.AsyncArray, start: int, values: np.ndarray) -> None:
        """Write rows from `start` on; the array has them already."""
        if not is_ours(array):
            await array.setitem(slice(start, start + len(values)), values)
            return
        for index, rows in _cut(start, len(values), array.chunks[0]):
            part = values[rows]
            if len(part) < array.chunks[0]:
                first = start + rows.start
                await array.setitem(slice(first, first + len(part)), part)
                continue
            for number, chunk in _chunks(part, array.chunks):
                key = array.metadata.encode_chunk_key((index, *number))
                await self._put(array.store_path / key, chunk)

    async def flush(self) -> None:
        """Wait until everything is put."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _put(self, place: StorePath, chunk: np.ndarray) -> None:
        if self._size + chunk.nbytes > LARGEST_IN_FLIGHT:
            await self.flush()
        buffer = default_buffer_prototype().buffer.from_bytes(compress(chunk))
        self._waiting.append(asyncio.ensure_future(place.set(buffer)))
        self._size += chunk.nbytes
        # The storage has threads of its own and begins before the next chunk is encoded.
        await asyncio.sleep(0)


def _cut(start: int, length: int, chunk: int) -> Iterator[tuple[int, slice]]:
    """Number of each object along the first axis, and which of the new rows are in it."""
    for index in range(start // chunk, -(-(start + length) // chunk)):
        low, high = index * chunk - start, (index + 1) * chunk - start
        yield index, slice(max(0, low), min(length, high))


def _chunks(
    rows: np.ndarray, shape: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The objects of the rows of one object along the first axis; edges are padded with zeros."""
    counts = [-(-size // chunk) for size, chunk in zip(rows.shape[1:], shape[1:], strict=True)]
    for place in itertools.product(*map(range, counts)):
        chosen = tuple(
            slice(n * chunk, (n + 1) * chunk) for n, chunk in zip(place, shape[1:], strict=True)
        )
        part = rows[:, *chosen]
        missing = [(0, size - have) for size, have in zip(shape, part.shape, strict=True)]
        yield place, np.pad(part, missing) if any(after for _, after in missing) else part
