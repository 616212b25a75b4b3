"""When and where a stream observes: counts by day, gaps in time, and its platforms."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vardax_core.data.streams.records import Records
from vardax_core.observations.quality import QualityCode


class Days(NamedTuple):
    """Records of each day from the first to the last.

    Attributes:
        day: datetime64[D], without a gap.
        used: records with the code KEPT.
        marked: all others.
    """

    day: np.ndarray
    used: Int[np.ndarray, " day"]
    marked: Int[np.ndarray, " day"]


class Platforms(NamedTuple):
    """The records of each platform.

    Attributes:
        name: of each.
        used: its records with the code KEPT.
        first, last: their times, datetime64[ns]; NaT without any.
        moves: whether they are at more than one place.
        place: of the first.
    """

    name: tuple[str, ...]
    used: Int[np.ndarray, " platform"]
    first: np.ndarray
    last: np.ndarray
    moves: np.ndarray
    place: Float[np.ndarray, "platform coordinate"]


def by_day(records: Records) -> Days:
    """Count the records of each day (UTC)."""
    if not len(records):
        none = np.empty(0, np.int64)
        return Days(np.empty(0, "datetime64[D]"), none, none)
    day = records.time.astype("datetime64[D]").astype(np.int64)
    first, size = int(day.min()), int(np.ptp(day)) + 1
    kept = records.code == QualityCode.KEPT
    used = np.bincount(day[kept] - first, minlength=size)
    marked = np.bincount(day[~kept] - first, minlength=size)
    return Days((first + np.arange(size)).astype("datetime64[D]"), used, marked)


def gaps(
    records: Records, longer: np.timedelta64, start: np.datetime64, end: np.datetime64
) -> list[tuple[np.datetime64, np.datetime64]]:
    """Find the spans of a period without a used record.

    Arguments:
        records: of the period.
        longer: only spans longer than this.
        start, end: of the period.
    """
    used = np.unique(records.time[records.code == QualityCode.KEPT])
    edges = np.concatenate(
        [np.array([start], "datetime64[ns]"), used, np.array([end], "datetime64[ns]")]
    )
    wide = np.flatnonzero(np.diff(edges) > longer)
    return [(edges[n], edges[n + 1]) for n in wide]


def by_platform(records: Records) -> Platforms:
    """Summarise the used records of each platform."""
    size = len(records.platforms)
    kept = records.taken(records.code == QualityCode.KEPT)
    order = np.argsort(kept.platform, kind="stable")
    kept = kept.taken(order)
    used = np.bincount(kept.platform, minlength=size)
    begins = np.concatenate([[0], np.cumsum(used)[:-1]]) if size else np.empty(0, np.int64)
    there = used > 0
    first = np.full(size, "NaT", "datetime64[ns]")
    last, place = first.copy(), np.full((size, len(records.dims)), np.nan)
    first[there] = kept.time[begins[there]]
    last[there] = kept.time[begins[there] + used[there] - 1]
    place[there] = kept.place[begins[there]]
    elsewhere = (kept.place != place[kept.platform]).any(axis=1)
    moves = np.bincount(kept.platform[elsewhere], minlength=size) > 0
    return Platforms(records.platforms, used, first, last, moves, place)
