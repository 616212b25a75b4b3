"""Observations as records: a row each, in one order whatever files they came from."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

PER_RECORD = ("time", "place", "level", "value", "error_sd", "platform", "code", "arrival", "file")
"""Columns with an entry for each record, but for `row`."""


class RecordsError(ValueError):
    """Columns that make no records."""


@dataclasses.dataclass(frozen=True)
class Records:
    """The observations of one stream.

    Attributes:
        stream: its name.
        dims: the coordinates of a place, in the order of the recipe's state_dims.
        time: valid time (UTC), datetime64[ns].
        place: coordinates; longitudes within [-180, 180).
        level: height, depth or pressure as the file has it, NaN where none is given.
        value: in the variable's units.
        error_sd: standard deviation of the observation error with the representativeness error, in
            the variable's units; NaN where it is not given.
        platform: number of the name in `platforms`.
        platforms: names in alphabetical order.
        code: `QualityCode`; anything but KEPT is not used.
        arrival: when it was received (UTC), datetime64[ns].
        file: number of the name in `files`.
        files: names below the folders of data, in alphabetical order.
        row: of the file, from 1, a header not counted; in files of several dimensions the number
            of the element.

    Raises:
        RecordsError: if the columns differ in length or type.
    """

    stream: str
    dims: tuple[str, ...]
    time: np.ndarray
    place: Float[np.ndarray, "record coordinate"]
    level: Float[np.ndarray, " record"]
    value: Float[np.ndarray, " record"]
    error_sd: Float[np.ndarray, " record"]
    platform: Int[np.ndarray, " record"]
    platforms: tuple[str, ...]
    code: Int[np.ndarray, " record"]
    arrival: np.ndarray
    file: Int[np.ndarray, " record"]
    files: tuple[str, ...]
    row: Int[np.ndarray, " record"]

    def __post_init__(self):
        wanted = {
            "time": "datetime64[ns]",
            "place": "float64",
            "level": "float64",
            "value": "float64",
            "error_sd": "float64",
            "platform": "int32",
            "code": "int8",
            "arrival": "datetime64[ns]",
            "file": "int32",
            "row": "int64",
        }
        for name, dtype in wanted.items():
            column = getattr(self, name)
            shape = (len(self), len(self.dims)) if name == "place" else (len(self),)
            if column.dtype != dtype or column.shape != shape:
                raise RecordsError(
                    f"Records of '{self.stream}': the column '{name}' must be {dtype} of shape "
                    f"{shape}, got {column.dtype} of shape {column.shape}."
                )

    def __len__(self) -> int:
        return self.time.size

    @classmethod
    def none(cls, stream: str, dims: Sequence[str]) -> "Records":
        """No records."""
        return cls(
            stream=stream,
            dims=tuple(dims),
            time=np.empty(0, "datetime64[ns]"),
            place=np.empty((0, len(dims))),
            level=np.empty(0),
            value=np.empty(0),
            error_sd=np.empty(0),
            platform=np.empty(0, np.int32),
            platforms=(),
            code=np.empty(0, np.int8),
            arrival=np.empty(0, "datetime64[ns]"),
            file=np.empty(0, np.int32),
            files=(),
            row=np.empty(0, np.int64),
        )

    def taken(self, index: Int[np.ndarray, " some"] | Bool[np.ndarray, " record"]) -> "Records":
        """Keep some of the records, in the order of `index`."""
        return dataclasses.replace(
            self, **{name: getattr(self, name)[index] for name in (*PER_RECORD, "row")}
        )

    def identities(self, *, named: bool = True) -> Int[np.ndarray, " record"]:
        """A number for each record that its versions share: what was observed when, where, by whom.

        Arguments:
            named: whether the platform is part of it; not where later records may rename it.
        """
        names = [_number_of(self.stream, name) for name in self.platforms if named]
        own = np.full(len(self), _number_of(self.stream), np.uint64)
        own = np.array(names, np.uint64)[self.platform] if names else own
        for column in (self.time, *self.place.T, self.level):
            if column.dtype.kind == "f":
                column = np.where(np.isnan(column), np.nan, column + 0.0)
            own = mixed(own ^ np.ascontiguousarray(column).view(np.uint64))
        return own.view(np.int64)

    def joined(self, *others: "Records") -> "Records":
        """All records of several, in order; see `in_order`.

        Raises:
            RecordsError: if they are not of one stream with the same coordinates.
        """
        parts = (self, *others)
        for part in others:
            if (part.stream, part.dims) != (self.stream, self.dims):
                raise RecordsError(
                    f"Records of '{part.stream}' on {part.dims} cannot be joined to those of "
                    f"'{self.stream}' on {self.dims}."
                )
        platforms = sorted({name for part in parts for name in part.platforms})
        files = sorted({name for part in parts for name in part.files})
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*PER_RECORD, "row")
        }
        columns["platform"] = _renumbered(
            [(part.platform, part.platforms) for part in parts], platforms
        )
        columns["file"] = _renumbered([(part.file, part.files) for part in parts], files)
        whole = dataclasses.replace(self, platforms=tuple(platforms), files=tuple(files), **columns)
        return whole.in_order()

    def in_order(self) -> "Records":
        """Sort by time, platform, place, level, arrival, value and error, and number names anew.

        The order and the numbers depend on nothing but the records. Most differ in time and
        platform already, so that only the others are compared by everything.
        """
        tidy = self.tidied()
        order = np.lexsort((tidy.platform, tidy.time))
        time, platform = tidy.time[order], tidy.platform[order]
        alike = np.r_[False, (time[1:] == time[:-1]) & (platform[1:] == platform[:-1]), False]
        tied = np.flatnonzero(alike[:-1] | alike[1:])
        some = order[tied]
        order[tied] = some[np.lexsort(tuple(key[some] for key in tidy._keys()))]
        return tidy.taken(order)

    def tidied(self) -> "Records":
        """Number the names that are used anew, in the order that the records have."""
        platform, platforms = _without_unused(self.platform, self.platforms)
        file, files = _without_unused(self.file, self.files)
        return dataclasses.replace(
            self, platform=platform, platforms=platforms, file=file, files=files
        )

    def _keys(self) -> tuple[np.ndarray, ...]:
        return (
            self.row,
            self.file,
            self.code,
            self.error_sd,
            self.value,
            self.arrival,
            self.level,
            *self.place.T[::-1],
            self.platform,
            self.time,
        )

    def says_the_same(self, other: "Records") -> bool:
        """Whether both hold the same observations, whatever files these were read from."""
        columns = (name for name in PER_RECORD if name != "file")
        return (
            (self.stream, self.dims, self.platforms) == (other.stream, other.dims, other.platforms)
            and len(self) == len(other)
            and all(
                np.array_equal(mine, theirs, equal_nan=mine.dtype.kind in "fM")
                for mine, theirs in ((getattr(self, c), getattr(other, c)) for c in columns)
            )
        )


def _number_of(*names: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:8])


def mixed(bits: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Scatter 64-bit numbers, one to one.

    Source: Steele, Lea and Flood (2014), doi:10.1145/2714064.2660195
    """
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _renumbered(
    parts: Sequence[tuple[np.ndarray, tuple[str, ...]]], names: Sequence[str]
) -> np.ndarray:
    number = {name: n for n, name in enumerate(names)}
    return np.concatenate(
        [np.array([number[name] for name in own], np.int32)[of] for of, own in parts]
    ).astype(np.int32)


def _without_unused(
    numbers: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    used = np.flatnonzero(np.bincount(numbers, minlength=len(names)))
    order = sorted(used, key=lambda n: names[n])
    new = np.zeros(max(1, len(names)), np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return new[numbers], tuple(names[n] for n in order)
