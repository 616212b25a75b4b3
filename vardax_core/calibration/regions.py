"""Quarters of a grid, so that a fault in one part of the domain is seen."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from vardax_core.state.grids import AbstractGrid

QUARTERS = 4
"""Regions of every grid; those of a grid with fewer points are empty."""


def region_index(shape: tuple[int, ...]) -> Int[np.ndarray, "*state"]:
    """The quarter of every point: four stretches of a line, two by two of the last two dimensions
    of everything else."""
    if not shape:
        return np.zeros((), int)
    if len(shape) == 1:
        return np.minimum(np.arange(shape[0]) * QUARTERS // shape[0], QUARTERS - 1)
    rows, columns = (np.minimum(np.arange(n) * 2 // n, 1) for n in shape[-2:])
    return np.broadcast_to(2 * rows[:, None] + columns, shape)


def region_names(grid: AbstractGrid, dims: Sequence[str]) -> list[str]:
    """What a reader calls the quarters: the span of the coordinates in each, "-" where empty.

    Arguments:
        grid: of the state.
        dims: names of its dimensions, in order.
    """
    index, positions = region_index(grid.shape), np.asarray(grid.positions())
    return [
        ", ".join(_span(dim, positions[index == quarter, k]) for k, dim in enumerate(dims))
        if np.any(index == quarter)
        else "-"
        for quarter in range(QUARTERS)
    ]


def _span(dim: str, values: np.ndarray) -> str:
    return f"{dim} {values.min():g} to {values.max():g}"
