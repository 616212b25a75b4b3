"""Rows as a file has them, a piece of it at a time."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from vardax_core.data.streams.files import Found

_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some rows of a file.

    Attributes:
        file: which.
        rows: their numbers, from 1.
        columns: what stands in them, for each role that has a column.
        names: of these columns.
        attrs: of variables that describe themselves.
        decimal: mark of decimals in text.
    """

    file: Found
    rows: Int[np.ndarray, " row"]
    columns: Mapping[str, np.ndarray]
    names: Mapping[str, str | int]
    attrs: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    decimal: str = "."

    def shown(self, role: str, index: int) -> str:
        """Say what stands in a column at an index."""
        value = str(self.columns[role][index]).strip()
        short = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        return f"{self.names[role]} = {short!r}" if value else f"{self.names[role]} is blank"
