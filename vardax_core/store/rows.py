"""Rows of arrays and whole arrays, written into a session."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence

import icechunk
import xarray as xr
import zarr

from vardax_core.store.layout import ChunkPlan, default_fill_value
from vardax_core.store.objects import Objects, compressor
from vardax_core.store.repository import dimensions, json_able
from vardax_core.store.validate import Growth


async def write(
    store: icechunk.IcechunkStore,
    growths: list[Growth],
    whole: Mapping[str, Mapping[str, xr.DataArray]],
    beside: Mapping[str, Mapping[str, xr.DataArray]],
) -> None:
    """Write rows of arrays, groups that are replaced whole, and arrays beside those of a group."""
    await _write_rows(growths)
    for name, arrays in (*whole.items(), *beside.items()):
        group = await zarr.api.asynchronous.open_group(store, path=name, mode="r+")
        there = {key: array async for key, array in group.arrays()}
        if name in whole:
            await _side_by_side(group.delitem(key) for key in there if key not in arrays)
        await _side_by_side(
            _put(group, key, array, there.get(key)) for key, array in arrays.items()
        )


async def _put(
    group: zarr.AsyncGroup, name: str, array: xr.DataArray, there: zarr.AsyncArray | None
) -> None:
    values = array.values
    text = values.dtype.kind in "US"
    attributes = json_able(array.attrs, f"attributes of {name!r}")
    dims = [str(dim) for dim in array.dims]
    same = there is not None and (
        (there.shape, there.dtype) == (values.shape, values.dtype)
        and (there.attrs, list(dimensions(zarr.Array(there)))) == (attributes, dims)
    )
    target = there
    if target is None or not same:
        target = await group.create_array(
            name,
            shape=values.shape,
            chunks=ChunkPlan().whole(values.shape, values.dtype.itemsize),
            dtype=str if text else values.dtype,
            fill_value="" if text else default_fill_value(values.dtype),
            compressors=None if text else compressor(),
            attributes=attributes,
            dimension_names=dims,
            overwrite=True,
        )
    await target.setitem(..., values.astype(object) if text else values)


async def _write_rows(growths: Sequence[Growth]) -> None:
    by_array: dict[str, list[Growth]] = {}
    for growth in growths:
        by_array.setdefault(growth.array.path, []).append(growth)
    objects = Objects()
    try:
        await _side_by_side(_grow(objects, of_one_array) for of_one_array in by_array.values())
    finally:
        await objects.flush()


async def _side_by_side(tasks: Iterable[Awaitable[None]]) -> None:
    """Run tasks side by side; the first error is raised after all have ended."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _grow(objects: Objects, growths: Sequence[Growth]) -> None:
    """Write rows of one array one after another: two of them may share an object."""
    for growth in growths:
        stop = growth.start + growth.length
        if stop > growth.array.shape[0]:
            # The default would list every chunk of the array: commits would grow dearer with it.
            shape = (stop, *growth.array.shape[1:])
            await growth.array.resize(shape, delete_outside_chunks=False)
        if growth.values is not None:
            await objects.put_rows(growth.array, growth.start, growth.values)
