"""What an experiment store holds: groups, variables, coordinates and their chunks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vardax_core.store.errors import StructureError
from vardax_core.types import MINUTES_EPOCH

TIME = "time"
TIME_UNITS = f"minutes since {MINUTES_EPOCH.replace('T', ' ')}"
TIME_ATTRS: Mapping[str, str] = {
    "standard_name": "time",
    "long_name": "valid time",
    "units": TIME_UNITS,
    "calendar": "proleptic_gregorian",
    "axis": "T",
}

Attributes = Mapping[str, Any]


def default_fill_value(dtype: np.dtype) -> Any:
    """What an array holds where nothing was written: NaN for floats, else zero or empty."""
    return np.nan if dtype.kind in "fc" else dtype.type()


@dataclass(frozen=True)
class Variable:
    """An array that grows along `time`, its first dimension.

    Attributes:
        name: name within the group.
        dims: dimension names, `time` first.
        dtype: NumPy name of the dtype.
        attrs: CF attributes (standard_name, long_name, units, ...).
        fill_value: value of elements never written; None for `default_fill_value`.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    attrs: Attributes = field(default_factory=dict)
    fill_value: Any = None

    def __post_init__(self):
        if self.dims[:1] != (TIME,):
            raise StructureError(
                f"Variable {self.name!r}: expected dims that begin with 'time', got {self.dims}. "
                "Declare arrays without a time axis as coordinates, or write them whole."
            )


@dataclass(frozen=True, eq=False)
class Coordinate:
    """An array written once, when the store is created.

    Attributes:
        name: name within the group; that of its dimension for a dimension coordinate.
        dims: dimension names.
        values: the coordinate values, in the unit given in `attrs`.
        attrs: CF attributes.
    """

    name: str
    dims: tuple[str, ...]
    values: np.ndarray
    attrs: Attributes = field(default_factory=dict)

    def __post_init__(self):
        if len(self.dims) != self.values.ndim:
            raise StructureError(
                f"Coordinate {self.name!r}: dims {self.dims} do not fit values of shape "
                f"{self.values.shape}. Name one dimension per axis."
            )


@dataclass(frozen=True)
class Group:
    """One group of the store.

    A group with variables has a `time` axis and is appended to; one without is free-form: its
    arrays are written whole.

    Attributes:
        name: name under the root.
        variables: arrays that grow along time.
        coords: static coordinates.
        attrs: attributes of the group.
        sizes: lengths of dimensions that have no coordinate.
    """

    name: str
    variables: tuple[Variable, ...] = ()
    coords: tuple[Coordinate, ...] = ()
    attrs: Attributes = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        names = [v.name for v in self.variables] + [c.name for c in self.coords]
        twice = sorted({n for n in names if names.count(n) > 1} | ({TIME} & set(names)))
        if twice:
            raise StructureError(
                f"Group {self.name!r}: {twice} declared twice ('time' is declared by the store). "
                "Give every variable and coordinate its own name."
            )
        known = self.dimension_sizes()
        for variable in self.variables:
            missing = [d for d in variable.dims[1:] if d not in known]
            if missing:
                raise StructureError(
                    f"Group {self.name!r}: variable {variable.name!r} has dimensions {missing} of "
                    "unknown length. Add a coordinate along them or an entry in `sizes`."
                )

    def dimension_sizes(self) -> dict[str, int]:
        """Length of every dimension but `time`.

        Raises:
            StructureError: two declarations of one dimension differ in length.
        """
        found = dict(self.sizes)
        for coord in self.coords:
            for dim, size in zip(coord.dims, coord.values.shape, strict=True):
                if found.setdefault(dim, size) != size:
                    raise StructureError(
                        f"Group {self.name!r}: dimension {dim!r} has length {found[dim]} and, by "
                        f"coordinate {coord.name!r}, {size}. Make them equal."
                    )
        return found

    def shape_per_time(self, variable: Variable) -> tuple[int, ...]:
        """Shape of one time step of a variable."""
        known = self.dimension_sizes()
        return tuple(known[d] for d in variable.dims[1:])


@dataclass(frozen=True)
class ChunkPlan:
    """How arrays are cut into objects.

    An object spans a whole number of time steps, at most one segment, and every other dimension in
    full; only where one time step alone exceeds `largest_bytes` are the other dimensions cut, the
    longest first: an ensemble on a large grid in space, with all members of a place together.

    Attributes:
        segment_length: time steps of a usual commit.
        target_bytes: uncompressed size aimed at.
        largest_bytes: uncompressed size never exceeded.
        time_chunk: length of the chunks of `time` itself, large so that opening stays cheap.
        chunks_per_manifest: chunks along time listed in one manifest.
    """

    segment_length: int = 64
    target_bytes: int = 4 * 2**20
    largest_bytes: int = 16 * 2**20
    time_chunk: int = 65536
    chunks_per_manifest: int = 64

    def __post_init__(self):
        if min(self.segment_length, self.target_bytes, self.time_chunk) < 1:
            raise StructureError(f"Chunk plan: expected positive lengths and sizes, got {self}.")

    def along_time(self, shape_per_time: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
        """Chunk shape of an array that grows along time."""
        per_time = max(1, itemsize * math.prod(shape_per_time))
        if per_time > self.largest_bytes:
            return (1, *self.whole(shape_per_time, itemsize))
        steps = max(1, min(self.segment_length, self.target_bytes // per_time))
        # A divisor of the segment keeps later segments from starting inside an object.
        divisor = max(n for n in range(1, steps + 1) if self.segment_length % n == 0)
        return (divisor if 2 * divisor >= steps else steps, *(max(1, n) for n in shape_per_time))

    def whole(self, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
        """Chunk shape of an array without a time axis: uncut up to `largest_bytes`."""
        parts = [1] * len(shape)
        chunk = [max(1, n) for n in shape]
        while itemsize * math.prod(chunk) > self.largest_bytes and max(chunk) > 1:
            axis = chunk.index(max(chunk))
            parts[axis] += 1
            chunk[axis] = math.ceil(shape[axis] / parts[axis])
        return tuple(chunk)


@dataclass(frozen=True)
class Layout:
    """The whole structure of a store, fixed when it is created.

    Attributes:
        groups: its groups.
        chunks: how arrays are cut into objects.
        attrs: attributes of the root.
        cycle_group: the group whose time steps are the cycles.
    """

    groups: tuple[Group, ...]
    chunks: ChunkPlan = field(default_factory=ChunkPlan)
    attrs: Attributes = field(default_factory=dict)
    cycle_group: str = "analysis"

    def __post_init__(self):
        timed = [g.name for g in self.groups if g.variables]
        if self.cycle_group not in timed:
            raise StructureError(
                f"Layout: cycle_group {self.cycle_group!r} is not among the groups with variables, "
                f"{timed}. Name the group that has one time step per cycle."
            )
        names = [g.name for g in self.groups]
        if len(set(names)) != len(names):
            raise StructureError(f"Layout: group names must differ, got {names}.")
