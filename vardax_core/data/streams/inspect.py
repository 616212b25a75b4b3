"""What a file of observations holds, guessed from the file alone, as a stream for a recipe."""

import csv
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.account import StreamAccount
from vardax_core.data.streams.discrete import opened
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.streams.guesses import (
    clock_beside,
    is_numeric,
    marks_of,
    roles_of,
    time_reading,
    track_gap,
    units_of,
)
from vardax_core.data.streams.headerless import roles_by_values
from vardax_core.data.streams.kinds.gridded import GriddedSource
from vardax_core.data.streams.kinds.table import DESCRIBED, FORMATS, TableSource
from vardax_core.data.streams.levels import near_surface, span_of_levels
from vardax_core.data.streams.likeness import (
    Attributes,
    NoSuchColumnError,
    is_pressure,
    most_like,
    observable,
)
from vardax_core.data.streams.numbers import are_blank, numbers_of, texts_of
from vardax_core.data.streams.parquet import column_of
from vardax_core.data.streams.read import StreamRecords, read_stream
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.streams.text import COMMENT, encoding_of, opened_text
from vardax_core.data.streams.times import clock_of, instants_of
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import counted

ROWS = 20_000
"""Rows of a table that are looked at."""

_EVER = (np.datetime64("1700-01-01", "ns"), np.datetime64("2200-01-01", "ns"))
_ALL = (-1e300, 1e300)


@dataclasses.dataclass(frozen=True)
class Inspected:
    """What was found in a file.

    Attributes:
        stream: as a recipe may say it; its units are those of the file.
        units: of the values.
        sentences: what was guessed, and why.
        questions: what the file does not say, and what was assumed.
        records: everything that is in the file, in `units`.
    """

    stream: Stream
    units: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    records: StreamRecords

    @property
    def account(self) -> StreamAccount:
        """What became of every row."""
        return self.records.account


def inspect_file(
    name: str,
    folders: Sequence[pathlib.Path],
    *,
    value: str | None = None,
    dims: Sequence[str] = (LATITUDE, LONGITUDE),
    grid: AbstractGrid | None = None,
    like: Mapping[str, Attributes] | None = None,
) -> Inspected:
    """Find out what a file of observations holds.

    Arguments:
        name: of the file, or a pattern, below the folders.
        folders: of data.
        value: the column or variable that is wanted; by default the first that may be one.
        dims: dimensions of one state.
        grid: of the states, where it is known; tells latitude from longitude in a file without a
            header.
        like: variables, with their attributes, of which one is observed, such as those of a prior;
            by default any may be.

    Raises:
        SourceNotFoundError: there is no such file.
        SourceFormatError: nothing in it looks like times, places and values.
    """
    file = find_files([StreamFile(name=name)], folders)[0]
    said: list[str] = []
    asked: list[str] = []
    kind = FORMATS.get(file.suffix) or _by_content(file.path)
    layout: dict[str, Any] = {}
    if kind in DESCRIBED:
        with opened(file) as dataset:
            source = _of_dataset(dataset, file.name, value, dims, like, said, asked)
    else:
        if kind == "parquet":
            columns = _of_parquet(file.path)
        else:
            columns, layout = _of_text(file, kind, asked)
        source = layout | _of_columns(columns, file.name, value, grid, like, said, asked)
    if file.suffix not in FORMATS:
        source["format"] = kind
    units = str(source.pop("_units"))
    stem = re.sub(r"[^a-z0-9]+", "-", pathlib.PurePosixPath(file.name).stem.lower()).strip("-")
    stream = Stream.model_validate(
        {"name": stem or "observations", "source": {"files": [name], **source}}
    )

    def everything(stream: Stream) -> StreamRecords:
        return read_stream(
            stream, dims=dims, units=units, bounds=_ALL, start=_EVER[0], end=_EVER[1],
            folders=folders,
        )  # fmt: skip

    records = everything(stream)
    if (several := span_of_levels(records.records)) is not None:
        levels = near_surface(records.records)
        stream = Stream.model_validate(
            {"name": stream.name, "source": {"files": [name], **source, "levels": levels}}
        )
        records = everything(stream)
        asked.append(
            f"{several[0]} levels from {several[1]:g} to {several[2]:g}: those next to the surface "
            "are taken; write in source.levels which the variable is of"
        )
    asked += records.account.suspicions
    return Inspected(stream, units, tuple(said), tuple(asked), records)


def _by_content(path: pathlib.Path) -> str:
    if path.is_dir():
        return "zarr"
    begin = path.read_bytes()[:2000] if path.stat().st_size < 10**6 else _begin(path)
    if begin.startswith(b"PAR1"):
        return "parquet"
    if begin.startswith((b"\x89HDF", b"CDF", b"GRIB")):
        return "netcdf"
    return "csv" if any(mark in begin.splitlines()[0] for mark in b",;\t|") else "text"


def _begin(path: pathlib.Path) -> bytes:
    with path.open("rb") as raw:
        return raw.read(2000)


def _of_text(
    file: Found, kind: str, asked: list[str]
) -> tuple[dict[str | int, np.ndarray], dict[str, Any]]:
    """The columns of a text file, by name where it has a header, else by number; and the keys of a
    source that say how it is written."""
    encoding = encoding_of(file)
    with opened_text(file, encoding) as handle:
        every = list(itertools.islice(handle, ROWS))
    lines = [line for line in every if line.strip() and not line.startswith(COMMENT)]
    if not lines:
        raise SourceFormatError(f"{file.name}: the file is empty, expected a row for each value.")
    if kind == "text":
        rows = [line.split() for line in lines]
    else:
        rows = list(csv.reader(lines, delimiter=max(",;\t|", key=lines[0].count)))
    width = len(rows[0])
    body = [row for row in rows[1:] if len(row) == width]
    header = [cell.strip() for cell in rows[0]]
    has_header = not any(is_numeric(np.array([cell], object)) for cell in header)
    if has_header and len(rows) == 1:
        raise SourceFormatError(
            f"{file.name}: the file has a header ({', '.join(header)}) and no row after it, "
            "expected a row for each value; name a file with observations."
        )
    names: list[str | int] = [*header] if has_header else [*range(width)]
    table = body if has_header else [rows[0], *body]
    layout: dict[str, Any] = {}
    if encoding is not None:
        layout["encoding"] = encoding
        asked.append(f"the file is not in UTF-8, and is read as {encoding}; see source.encoding")
    before = every.index(lines[0])
    if has_header and kind != "text" and any(line.startswith(COMMENT) for line in every[:before]):
        layout["skip"] = before
        asked.append(f"{counted(before, 'line')} before the header are skipped; see source.skip")
    return {
        name: np.array([row[n] for row in table], object) for n, name in enumerate(names)
    }, layout


def _of_parquet(path: pathlib.Path) -> dict[str | int, np.ndarray]:
    with pq.ParquetFile(path) as opened_file:
        batch = next(opened_file.iter_batches(ROWS), None)
        names = opened_file.schema_arrow.names
    if batch is None:
        raise SourceFormatError(f"{path.name}: the file holds no row.")
    plain = {
        name: column for name, column in zip(names, batch.columns, strict=True)
        if not pa.types.is_nested(column.type)
    }  # fmt: skip
    return {name: column_of(column)[0] for name, column in plain.items()}


def _of_columns(
    columns: Mapping[str | int, np.ndarray],
    file: str,
    value: str | None,
    grid: AbstractGrid | None,
    like: Mapping[str, Attributes] | None,
    said: list[str],
    asked: list[str],
) -> dict[str, Any]:
    named = all(isinstance(name, str) for name in columns)
    roles: dict[str, Any] = {}
    rest: list[Any] = list(columns)
    if named:
        roles, rest = roles_of([str(name) for name in columns], {})
        roles |= clock_beside({str(name): column for name, column in columns.items()})
        rest = [name for name in rest if name not in roles.values()]
    elif value is None:
        roles, rest = roles_by_values(columns, grid, asked)
    numeric = [name for name in rest if is_numeric(columns[name])]
    if named:
        guessed = {n: {"units": units_of(n, numbers_of(columns[n])[0])[0]} for n in numeric}
        numeric = observable(numeric, guessed)
        levels = [n for n in numeric if is_pressure(n) and guessed[n]["units"] is None]
        if levels and "level" not in roles and not any(map(is_pressure, like or ())):
            roles["level"] = levels[0]
            numeric.remove(levels[0])
    if value is not None and value in columns:
        roles = {role: name for role, name in roles.items() if name != value}
    chosen: Any = value
    if value is None and named and like and numeric:
        chosen = most_like(file, {name: guessed[name] for name in numeric}, like)
    elif value is None:
        chosen = next(iter(numeric), None)
    roles["value"] = chosen
    lacking = [role for role in ("time", LATITUDE, LONGITUDE) if role not in roles]
    if lacking or chosen not in columns:
        what = " or ".join(lacking) or (
            "an observed value" if value is None else f"the value {value!r}"
        )
        blank = [str(name) for name in rest if are_blank(texts_of(columns[name])).all()]
        if len(columns) == 1:
            repair = "where lines stand before the header, begin each with '#', or remove them"
        elif blank and not lacking:
            repair = f"blank in every row: {', '.join(blank)}; name a file with values"
        else:
            repair = "write source.columns"
        raise NoSuchColumnError(
            f"{file}: no column looks like {what}, only {list(columns)}; {repair}."
        )
    others = [name for name in numeric if name != chosen]
    said.append(f"columns: {', '.join(f'{role} is {name!r}' for role, name in roles.items())}")
    if others:
        said.append(f"further columns of numbers that may be observed: {others}")
    reading = time_reading(columns[roles["time"]])
    if reading is None:
        raise SourceFormatError(
            f"{file}: the times {list(columns[roles['time']][:3])} are not understood; write "
            "source.time."
        )
    how = reading.reading.format or reading.reading.units or "ISO 8601"
    said.append(f"times are read as {how}")
    if reading.others:
        asked.append(f"times are read as {how}, and would fit {', '.join(reading.others)} as well")
    values, _ = numbers_of(columns[chosen])
    marks = marks_of(values)
    values = values[~np.isin(values, marks)]
    units, why = units_of(str(chosen), values)
    (said if units else asked).append(f"units of {chosen!r} are taken to be {units or '1'}, {why}")
    source: dict[str, Any] = {
        "kind": TableSource.name,
        "columns": {role: name for role, name in roles.items() if role != "quality"},
        "units": units or "1",
        "_units": units or "1",
        "missing": list(marks),
    }
    if "quality" in roles:
        asked.append(
            f"the flags {roles['quality']!r} are not used; to use them write columns.quality and "
            "source.accept"
        )
    if reading.reading != type(reading.reading)():
        source["time"] = reading.reading.model_dump(include={"format", "units"})
    if "platform" not in roles:
        clock = clock_of(columns[roles["clock"]])[0] if "clock" in roles else None
        times = instants_of(columns[roles["time"]], reading.reading, file, clock=clock)
        gap = track_gap(times.time)
        if gap is not None:
            source["gap"] = gap
            said.append(f"no column names a platform: a gap of over {gap} begins a piece of track")
    return source


def _of_dataset(
    dataset: xr.Dataset,
    file: str,
    value: str | None,
    dims: Sequence[str],
    like: Mapping[str, Attributes] | None,
    said: list[str],
    asked: list[str],
) -> dict[str, Any]:
    attrs = {str(name): variable.attrs for name, variable in dataset.variables.items()}
    roles, rest = roles_of(list(attrs), attrs)
    fields = [
        name for name in rest
        if dataset[name].dtype.kind in "fiu" and dataset[name].ndim
        and name not in dataset.coords
        and not {"sample_dimension", "instance_dimension"} & set(attrs[name])
    ]  # fmt: skip
    fields = observable(fields, attrs)
    most = max((dataset[name].size for name in fields), default=0)
    candidates = [name for name in fields if dataset[name].size == most]
    chosen = value if value is not None else next(iter(candidates), None)
    if value is None and like:
        by_size = sorted(fields, key=lambda name: -dataset[name].size)
        chosen = most_like(file, {name: attrs[name] for name in by_size}, like)
    roles = {role: name for role, name in roles.items() if name != chosen}
    if chosen is None or chosen not in dataset.variables:
        raise NoSuchColumnError(
            f"{file}: no variable looks like {value or 'an observed value'}, only {list(attrs)}."
        )
    others = [name for name in fields if name != chosen]
    units = attrs[chosen].get("units")
    if units is None:
        asked.append(f"'{chosen}' states no units, taken to be 1")
    if others:
        said.append(f"further variables that may be observed: {others}")
    axes = {role: roles[role] for role in (LATITUDE, LONGITUDE) if role in roles}
    on = [set(dataset[name].dims) for name in axes.values()]
    gridded = len(on) == 2 and (
        not on[0] & on[1] or all(dataset[n].ndim == 2 for n in axes.values())
    )
    source: dict[str, Any] = {"_units": units or "1"}
    if units is None:
        source["units"] = "1"
    if gridded:
        said.append(f"'{chosen}' is an image on {dataset[chosen].dims}")
        named = {dim: axes[_kind(dim)] for dim in dims if _kind(dim) in axes}
        if "time" in roles:
            named["time"] = roles["time"]
        source |= {"kind": GriddedSource.name, "variable": chosen, "axes": named}
        if "error" in roles and set(dataset[roles["error"]].dims) <= set(dataset[chosen].dims):
            source["error"] = roles["error"]
    else:
        roles["value"] = chosen
        used = {role: name for role, name in roles.items() if role != "quality"}
        said.append(f"columns: {', '.join(f'{role} is {n!r}' for role, n in used.items())}")
        source |= {"kind": TableSource.name, "columns": used}
    if "quality" in roles:
        asked.append(f"the flags '{roles['quality']}' are not used; see source.accept")
    return source


def _kind(dim: str) -> str:
    return str(meaning(dim, {}))
