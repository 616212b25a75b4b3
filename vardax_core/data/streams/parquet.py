"""Rows of Parquet, read in pieces."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.columns import Columns
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.text import columns_named

ROWS = 200_000
"""Rows of a piece."""


def parquet_pieces(file: Found, columns: Columns, decimal: str, tally: Tally) -> Iterator[Piece]:
    """Read a file of Parquet, only the columns that are needed.

    Arguments:
        file: which.
        columns: which is what.
        decimal: mark of decimals in text.
        tally: counts the rows.

    Raises:
        SourceFormatError: it is no Parquet, or lacks a column.
    """
    try:
        with pq.ParquetFile(file.path) as opened:
            names = opened.schema_arrow.names
            wanted = columns.by_role
            if columns.numbered:
                wanted = {role: names[int(n)] for role, n in wanted.items() if int(n) < len(names)}
            columns_named(wanted, names, file.name)
            number = 0
            for batch in opened.iter_batches(ROWS, columns=[str(n) for n in wanted.values()]):
                numbers = np.arange(number + 1, number + batch.num_rows + 1)
                number += batch.num_rows
                tally.files[file.name] = number
                found, attrs = {}, {}
                for role, name in wanted.items():
                    found[role], attrs[role] = column_of(batch.column(str(name)))
                yield Piece(file, numbers, found, wanted, attrs, decimal)
            tally.files[file.name] = number
    except (pa.ArrowException, OSError) as error:
        raise SourceFormatError(
            f"{file.name}: cannot be read as Parquet ({str(error).splitlines()[0]}). The file is "
            "empty, damaged, or still being written, for its end says what it holds; wait until it "
            "is complete, or write it again."
        ) from error


def column_of(array: pa.Array) -> tuple[np.ndarray, dict[str, object]]:
    """Give the values of a column, and whether instants are in UTC."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    zoned = False
    if pa.types.is_timestamp(array.type):
        zoned = array.type.tz is not None
        array = array.cast(pa.timestamp("ns"), safe=False)
    elif pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ns"))
    return array.to_numpy(zero_copy_only=False), {"zoned": zoned}
