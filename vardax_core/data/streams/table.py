"""Observations at places of their own, from tables of any format."""

from collections.abc import Callable, Iterator

from vardax_core.data.streams.discrete import dataset_pieces, opened
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.parquet import parquet_pieces
from vardax_core.data.streams.rows import Piece
from vardax_core.data.streams.sections import TableSource
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.text import text_pieces


def table_pieces(file: Found, source: TableSource, tally: Tally) -> Iterator[Piece]:
    """Read a table in pieces.

    Raises:
        SourceFormatError: it cannot be read, or lacks a column.
    """
    return _READERS[str(source.format_of(file.suffix))](file, source, tally)


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
