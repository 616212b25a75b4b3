"""Values of several levels, which states without a vertical axis cannot tell apart."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from vardax_core.data.errors import RecipeError
from vardax_core.data.streams.guesses import NAMES
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.sections import Stream
from vardax_core.observations.quality import QualityCode

ROUNDING = 1e-5
"""Levels that differ by less, relative to the largest, are one that was rounded."""
_FLOAT32 = 1e-6


def within(
    level: Float[np.ndarray, " row"], levels: tuple[float, float]
) -> Bool[np.ndarray, " row"]:
    """Whether levels lie in a range, both ends included; NaN does not.

    Ends are met to the rounding of float32, so that 0.1 in the file is 0.1 in the recipe.
    """
    low, high = levels
    return (level >= low - _FLOAT32 * abs(low)) & (level <= high + _FLOAT32 * abs(high))


def span_of_levels(records: Records) -> tuple[int, float, float] | None:
    """How many levels there are where values of one platform, or of one place, have several.

    A platform without a name is told by its place; where neither a place nor a time recurs, all
    are one that moves. Stations of which each has a height of its own are at one level each.

    Returns:
        Number of different levels that are used, the least and the greatest; None where each
        platform has one.
    """
    known = (records.code == QualityCode.KEPT) & np.isfinite(records.level)
    some = records.taken(known)
    if len(some) < 2:
        return None
    rounding = ROUNDING * float(np.abs(some.level).max())
    if np.ptp(some.level) <= rounding:
        return None
    group = some.platform.astype(np.int64)
    if some.platforms == (some.stream,):
        places = np.unique(some.place, axis=0, return_inverse=True)[1].reshape(-1)
        moves = places.max() + 1 == len(some) and np.unique(some.time).size == len(some)
        group = np.zeros_like(places) if moves else places
    order = np.lexsort((some.level, group))
    level, group = some.level[order], group[order]
    first = np.r_[0, np.flatnonzero(np.diff(group)) + 1]
    last = np.r_[first[1:], len(group)] - 1
    if not (level[last] - level[first] > rounding).any():
        return None
    every = np.sort(level)
    number = 1 + int((np.diff(every) > rounding).sum())
    return number, float(every[0]), float(every[-1])


def refuse_levels(stream: Stream, dims: Sequence[str], records: Records) -> None:
    """Refuse values of several levels of which a recipe does not say which are meant.

    Arguments:
        stream: of the recipe.
        dims: dimensions of one state; one of them may be vertical.
        records: of the stream.

    Raises:
        RecipeError: states have no vertical axis, heights are not brought to the grid's, and there
            are several levels.
    """
    vertical = any(dim.lower() in NAMES["level"] for dim in dims)
    if vertical or stream.heights is not None or stream.source.level_range is not None:
        return
    found = span_of_levels(records)
    if found is None:
        return
    number, low, high = found
    raise RecipeError(
        f"stream '{stream.name}': expected values of one level, as a state has no vertical axis, "
        f"and columns.level has {number} levels from {low:g} to {high:g}, all of which would enter "
        "one map; write the range that is meant into source, "
        f"levels: [{low:g}, {_next(low, high):g}] or another, or choose a column per level."
    )


def _next(low: float, high: float) -> float:
    """An end of a range that begins at the least level: a tenth of all."""
    return float(f"{low + 0.1 * (high - low):.2g}") if high > low else high


def near_surface(records: Records) -> tuple[float, float]:
    """A range of the levels next to the surface: for most profiles their first.

    The surface is where levels are least, or greatest where all are below zero.
    """
    known = np.isfinite(records.level)
    level = records.level[known]
    down = float(level.max()) <= 0
    signed = -level if down else level
    order = np.lexsort((signed, records.time[known], records.platform[known]))
    begins = np.r_[
        True,
        (np.diff(records.time[known][order]).astype(np.int64) != 0)
        | (np.diff(records.platform[known][order]) != 0),
    ]
    firsts = signed[order][begins]
    low, high = float(firsts.min()), float(np.quantile(firsts, 0.9, method="lower"))
    return (-high, -low) if down else (low, high)
