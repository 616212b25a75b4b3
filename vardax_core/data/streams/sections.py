"""The sections of a recipe that describe its streams of real observations."""

import math
import pathlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from vardax_core.data.scalars import Duration, Integer, Number
from vardax_core.data.section import Section
from vardax_core.data.streams.columns import Columns, TimeReading
from vardax_core.data.streams.quality import Bias, Heights
from vardax_core.data.streams.scalars import (
    FilePattern,
    Flag,
    Gap,
    Mark,
)
from vardax_core.data.streams.units import UnknownUnitsError, conversion
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

_WILD = re.compile(r"[*?\[]")


class StreamFile(Section):
    """A file, or all files that fit a pattern, below the folders of data."""

    name: FilePattern = Field(description="a path or a pattern (*, ?, [..], **) below the folders")
    sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="of a file that never changes"
    )

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        return {"name": values} if isinstance(values, str) else values

    def _faults(self) -> Iterator[str]:
        if self.sha256 is not None and self.is_pattern:
            yield f"sha256 belongs to one file, and '{self.name}' is a pattern; leave it out"

    @property
    def is_pattern(self) -> bool:
        """Whether more than one file may fit."""
        return _WILD.search(self.name) is not None

    @property
    def suffix(self) -> str:
        """The suffix, without that of a compression."""
        path = pathlib.PurePosixPath(self.name)
        return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


class AbstractStreamSource(Section):
    """Where the observations of a stream are found and how they are understood."""

    files: tuple[StreamFile, ...] = Field(
        min_length=1, description="paths and patterns below the folders of data"
    )
    time: TimeReading = Field(default=TimeReading(), description="how times are understood")
    units: str | None = Field(
        default=None, min_length=1, description="of the values; by default those that a file states"
    )
    missing: tuple[Mark, ...] = Field(default=(), description="further marks of a missing value")
    accept: tuple[Flag, ...] | None = Field(
        default=None, description="flags of the provider whose values are used"
    )
    delay: Duration | None = Field(
        default=None,
        description="from valid time to arrival; by default a value arrives when its file is "
        "modified",
    )
    gap: Gap | None = Field(
        default=None,
        description="a longer gap between times begins a new platform, where none is named",
    )

    @property
    @abstractmethod
    def is_described(self) -> bool:
        """Whether the files state units themselves."""

    @property
    @abstractmethod
    def selections(self) -> dict[str, tuple[int | str, ...]]:
        """The values that are used of columns of flags, `quality` and `mask`."""

    @property
    @abstractmethod
    def states_errors(self) -> bool:
        """Whether the files state the errors of the values."""

    @property
    @abstractmethod
    def states_heights(self) -> bool:
        """Whether the files state the heights of the values."""

    @abstractmethod
    def faults_of_axes(self, dims: Sequence[str]) -> Iterator[str]:
        """Say what is wrong for states with these dimensions."""


class TableSource(AbstractStreamSource):
    """Observations at places of their own, a row each: CSV, Parquet, text, NetCDF or zarr."""

    kind: Literal["table"]
    format: Literal["csv", "parquet", "text", "netcdf", "zarr"] | None = Field(
        default=None, description="by default what the suffix of a file says"
    )
    columns: Columns
    separator: str | None = Field(
        default=None, min_length=1, max_length=1, description="of CSV; by default as found"
    )
    decimal: Literal[".", ","] = Field(default=".", description="mark of decimals in text")
    skip: Integer = Field(default=0, ge=0, description="lines before the header or the first row")

    def _faults(self) -> Iterator[str]:
        unknown = sorted({f.suffix for f in self.files if self.format_of(f.suffix) is None})
        if unknown:
            yield (
                f"format: the suffixes {unknown} do not say what the files are; choose csv, "
                "parquet, text (columns between blanks), netcdf or zarr"
            )
        if self.units is None and not unknown and not self.is_described:
            yield "units are needed: the files do not state those of the values; e.g. units: degC"
        if (self.accept is None) != (self.columns.quality is None):
            yield "accept and columns.quality go together: which flags of which column are used"
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


class TimeStatistic(Section):
    """What a value is of the hours before its time."""

    kind: Literal["maximum", "minimum", "mean"]
    hours: Integer = Field(ge=1, le=24 * 31, description="how many")


class Selection(Section):
    """A variable that says which points of every image are used."""

    variable: str = Field(min_length=1, description="on the points of an image")
    accept: tuple[Flag, ...] = Field(min_length=1, description="its values at points that are used")


class Superobservation(Section):
    """Averages over cells of the state's grid in place of single pixels."""

    points: Integer = Field(default=1, ge=1, description="grid points along a side of a cell")
    correlation: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="of the errors of two pixels of a cell: this part does not average out",
    )
    fewest: Integer = Field(default=1, ge=1, description="pixels without which a cell has no value")


class GriddedSource(AbstractStreamSource):
    """Images with gaps on their own grid: NetCDF or zarr with (time, y, x)."""

    kind: Literal["gridded"]
    variable: str = Field(min_length=1, description="what was observed")
    axes: dict[str, str] = Field(
        default_factory=dict,
        description="coordinates of the images for `time` and the recipe's state_dims; by default "
        "as their names and attributes say",
    )
    error: str | None = Field(
        default=None, description="variable of the errors' standard deviation"
    )
    quality: str | None = Field(default=None, description="variable of the provider's flags")
    mask: Selection | None = Field(default=None, description="points that are used in every image")
    superobserve: Superobservation | None = Field(default=None, description="averages over cells")

    def _faults(self) -> Iterator[str]:
        if (self.accept is None) != (self.quality is None):
            yield "accept and quality go together: which flags of which variable are used"

    @property
    def states_errors(self) -> bool:
        return self.error is not None

    @property
    def states_heights(self) -> bool:
        return False

    @property
    def is_described(self) -> bool:
        return True

    @property
    def selections(self) -> dict[str, tuple[int | str, ...]]:
        chosen = {} if self.accept is None else {"quality": self.accept}
        return chosen if self.mask is None else chosen | {"mask": self.mask.accept}

    def faults_of_axes(self, dims: Sequence[str]) -> Iterator[str]:
        for key in self.axes:
            if key not in ("time", *dims):
                yield f"axes: unknown key '{key}'{did_you_mean(key, ['time', *dims])}"


class Stream(Section):
    """Observations of one kind from one instrument or observing network."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100, description="of the stream")
    source: Annotated[TableSource | GriddedSource, Field(discriminator="kind")]
    error_sd: Number | None = Field(
        default=None,
        gt=0,
        description="standard deviation of the error in the variable's units, of values that state "
        "none themselves",
    )
    representativeness: Number = Field(
        default=0.0,
        ge=0,
        description="standard deviation of what a grid cannot resolve, added in squares, in the "
        "variable's units",
    )
    errors: Literal["estimated"] | None = Field(
        default=None,
        description="estimated: the errors are scaled to what innovations and residuals of the "
        "training period say; by default they are as stated, and this is only reported",
    )
    bias: Bias | None = Field(
        default=None,
        description="platform or stream: what each is off the others by is found and taken off",
    )
    heights: Heights | None = Field(
        default=None,
        description="how values change with height, by what they are brought to the grid's",
    )
    statistic: TimeStatistic | None = Field(
        default=None,
        description="what each value is of the hours before its time; by default of its instant",
    )
    valid_min: Number | None = Field(default=None, description="narrower than the variable's")
    valid_max: Number | None = Field(default=None, description="narrower than the variable's")

    def _faults(self) -> Iterator[str]:
        low, high = self.bounds_within((-math.inf, math.inf))
        if not low < high:
            yield f"valid_min {self.valid_min} must be below valid_max {self.valid_max}"
        if self.heights is not None and not self.source.states_heights:
            yield "heights: columns.level is needed, the height of the place of each value"
        fleeting = isinstance(self.source, GriddedSource) or self.source.gap is not None
        if self.carries_bias and self.bias_by == "platform" and fleeting:
            yield (
                "bias.memory: images, and platforms that gaps make, are seen once, so that there "
                "is nothing to remember; say by: stream, or leave memory out"
            )

    @property
    def bias_by(self) -> str:
        """What has a bias of its own, asked for or not."""
        return "platform" if self.bias is None else self.bias.by

    @property
    def carries_bias(self) -> bool:
        """Whether a bias is carried from cycle to cycle."""
        return self.bias is not None and self.bias.memory is not None

    def faults_with(
        self, dims: Sequence[str], units: str, bounds: tuple[float, float]
    ) -> Iterator[str]:
        """Say what is wrong for states with these dimensions and a variable in these units.

        Arguments:
            dims: dimensions of one state.
            units: of the variable.
            bounds: of its values, in `units`.
        """
        for fault in self.source.faults_of_axes(dims):
            yield f"source.{fault}"
        if self.source.units is not None:
            try:
                conversion(self.source.units, units)
            except UnknownUnitsError as error:
                yield f"source.units: {error}"
        low, high = self.bounds_within(bounds)
        if not low < high:
            yield f"valid_min and valid_max leave no value within the variable's {list(bounds)}"

    def bounds_within(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """Give the range of possible values, in the variable's units."""
        low = -math.inf if self.valid_min is None else self.valid_min
        high = math.inf if self.valid_max is None else self.valid_max
        return max(low, bounds[0]), min(high, bounds[1])


def faults_of_names(streams: Sequence[Stream]) -> Iterator[str]:
    """Say which names two streams share."""
    names = [stream.name for stream in streams]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the name '{name}' is given to more than one stream; give each its own"
