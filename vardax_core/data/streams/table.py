"""Observations at places of their own, from tables of any format."""

from collections.abc import Callable, Iterator

from vardax_core.data.streams.discrete import dataset_pieces, opened
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.parquet import parquet_pieces
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.rows import Piece, Reader
from vardax_core.data.streams.sections import TableSource
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.text import text_pieces


def table_records(reader: Reader, file: Found, source: TableSource) -> Iterator[Records]:
    """Read the records of a table, piece by piece.

    Raises:
        SourceError: the file cannot be read, or lacks a column.
    """
    pieces = _READERS[str(source.format_of(file.suffix))]
    for piece in pieces(file, source, reader.tally):
        yield reader.records(piece)


def _variables(file: Found, source: TableSource, tally: Tally) -> Iterator[Piece]:
    with opened(file) as dataset:
        wanted = {role: str(name) for role, name in source.columns.by_role.items()}
        yield from dataset_pieces(dataset, wanted, file, tally)


_READERS: dict[str, Callable[[Found, TableSource, Tally], Iterator[Piece]]] = {
    "csv": text_pieces,
    "text": text_pieces,
    "parquet": parquet_pieces,
    "netcdf": _variables,
    "zarr": _variables,
}
