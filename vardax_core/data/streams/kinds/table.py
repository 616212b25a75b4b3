"""Observations at places of their own, from tables of any format."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from vardax_core.data.scalars import Integer, Number
from vardax_core.data.streams.columns import Columns
from vardax_core.data.streams.discrete import dataset_pieces, opened
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.parquet import parquet_pieces
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.scalars import Encoding
from vardax_core.data.streams.source import AbstractStreamSource
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.text import Layout, text_pieces
from vardax_core.words import did_you_mean

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".dat": "text",
    ".txt": "text",
    ".asc": "text",
    ".nc": "netcdf",
    ".nc4": "netcdf",
    ".cdf": "netcdf",
    ".zarr": "zarr",
}
"""What a file is, by its suffix."""

DESCRIBED = ("netcdf", "zarr")
"""Formats whose variables state their own units and times."""


class TableSource(AbstractStreamSource):
    """Observations at places of their own, a row each: CSV, Parquet, text, NetCDF or zarr."""

    name: ClassVar[str] = "table"
    title: ClassVar[str] = "a row for each observation: CSV, Parquet, text, NetCDF or zarr"

    format: Literal["csv", "parquet", "text", "netcdf", "zarr"] | None = Field(
        default=None, description="by default what the suffix of a file says"
    )
    columns: Columns
    separator: str | None = Field(
        default=None, min_length=1, max_length=1, description="of CSV; by default as found"
    )
    decimal: Literal[".", ","] = Field(default=".", description="mark of decimals in text")
    skip: Integer = Field(default=0, ge=0, description="lines before the header or the first row")
    encoding: Encoding | None = Field(
        default=None, description="of text: cp1252, latin-1, utf-16; by default UTF-8"
    )

    levels: tuple[Number, Number] | None = Field(
        default=None,
        description="least and greatest level that is used, in the units of `columns.level`",
    )

    def _faults(self) -> Iterator[str]:
        unknown = sorted({f.suffix for f in self.files if self.format_of(f.suffix) is None})
        if unknown:
            yield (
                f"format: the suffixes {unknown} do not say what the files are; choose csv, "
                "parquet, text (columns between blanks), netcdf or zarr"
                + ("; of a folder write its files, such as images/*.nc" if "" in unknown else "")
            )
        if self.units is None and not unknown and not self.is_described:
            yield "units are needed: the files do not state those of the values; e.g. units: degC"
        if (self.accept is None) != (self.columns.quality is None):
            yield "accept and columns.quality go together: which flags of which column are used"
        if self.levels is not None and self.columns.level is None:
            yield "levels: columns.level is needed, the level of each value"
        if self.levels is not None and not self.levels[0] <= self.levels[1]:
            yield f"levels {list(self.levels)}: write the least first, and then the greatest"
        if self.gap is not None and self.columns.platform is not None:
            yield "gap makes platforms where no column names them; leave it or the column out"
        if self.delay is not None and self.columns.arrival is not None:
            yield "delay and columns.arrival both say when a value arrives; leave one out"
        if self.columns.numbered and self.is_described:
            yield "columns of NetCDF and zarr are given by name"

    @property
    def states_errors(self) -> bool:
        return self.columns.error is not None

    @property
    def states_heights(self) -> bool:
        return self.columns.level is not None

    @property
    def level_range(self) -> tuple[float, float] | None:
        return self.levels

    def format_of(self, suffix: str) -> str | None:
        """Give the format of a file with a suffix, None where it is not known."""
        return self.format or FORMATS.get(suffix)

    @property
    def is_described(self) -> bool:
        return all(self.format_of(file.suffix) in DESCRIBED for file in self.files)

    @property
    def selections(self) -> dict[str, tuple[int | str, ...]]:
        return {} if self.accept is None else {"quality": self.accept}

    def faults_of_axes(self, dims: Sequence[str]) -> Iterator[str]:
        for key in self.columns.places:
            if key not in dims:
                known = [*Columns.model_fields, *dims]
                known.remove("places")
                yield (
                    f"columns: unknown key '{key}'{did_you_mean(key, known)} Valid keys: "
                    f"{', '.join(known)}."
                )
        for dim in dims:
            if dim not in self.columns.places:
                yield f"columns.{dim} is needed: the column of the place along '{dim}'"

    def pieces(self, file: Found, dims: Sequence[str], tally: Tally) -> Iterator[Piece]:
        kind = self.format_of(file.suffix)
        if kind in DESCRIBED:
            with opened(file) as dataset:
                wanted = {role: str(name) for role, name in self.columns.by_role.items()}
                yield from dataset_pieces(dataset, wanted, file, tally)
        elif kind == "parquet":
            yield from parquet_pieces(file, self.columns, self.decimal, tally)
        else:
            blanks = kind == "text" and self.separator is None
            layout = Layout(
                self.columns, blanks, self.separator, self.decimal, self.skip, self.encoding
            )
            yield from text_pieces(file, layout, tally)
