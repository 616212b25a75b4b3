"""Counting, while files are read, what becomes of their rows."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from vardax_core.data.errors import SourceError
from vardax_core.data.streams.account import Example, Reason

SAMPLE = 500
"""Rows of every piece of a file by which the whole of a stream is judged."""


class Tally:
    """The account of a stream in the making.

    Attributes:
        files: rows of each file.
        without: number and first of the rows for each reason; the first by file and row.
        notes: sentences, each once, in order.
        doubts: what looks wrong in a file, each once.
        refused: files of which nothing was taken, and why.
        values: samples of values in the units of the files.
        places: samples of places as the files have them.
        zoneless, zoned: times that state no zone, of which the first, and those that do.
        bad_errors: errors that are zero, negative or no number, and the first.
        units: of the values of the last file.
        without_records: files of which no row is a record.
        errors: for which files were refused.
    """

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.without: dict[Reason, tuple[int, Example]] = {}
        self.notes: dict[str, None] = {}
        self.doubts: dict[str, None] = {}
        self.refused: dict[str, str] = {}
        self.values: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self.zoneless: tuple[int, Example | None] = (0, None)
        self.zoned = 0
        self.bad_errors: tuple[int, Example | None] = (0, None)
        self.units: str | None = None
        self.without_records: list[str] = []
        self.errors: list[SourceError] = []

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(self.files.values())

    def note(self, sentence: str) -> None:
        """Say something once."""
        if sentence:
            self.notes[sentence] = None

    def doubt(self, sentence: str) -> None:
        """Say once what looks wrong."""
        if sentence:
            self.doubts[sentence] = None

    def count(
        self,
        reason: Reason,
        which: Bool[np.ndarray, " row"],
        file: str,
        rows: Int[np.ndarray, " row"],
        found: Callable[[int], str] = lambda index: "",
    ) -> None:
        """Count rows for a reason.

        Arguments:
            reason: why.
            which: of the piece that is read.
            file: its name.
            rows: their numbers in it.
            found: says what stands at an index of the piece.
        """
        if which.any():
            at = int(np.argmax(which))
            self.add(reason, int(which.sum()), Example(file, int(rows[at]), found(at)))

    def add(self, reason: Reason, number: int, example: Example) -> None:
        """Count rows of which one is known."""
        before, first = self.without.get(reason, (0, example))
        self.without[reason] = (before + number, min(first, example))

    def include(self, other: "Tally") -> None:
        """Add what was counted in other files."""
        self.files |= other.files
        for reason, (number, example) in other.without.items():
            self.add(reason, number, example)
        self.notes |= other.notes
        self.doubts |= other.doubts
        self.values += other.values
        self.places += other.places
        self.zoned += other.zoned
        for count, (number, first) in (
            (self.count_zoneless, other.zoneless),
            (self.count_bad_errors, other.bad_errors),
        ):
            if first is not None:
                count(number, first)
        self.units = other.units or self.units

    def count_zoneless(self, number: int, example: Example) -> None:
        """Count times that state no zone."""
        before, first = self.zoneless
        self.zoneless = (before + number, example if first is None else min(first, example))

    def count_bad_errors(self, number: int, example: Example) -> None:
        """Count errors that are zero, negative or no number."""
        before, first = self.bad_errors
        self.bad_errors = (before + number, example if first is None else min(first, example))

    def sample(
        self, values: Float[np.ndarray, " row"], places: Float[np.ndarray, "row coordinate"]
    ) -> None:
        """Keep some rows that have a value and a place."""
        whole = np.flatnonzero(np.isfinite(values) & np.isfinite(places).all(axis=1))
        some = whole[:: max(1, whole.size // SAMPLE)][:SAMPLE]
        self.values.append(values[some])
        self.places.append(places[some])

    def ordered(self) -> dict[Reason, tuple[int, Example]]:
        """Give the counts in the order of `Reason`."""
        return {reason: self.without[reason] for reason in Reason if reason in self.without}
