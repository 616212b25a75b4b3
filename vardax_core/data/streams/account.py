"""What was found in the files of a stream, in numbers and in words."""

import dataclasses
import enum

from vardax_core.data.errors import SourceError
from vardax_core.words import counted


class NothingUsableError(SourceError):
    """Every row of a stream is at fault."""


class Reason(enum.StrEnum):
    """Why a row is no record, or a record that is not used."""

    MISSING = "without a value"
    NOT_A_NUMBER = "with text where a number is expected"
    ODD_ROW = "with another number of columns than the others"
    NO_TIME = "without a time"
    BAD_TIME = "with a time that is not understood"
    AMBIGUOUS_TIME = "with a time that may mean two instants"
    NO_PLACE = "without a place"
    BAD_PLACE = "at a place that does not exist"
    OUTSIDE_PERIOD = "outside of the period"
    OTHER_LEVEL = "outside of the levels"
    MASKED = "outside of the mask"
    FLAGGED = "with a flag that is not accepted"
    REPEATED = "that repeat others"
    SUPERSEDED = "that were corrected later"
    OUT_OF_BOUNDS = "out of bounds"
    OUTSIDE_GRID = "outside of the grid"
    ON_LAND = "on land or among masked points"
    CONFLICTING = "that contradict others of the same time and place"

    @property
    def repair(self) -> str:
        """What to do where it befalls many rows; empty where nothing is at fault."""
        return REPAIRS.get(self, "")


REPAIRS = {
    Reason.NOT_A_NUMBER: "correct source.columns or source.decimal, or list the text in "
    "source.missing",
    Reason.ODD_ROW: "is the file complete, and source.separator right?",
    Reason.NO_TIME: "correct columns.time",
    Reason.BAD_TIME: "write time.format, e.g. '%d.%m.%Y %H:%M', or time.units, e.g. "
    "'days since 1950-01-01'",
    Reason.AMBIGUOUS_TIME: "write time.format, '%d/%m/%Y' or '%m/%d/%Y'; of hours that a clock "
    "repeats or skips give the offset from UTC",
    Reason.NO_PLACE: "correct the columns of the place",
    Reason.BAD_PLACE: "correct the columns of the place; are latitude and longitude swapped?",
    Reason.OTHER_LEVEL: "see source.levels, in the units of columns.level",
    Reason.OUT_OF_BOUNDS: "correct source.units, or the bounds",
    Reason.CONFLICTING: "name columns.platform or columns.level, or remove the wrong ones",
}
"""Faults that leave nothing usable where they befall every row, and what to do."""
KEPT_AS_RECORDS = (
    Reason.OUT_OF_BOUNDS,
    Reason.OUTSIDE_GRID,
    Reason.ON_LAND,
    Reason.CONFLICTING,
)
"""Those of records that stay with a `QualityCode`; rows for the other reasons are no records."""


@dataclasses.dataclass(frozen=True, order=True)
class Example:
    """The first row with some fault.

    Attributes:
        file: its name below the folders of data.
        row: from 1.
        found: what stands there.
    """

    file: str
    row: int
    found: str = ""

    def __str__(self) -> str:
        return f"{self.file} row {self.row}" + (f": {self.found}" if self.found else "")


@dataclasses.dataclass(frozen=True)
class StreamAccount:
    """What became of every row of a stream.

    Attributes:
        stream: its name.
        rows: rows read.
        used: records with the code KEPT.
        without: number and first of the rows for each reason.
        notes: what was done and assumed, in sentences.
        suspicions: what looks wrong, in sentences, with what to do.
        refused: files of which nothing was taken, and why.
        files: rows of each file that was read.
        period: first and last time of a record, ISO 8601, or None.
    """

    stream: str
    rows: int
    used: int
    without: dict[Reason, tuple[int, Example]]
    notes: tuple[str, ...]
    suspicions: tuple[str, ...]
    refused: dict[str, str]
    files: dict[str, int]
    period: tuple[str, str] | None

    def count(self, reason: Reason) -> int:
        """Give the number of rows for a reason."""
        return self.without[reason][0] if reason in self.without else 0

    def sentences(self) -> list[str]:
        """Everything, for a log or a page."""
        span = f", {self.period[0]} to {self.period[1]}" if self.period else ""
        return [
            f"stream '{self.stream}': {counted(self.rows, 'row')} of "
            f"{counted(len(self.files), 'file')} read, {self.used} used{span}",
            *(
                f"{count} {reason} (first {example})" + (reason.repair and f"; {reason.repair}")
                for reason, (count, example) in self.without.items()
            ),
            *self.notes,
            *self.warnings(),
        ]

    def warnings(self) -> list[str]:
        """What somebody who runs it should see."""
        return [
            *self.suspicions,
            *(f"nothing was taken from {why}" for why in self.refused.values()),
        ]
