"""What every source of the observations of a stream is."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from vardax_core.data.scalars import Duration, Integer, Number
from vardax_core.data.section import Section
from vardax_core.data.streams.columns import TimeReading
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.scalars import Flag, Gap, Mark
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.streams.tally import Tally


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


class AbstractStreamSource(Section):
    """Where the observations of a stream are found and how they are understood.

    A subclass is final and lies in a file of its own. It gives rows as its files have them; what
    their times, units, flags and bounds mean, and which rows are one observation, is found alike
    for all sources.

    Class attributes:
        name: by which recipes choose the source, as `kind`.
        title: one line for people.
    """

    name: ClassVar[str]
    title: ClassVar[str]

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

    kind: str = Field(description="name of the source")

    @field_validator("kind")
    @classmethod
    def _own(cls, kind: str) -> str:
        if kind != cls.name:
            raise ValueError(f"expected '{cls.name}', got '{kind}'")
        return kind

    @property
    @abstractmethod
    def is_described(self) -> bool:
        """Whether the files state units themselves."""

    @property
    def selections(self) -> dict[str, tuple[int | str, ...]]:
        """The values that are used of columns of flags, `quality` and `mask`."""
        return {}

    @property
    @abstractmethod
    def states_errors(self) -> bool:
        """Whether the files state the errors of the values."""

    @property
    def states_heights(self) -> bool:
        """Whether the files state the heights of the values."""
        return False

    @property
    def level_range(self) -> tuple[float, float] | None:
        """The levels that are used, in the units of the files; None where all are."""
        return None

    def faults_of_axes(self, dims: Sequence[str]) -> Iterable[str]:
        """Say what is wrong for states with these dimensions."""
        return ()

    @abstractmethod
    def pieces(self, file: Found, dims: Sequence[str], tally: Tally) -> Iterator[Piece]:
        """Read the rows of a file, in pieces that fit into memory.

        Each has columns for the roles `value`, `time` and every one of `dims`, and for those of
        `clock`, `platform`, `error`, `level`, `arrival` and of `selections` that there are.

        Arguments:
            file: which.
            dims: dimensions of one state.
            tally: its `files` are told the number of rows; doubts about the file go there.

        Raises:
            SourceError: the file cannot be read, or lacks something.
        """

    @property
    def are_images(self) -> bool:
        """Whether all values of an observation time are one image, and so one platform."""
        return False

    @property
    def averaging(self) -> Superobservation | None:
        """How values are averaged in cells of the state's grid, if they are."""
        return None
