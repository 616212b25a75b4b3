"""From the files of a stream to its records and the account of them."""

import dataclasses
import datetime
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from vardax_core.data.errors import RecipeError, SourceError
from vardax_core.data.streams.account import (
    REPAIRS,
    Example,
    NothingUsableError,
    Reason,
    StreamAccount,
)
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.streams.levels import refuse_levels
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.revisions import Versions, resolve
from vardax_core.data.streams.rows import Reader
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.superobserve import superobserved
from vardax_core.data.streams.suspicions import suspicions, swapped
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.tracks import with_tracks
from vardax_core.observations.quality import QualityCode
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import counted


@dataclasses.dataclass(frozen=True)
class StreamRecords:
    """What was read of a stream for a period.

    Attributes:
        records: the observations, in the order of `Records.in_order`; used where the code is KEPT.
        superseded: earlier values of those that were corrected later.
        account: what became of every row.
    """

    records: Records
    superseded: Records
    account: StreamAccount


def read_stream(
    stream: Stream,
    *,
    dims: Sequence[str],
    units: str,
    bounds: tuple[float, float],
    start: datetime.datetime | np.datetime64,
    end: datetime.datetime | np.datetime64,
    folders: Sequence[pathlib.Path],
    grid: AbstractGrid | None = None,
) -> StreamRecords:
    """Read the observations of a stream.

    The records depend on what the files say and not on how it is spread over them: permuting,
    splitting, repeating or renaming files, a turn of all longitudes, and rows without a value
    change nothing but `file` and `row`, and `arrival` where that is when a file was modified.

    Arguments:
        stream: what the recipe says of it.
        dims: dimensions of one state, which are the coordinates of a place.
        units: of the variable.
        bounds: of its values, in `units`.
        start, end: of the period, both included; UTC where they have no zone.
        folders: of data, searched in their order.
        grid: of the states; with it, places outside and on land are marked, and
            values of several levels that no state can have are refused.

    Raises:
        RecipeError: the stream does not fit the states, or has values of several levels.
        SourceNotFoundError: there are no files.
        ChecksumError: a file has another content than the recipe says.
        SourceError: no file can be read; of the kind that fits the fault of the first.
        NothingUsableError: every row is at fault.
    """
    faults = list(stream.faults_with(dims, units, bounds))
    if faults:
        raise RecipeError(f"stream '{stream.name}': " + "; ".join(faults))
    files = find_files(stream.source.files, folders)
    reader = Reader(
        stream, tuple(dims), units, bounds, _instant(start), _instant(end), grid, Tally()
    )
    parts = [part for file in files for part in _of_file(reader, file, len(files) == 1)]
    if len(reader.tally.refused) == len(files):
        raise _refusal(reader)
    everything = Records.none(stream.name, dims).joined(*parts)
    parts.clear()
    versions = _in_period(reader, resolve(everything))
    found = _accounted(reader, versions)
    if grid is not None:
        refuse_levels(stream, dims, found.records)
    return found


def _instant(instant: datetime.datetime | np.datetime64) -> np.datetime64:
    if isinstance(instant, datetime.datetime) and instant.tzinfo is not None:
        instant = instant.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.array([instant], "datetime64[ns]")[0]


def _of_file(reader: Reader, file: Found, alone: bool) -> list[Records]:
    """The records of a file; none where it is refused, which is noted."""
    own = dataclasses.replace(reader, tally=Tally())
    try:
        parts = [part for part in _records(own, file) if len(part)]
        file.check_unchanged()
    except SourceError as error:
        if alone:
            raise
        reader.tally.refused[file.name] = str(error)
        reader.tally.errors.append(error)
        return []
    reader.tally.include(own.tally)
    if not parts and own.tally.rows:
        reader.tally.without_records.append(file.name)
    return parts


def _records(reader: Reader, file: Found) -> Iterator[Records]:
    source = reader.stream.source
    parts = map(reader.records, source.pieces(file, reader.dims, reader.tally))
    if source.averaging is None:
        return parts
    return superobserved(reader, source.averaging, parts, file.name)


def _refusal(reader: Reader) -> SourceError:
    (first, *others) = reader.tally.errors
    more = f" So it is with {counted(len(others), 'further file')}." if others else ""
    return type(first)(f"stream '{reader.stream.name}': {first}{more}")


def _in_period(reader: Reader, versions: Versions) -> Versions:
    """Platforms made of gaps, and then only what lies in the period."""
    gap = reader.stream.source.gap
    if gap is None:
        return versions
    tracks = with_tracks(versions, gap)
    early = tracks.current.time < reader.start
    if early.any():
        at = int(np.argmax(early))
        before = tracks.current
        example = Example(before.files[before.file[at]], int(before.row[at]))
        reader.tally.add(Reason.OUTSIDE_PERIOD, int(early.sum()), example)
    return dataclasses.replace(
        tracks,
        current=tracks.current.taken(~early).tidied(),
        superseded=tracks.superseded.taken(tracks.superseded.time >= reader.start).tidied(),
    )


def _accounted(reader: Reader, versions: Versions) -> StreamRecords:
    tally, records = reader.tally, versions.current
    for reason, number, first in (
        (Reason.REPEATED, versions.repeated, versions.first_repeated),
        (Reason.SUPERSEDED, len(versions.superseded), versions.first_superseded),
        (Reason.CONFLICTING, versions.conflicting, versions.first_conflicting),
    ):
        if number and len(first):
            example = Example(
                first.files[first.file[0]],
                int(first.row[0]),
                f"{np.datetime_as_string(first.time[0], unit='s')}, {first.value[0]:.6g}",
            )
            tally.add(reason, number, example)
    if tally.without_records and len(tally.without_records) < len(tally.files):
        tally.note(
            f"files without an observation in the period: {len(tally.without_records)} of "
            f"{len(tally.files)} (first {min(tally.without_records)})"
        )
    used = int((records.code == QualityCode.KEPT).sum())
    account = StreamAccount(
        stream=reader.stream.name,
        rows=tally.rows,
        used=used,
        without=tally.ordered(),
        notes=tuple(tally.notes),
        suspicions=tuple(suspicions(reader, records)),
        refused=tally.refused,
        files=tally.files,
        period=_span(records),
    )
    at_fault = [reason for reason in account.without if reason in REPAIRS]
    if not used and (at_fault or any(swapped(reader))):
        raise NothingUsableError(
            f"Stream '{account.stream}': {counted(account.rows, 'row')} of "
            f"{sorted(account.files)[:3]} read, expected observations, and none can be used:\n  "
            + "\n  ".join(account.sentences()[1:])
        )
    return StreamRecords(records, versions.superseded, account)


def _span(records: Records) -> tuple[str, str] | None:
    if not len(records):
        return None
    first, last = np.datetime_as_string(records.time[[0, -1]], unit="s").tolist()
    return first, last
