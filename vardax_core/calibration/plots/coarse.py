"""Fields with no more points than a picture can show."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MOST = 720
"""Points along an axis, about twice those that a map of a report has pixels for."""


class Drawn(NamedTuple):
    """What is drawn of a field, with the coordinates of its points."""

    rows: Float[np.ndarray, "y x"]
    columns: Float[np.ndarray, "y x"]
    field: Float[np.ndarray, "y x"]


def as_drawn(
    rows: Float[np.ndarray, "y x"],
    columns: Float[np.ndarray, "y x"],
    field: Float[np.ndarray, "y x"],
    most: int = MOST,
) -> Drawn:
    """Average a field over blocks of points, so that no axis has more than `most` of them.

    Nothing is left out that a subset would miss. A block is known where half of its points are, so
    that coasts stay where they are; a field that is small enough stays bit for bit.

    Arguments:
        rows, columns: coordinates of the points.
        field: NaN where unknown.
        most: blocks along an axis.
    """
    sides = tuple(-(-size // most) for size in field.shape)
    if max(sides) == 1:
        return Drawn(rows, columns, field)
    known = np.isfinite(field)
    count, there = _sums(known.astype(float), sides), _sums(np.ones(field.shape), sides)
    total = _sums(np.where(known, field, 0.0), sides)
    mean = np.where(2 * count >= there, total / np.maximum(count, 1), np.nan)
    return Drawn(_sums(rows, sides) / there, _sums(columns, sides) / there, mean)


def _sums(
    values: Float[np.ndarray, "y x"], sides: tuple[int, ...]
) -> Float[np.ndarray, "block_y block_x"]:
    for axis, side in enumerate(sides):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], side), axis=axis)
    return values
