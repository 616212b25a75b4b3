"""When maps can be made, guessed from the times of observations."""

from collections.abc import Sequence
from typing import NamedTuple, SupportsFloat

import numpy as np

from vardax_core.data.streams.coverage import by_platform
from vardax_core.data.streams.records import Records

_HOUR, _DAY = 60, 1440
SECONDS_APART = 10
"""Minutes between two values of a platform, below which it observes along its way."""
LONGEST_HALF = 10
"""Days before and after a map whose tracks count for it, at most."""


class Rhythm(NamedTuple):
    """The cycles of a recipe.

    Attributes:
        interval, spacing: of cycles, and of observation times, in minutes.
        times, after: observation times up to a cycle, and after it (0 for none).
        start, end: first and last cycle, datetime64[m].
        why: a sentence.
        without: a sentence on times that were left out of the period; empty where none were.
    """

    interval: int
    spacing: int
    times: int
    after: int
    start: np.datetime64
    end: np.datetime64
    why: str
    without: str = ""


def rhythm_of(parts: Sequence[Records], *, given: tuple[np.ndarray, int] | None = None) -> Rhythm:
    """Guess the cycles that observations allow.

    Arguments:
        parts: records of every stream, one at least.
        given: times of the fields that are the background, and the hours before a cycle that it
            needs of them; None where there is no forecast.
    """
    times = np.sort(np.concatenate([part.time for part in parts]).astype("datetime64[m]"))
    first, last, without = _period(times)
    days = int((last - first) // np.timedelta64(1, "D"))
    step = min(usual_step(part) for part in parts)
    moving = any(_moves(part) for part in parts)
    interval, spacing, count, after, why = _window(step, moving, days)
    if given is not None:
        spacing, count, after = interval, 1, 0
        why = (
            f"{why.partition(':')[0]}, and the background is given: a map every {span_of(interval)}"
        )
        first = max(first, given[0].min().astype("datetime64[m]") + np.timedelta64(given[1], "h"))
        last = min(last, given[0].max().astype("datetime64[m]") + np.timedelta64(given[1] > 0, "h"))
    anchor = _usual_minute(times) if interval >= _DAY else 0
    start, end = _cycles(first, last, interval, anchor)
    return Rhythm(interval, spacing, count, after, start, end, why, without)


def usual_step(records: Records) -> float:
    """Median of the minutes between two values of one platform; a day where each has one."""
    order = np.lexsort((records.time, records.platform))
    platform = records.platform[order]
    steps = np.diff(records.time[order]) / np.timedelta64(1, "m")
    steps = steps[(np.diff(platform) == 0) & (steps > 0)]
    return float(np.median(steps)) if steps.size else float(_DAY)


def _moves(records: Records) -> bool:
    """Whether most platforms with several values move, those of images apart."""
    found = by_platform(records)
    several = found.used > 1
    together = np.unique(records.time).size < 0.02 * len(records)
    return bool(several.any() and found.moves[several].mean() > 0.5 and not together)


def _window(step: float, moving: bool, days: int) -> tuple[int, int, int, int, str]:
    """Interval, spacing, times, times after, and why."""
    if moving:
        half = max(1, min(LONGEST_HALF if step < SECONDS_APART else 2, days // 4))
        why = f"platforms move: a map a day, from {half} d before to {half} d after it"
        return _DAY, _DAY, half + 1, half, why
    said = f"a platform usually reports every {span_of(step)}"
    if step <= 1.5 * _HOUR:
        return 3 * _HOUR, _HOUR, 3, 0, f"{said}: a map every 3 h"
    if step <= 4.5 * _HOUR:
        return 6 * _HOUR, 3 * _HOUR, 2, 0, f"{said}: a map every 6 h"
    if step < 0.75 * _DAY:
        each = 6 * _HOUR if step <= 9 * _HOUR else 12 * _HOUR
        return each, each, 1, 0, f"{said}: a map every {span_of(each)}"
    each = _DAY * max(1, round(step / _DAY))
    half = min(2, days * _DAY // (4 * each))
    around = f", with the {half} times before and after it" if half else ""
    return each, each, half + 1, half, f"{said}: a map every {span_of(each)}{around}"


def span_of(minutes: SupportsFloat) -> str:
    """Minutes as a recipe writes a duration: 3h, 1d, 10min."""
    whole = max(1, round(float(minutes)))
    if whole % _DAY == 0:
        return f"{whole // _DAY}d"
    return f"{whole // _HOUR}h" if whole % _HOUR == 0 else f"{whole}min"


def _period(times: np.ndarray) -> tuple[np.datetime64, np.datetime64, str]:
    """First and last time, a few that lie far from all others left out."""
    first, last = times[0], times[-1]
    low, high = times[[int(0.001 * len(times)), int(0.999 * (len(times) - 1))]]
    day = np.timedelta64(1, "D")
    if last - first <= 3 * (high - low + day):
        return first, last, ""
    middle = times[(times >= low - (high - low) - day) & (times <= high + (high - low) + day)]
    left = len(times) - len(middle)
    return middle[0], middle[-1], f"{left} times far from all others ({first}, {last}) are left out"


def _usual_minute(times: np.ndarray) -> int:
    """The full hour of the day, in minutes, that half of the times are near; else noon."""
    of_day = (times - times.astype("datetime64[D]")).astype(np.int64)
    hours, counts = np.unique((of_day + 30) // _HOUR % 24, return_counts=True)
    most = int(np.argmax(counts))
    return int(hours[most]) * _HOUR if counts[most] > len(times) / 2 else 12 * _HOUR


def _cycles(
    first: np.datetime64, last: np.datetime64, interval: int, anchor: int
) -> tuple[np.datetime64, np.datetime64]:
    origin = first.astype("datetime64[D]").astype("datetime64[m]") + np.timedelta64(anchor, "m")
    step = np.timedelta64(interval, "m")
    start = origin + step * -((origin - first) // step)
    count = max(0, int((last - start) // step))
    return start, start + count * step
