"""The checks that an append must pass before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
import zarr

from vardax_core.store.errors import OverwriteError, StructureError
from vardax_core.store.layout import TIME
from vardax_core.store.repository import dimensions, instant, json_able

Times = np.ndarray | Mapping[str, np.ndarray]
"""Minutes since `MINUTES_EPOCH`: one int64 array for all groups, or one per group."""

WholeArrays = Mapping[str, np.ndarray | xr.DataArray]
"""Arrays without a time axis; a DataArray brings its dimension names and attributes."""


@dataclass(frozen=True)
class Growth:
    """Rows of one array from `start` on, and what is put there; None for no values."""

    array: zarr.AsyncArray
    start: int
    length: int
    values: np.ndarray | None


def check_append(
    group: zarr.Group, name: str, variables: Mapping[str, np.ndarray], times: np.ndarray
) -> list[Growth]:
    """The growth of every array of one group, its `time` included.

    Raises:
        StructureError: a variable is missing or unknown, or its shape or dtype differs.
        OverwriteError: the times do not strictly increase from the last stored time.
    """
    stored, growing = _timed(group, name)
    _check_times(stored, name, times)
    start, length = stored.shape[0], len(times)
    return [
        Growth(stored.async_array, start, length, times),
        *_growths(growing, name, variables, start, length),
    ]


def check_growth(group: zarr.Group, name: str, times: np.ndarray) -> list[Growth]:
    """The growth of a group whose values come later.

    Raises:
        StructureError: the group has no time axis.
        OverwriteError: the times do not strictly increase from the last stored time.
    """
    stored, growing = _timed(group, name)
    _check_times(stored, name, times)
    start, length = stored.shape[0], len(times)
    return [
        Growth(stored.async_array, start, length, times),
        *(Growth(array.async_array, start, length, None) for array in growing.values()),
    ]


def check_fill(
    group: zarr.Group,
    name: str,
    pieces: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]],
) -> list[Growth]:
    """The rows of every array of one group at times that it has, for pieces (times, variables).

    Raises:
        StructureError: see `check_append`.
        OverwriteError: the group has not these times one after another.
    """
    stored, growing = _timed(group, name)
    have = np.asarray(stored[:])
    growths: list[Growth] = []
    for times, variables in pieces:
        start = int(np.searchsorted(have, times[0]))
        if not np.array_equal(have[start : start + len(times)], times):
            raise OverwriteError(
                f"{name}/time: the branch has not the {len(times)} times from "
                f"{instant(int(times[0]))} to {instant(int(times[-1]))} one after another. Grow "
                "it first."
            )
        growths += _growths(growing, name, variables, start, len(times))
    return growths


def _timed(group: zarr.Group, name: str) -> tuple[zarr.Array, dict[str, zarr.Array]]:
    """The time axis and the arrays that grow along it."""
    arrays = dict(group.arrays())
    if TIME not in arrays:
        raise StructureError(
            f"Group {name!r} has no time axis to append to. Pass its arrays in `replace`."
        )
    stored = arrays.pop(TIME)
    return stored, {n: a for n, a in arrays.items() if dimensions(a)[:1] == (TIME,)}


def _growths(
    growing: Mapping[str, zarr.Array],
    name: str,
    variables: Mapping[str, np.ndarray],
    start: int,
    length: int,
) -> list[Growth]:
    if set(variables) != set(growing):
        raise StructureError(
            f"Group {name!r}: expected the variables {sorted(growing)}; missing "
            f"{sorted(set(growing) - set(variables))}, unknown "
            f"{sorted(set(variables) - set(growing))}. Pass every declared variable."
        )
    growths = []
    for variable, values in variables.items():
        array = growing[variable]
        shape = (length, *array.shape[1:])
        if values.shape != shape or values.dtype != array.dtype:
            raise StructureError(
                f"{name}/{variable}: expected shape {shape} and dtype {array.dtype}, got "
                f"{values.shape} and {values.dtype}. Convert the values, or create a new store."
            )
        growths.append(Growth(array.async_array, start, length, values))
    return growths


def _check_times(stored: zarr.Array, name: str, times: np.ndarray) -> None:
    if times.ndim != 1 or times.dtype != np.int64:
        raise StructureError(
            f"{name}/time: expected one axis of int64 minutes, got shape {times.shape} of "
            f"{times.dtype}."
        )
    if not len(times):
        return
    backward = np.flatnonzero(np.diff(times) <= 0)
    if len(backward):
        before, after = times[backward[0]], times[backward[0] + 1]
        raise OverwriteError(
            f"{name}/time: expected strictly increasing times, got {instant(int(after))} after "
            f"{instant(int(before))}. Sort them and drop duplicates."
        )
    if stored.shape[0]:
        last = int(np.asarray(stored[-1]))
        if times[0] <= last:
            raise OverwriteError(
                f"{name}/time: the store reaches {instant(last)}, the new cycles begin at "
                f"{instant(int(times[0]))}. Stored cycles are never rewritten: read the tip and "
                "append only what follows it."
            )


def check_whole(group: zarr.Group, name: str, arrays: WholeArrays) -> dict[str, xr.DataArray]:
    """The arrays of a free-form group with a name for every dimension.

    Raises:
        StructureError: the group has a time axis, a dtype or an attribute cannot be stored, or one
            dimension has two lengths.
    """
    if TIME in group:
        raise StructureError(
            f"Group {name!r} has a time axis and is never replaced. Pass its arrays in `groups`."
        )
    whole: dict[str, xr.DataArray] = {}
    sizes: dict[str, int] = {}
    for key, values in arrays.items():
        if isinstance(values, xr.DataArray):
            whole[key] = values
        else:
            whole[key] = xr.DataArray(values, dims=[f"{key}_{n}" for n in range(values.ndim)])
        if values.dtype.kind not in "biufUS":
            raise StructureError(
                f"{name}/{key}: dtype {values.dtype} cannot be stored. Use numbers, booleans or "
                "strings; times as int64 with CF units."
            )
        json_able(whole[key].attrs, f"attributes of {name}/{key}")
        for dim, size in whole[key].sizes.items():
            if sizes.setdefault(str(dim), size) != size:
                raise StructureError(
                    f"{name}/{key}: dimension {dim!r} has length {size} here and "
                    f"{sizes[str(dim)]} in another array of the group. Rename one of the two."
                )
    return whole
