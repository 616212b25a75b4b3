"""Rows of CSV and of text between blanks, read in pieces."""

import codecs
import csv
import dataclasses
import gzip
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import IO, cast

import numpy as np

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.account import Reason
from vardax_core.data.streams.columns import Columns
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.tally import Tally
from vardax_core.words import counted, did_you_mean

ROWS = 50_000
"""Rows of a piece."""

COMMENT = "#"
"""Beginning of a line that is none of the table, before its header or between blanks."""

UTF_8 = "utf-8-sig"
"""Encoding of text of which nothing is said, with or without a mark at its beginning."""

LOST = re.compile(r"\ufffd|\\x[89a-f][0-9a-f]")
"""What stands where a letter was in another encoding; as bytes, so that names stay apart."""

RECODE = (
    "write source.encoding (such as cp1252 or utf-16), or convert the file, e.g. iconv -f latin1 "
    "-t utf-8 IN > OUT"
)

_SEPARATORS = ",;\t|"
_OTHER_FORMATS = (b"\x89HDF", b"CDF", b"GRIB", b"PAR1", b"PK\x03\x04", b"\x1f\x8b")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a table is written as text.

    Attributes:
        columns: which is what.
        blanks: whether blanks separate them, however many.
        separator: of CSV; None for the one that is found.
        decimal: mark of decimals.
        skip: lines before the header or the first row.
        encoding: of the file; None for UTF-8.
    """

    columns: Columns
    blanks: bool
    separator: str | None
    decimal: str
    skip: int
    encoding: str | None = None


def text_pieces(file: Found, layout: Layout, tally: Tally) -> Iterator[Piece]:
    """Read a file of text.

    A row with another number of columns than the header, or than the first row where there is
    none, is not used: what stands in it is not known.

    Raises:
        SourceFormatError: it is empty, no text, or lacks a column.
    """
    try:
        _check_text(file, layout.encoding)
        if not file.name.endswith(".gz") and _ends_within_a_line(file):
            tally.doubt(
                f"{file.name} does not end with an end of line: if it is still being written, its "
                "last row may be cut"
            )
        with opened_text(file, layout.encoding) as handle:
            for _ in range(layout.skip):
                handle.readline()
            yield from _pieces(file, layout, tally, _split(handle, file, layout, tally))
    except (csv.Error, OSError, EOFError) as error:
        raise SourceFormatError(
            f"{file.name}: cannot be read as text ({error}). The file is damaged, closed to this "
            "user, or still being written; look at it, or fetch it again."
        ) from error


def _check_text(file: Found, encoding: str | None) -> None:
    with _opened_bytes(file) as raw:
        begin = raw.read(4096)
    if not begin.strip():
        raise SourceFormatError(
            f"{file.name}: the file is empty, expected a row for each observation; wait until it "
            "is written, or remove it."
        )
    zeros = encoding is None and b"\0" in begin.partition(b"\n")[0]
    if zeros or begin.startswith(_OTHER_FORMATS):
        raise SourceFormatError(
            f"{file.name}: is no text in UTF-8 (it begins with {begin[:8]!r}); correct "
            f"source.format, or {RECODE}."
        )


def encoding_of(file: Found, most: int = 10**7) -> str | None:
    """Guess the encoding of a file from its first bytes: None for UTF-8."""
    with _opened_bytes(file) as raw:
        begin = raw.read(most)
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(begin)
    except UnicodeDecodeError:
        return "cp1252"
    return None


def _opened_bytes(file: Found) -> io.BufferedIOBase:
    return gzip.open(file.path, "rb") if file.name.endswith(".gz") else file.path.open("rb")


def opened_text(file: Found, encoding: str | None) -> io.TextIOWrapper:
    """Open a file of text, packed or not; bytes that are no letters stay as `\\xfc`."""
    raw = cast(IO[bytes], _opened_bytes(file))
    return io.TextIOWrapper(raw, encoding or UTF_8, errors="backslashreplace", newline="")


def _ends_within_a_line(file: Found) -> bool:
    with file.path.open("rb") as raw:
        raw.seek(-min(2, file.path.stat().st_size), 2)
        return raw.read(2).rstrip(b"\0")[-1:] not in b"\r\n"


def _split(
    handle: io.TextIOWrapper, file: Found, layout: Layout, tally: Tally
) -> Iterator[list[str]]:
    """Rows that are not blank."""
    if layout.blanks:
        for line in handle:
            row = line.split()
            if row and not row[0].startswith(COMMENT):
                yield row
        return
    first = handle.readline()
    while first and (not first.strip() or (first.startswith(COMMENT) and layout.columns.numbered)):
        first = handle.readline()
    separator = layout.separator or max(_SEPARATORS, key=first.count)
    reader = csv.reader(itertools.chain([first], handle), delimiter=separator)
    before = spanning = first_spanning = 0
    for row in reader:
        if reader.line_num > before + 1:
            spanning += 1
            first_spanning = first_spanning or before + 1
        before = reader.line_num
        if len(row) > 1 or (row and row[0].strip()):
            yield row
    if spanning:
        tally.doubt(
            f"{file.name}: {counted(spanning, 'row')} of several lines (first at line "
            f"{first_spanning + layout.skip}): a quote that is not closed hides the rows after it"
        )


def _pieces(
    file: Found, layout: Layout, tally: Tally, rows: Iterator[list[str]]
) -> Iterator[Piece]:
    first = next(rows, None)
    if first is None:
        raise SourceFormatError(f"{file.name}: the file holds no row; remove it.")
    width = len(first)
    if layout.columns.numbered:
        rows = itertools.chain([first], rows)
        places = {role: int(n) for role, n in layout.columns.by_role.items()}
        beyond = {role: n for role, n in places.items() if n >= width}
        if beyond:
            raise SourceFormatError(
                f"{file.name}: its rows have {width} columns, numbered from 0, and there is no "
                f"column for {beyond}; correct source.columns."
            )
    else:
        places = columns_named(layout.columns.by_role, [cell.strip() for cell in first], file.name)
    number = 0
    for some in iter(lambda: list(itertools.islice(rows, ROWS)), []):
        numbers = np.arange(number + 1, number + len(some) + 1)
        number += len(some)
        fits = np.array([len(row) == width for row in some], bool)
        tally.count(
            Reason.ODD_ROW,
            ~fits,
            file.name,
            numbers,
            lambda at, some=some: f"{len(some[at])} columns, expected {width}",
        )
        good = [row for row, fit in zip(some, fits.tolist(), strict=True) if fit]
        columns = {role: np.array([row[at] for row in good], object) for role, at in places.items()}
        tally.files[file.name] = number
        yield Piece(file, numbers[fits], columns, layout.columns.by_role, {}, layout.decimal)
    tally.files[file.name] = number


def columns_named(
    wanted: dict[str, str | int], header: Sequence[str], where: str
) -> dict[str, int]:
    """Find columns in a header.

    Raises:
        SourceFormatError: one is not there, or twice.
    """
    if any(LOST.search(name) for name in header):
        repair = f"the file is not in UTF-8: {RECODE}"
    elif len(header) == 1 or header[0].startswith(COMMENT):
        repair = "where lines stand before the header, write their number as source.skip"
    else:
        repair = "where the file has no header, give numbers from 0"
    faults = []
    for role, name in wanted.items():
        if header.count(str(name)) != 1:
            twice = str(name) in header
            near = "" if twice else did_you_mean(str(name), header).rstrip(".")
            how = "more than one column" if twice else "no column"
            faults.append(f"{how} '{name}' for {role}{near}")
    if faults:
        shown = [name if len(name) <= 30 else f"{name[:30]}..." for name in header[:40]]
        raise SourceFormatError(
            f"{where}: there is {'; there is '.join(faults)}. Its columns are {shown}. Correct "
            f"source.columns; {repair}."
        )
    return {role: header.index(str(name)) for role, name in wanted.items()}
