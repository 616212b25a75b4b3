"""Between datetime64 and the integer minutes in which vardax counts time."""

import dataclasses
import datetime

import numpy as np

from vardax_core.types import MINUTES_EPOCH

MINUTES_UNITS = f"minutes since {MINUTES_EPOCH.replace('T', ' ')}"
"""CF units of an integer time."""

TOLERANCE = datetime.timedelta(minutes=4)
"""How far a time of a source may be off an observation time and still be it: more than half a step
of single precision in hours since 1900, days since 1950 and seconds since 1970."""

TOLERATED_PART = 15
"""The same as a part of the interval between two observation times, the smaller of both counts."""

_EPOCH = np.datetime64(MINUTES_EPOCH, "m")


def to_minutes(times: np.ndarray) -> np.ndarray:
    """int64 minutes since `MINUTES_EPOCH`; integers are taken as such minutes already."""
    if times.dtype.kind == "M":
        times = (times.astype("datetime64[m]") - _EPOCH).astype(np.int64)
    return times.astype(np.int64)


def from_minutes(minutes: np.ndarray) -> np.ndarray:
    """datetime64[ns] of integer minutes since `MINUTES_EPOCH`."""
    return (_EPOCH + minutes.astype("timedelta64[m]")).astype("datetime64[ns]")


def instant_to_minutes(instant: datetime.datetime) -> int:
    """Minutes since `MINUTES_EPOCH` of an instant; one without a time zone is in UTC."""
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=datetime.UTC)
    epoch = datetime.datetime.fromisoformat(MINUTES_EPOCH).replace(tzinfo=datetime.UTC)
    return duration_to_minutes(instant - epoch)


def minutes_to_instant(minutes: int) -> datetime.datetime:
    """The instant (UTC) of minutes since `MINUTES_EPOCH`."""
    epoch = datetime.datetime.fromisoformat(MINUTES_EPOCH).replace(tzinfo=datetime.UTC)
    return epoch + datetime.timedelta(minutes=minutes)


def duration_to_minutes(duration: datetime.timedelta) -> int:
    """Whole minutes of a duration."""
    return duration // datetime.timedelta(minutes=1)


@dataclasses.dataclass(frozen=True)
class Rounding:
    """What `round_to_interval` moved.

    Attributes:
        moved: how many times were off by a second or more.
        furthest: how far the worst of them was off.
        within: how far it might have been.
    """

    moved: int
    furthest: datetime.timedelta
    within: datetime.timedelta


def round_to_interval(
    times: np.ndarray, start: datetime.datetime, interval: datetime.timedelta
) -> tuple[np.ndarray, Rounding]:
    """Move the times nearest to the multiples of an interval onto them, within a tolerance.

    Of several times near one multiple the nearest is moved alone, so that order and number of the
    times stay; all others are left as they are.

    Arguments:
        times: datetime64[ns] in ascending order.
        start, interval: the multiples are those of `interval` after and before `start`.
    """
    within = min(TOLERANCE, interval / TOLERATED_PART)
    step = duration_to_minutes(interval) * 60 * 10**9
    origin = from_minutes(np.array([instant_to_minutes(start)])).astype(np.int64)[0]
    instants = times.astype("datetime64[ns]").astype(np.int64)
    multiple = (instants - origin + step // 2) // step
    exact = origin + multiple * step
    off = np.abs(instants - exact)
    order = np.lexsort((off, multiple))
    nearest = order[np.r_[True, np.diff(multiple[order]) != 0]] if order.size else order
    chosen = nearest[off[nearest] <= within // datetime.timedelta(microseconds=1) * 1000]
    rounded = instants.copy()
    rounded[chosen] = exact[chosen]
    far = off[chosen]
    furthest = datetime.timedelta(seconds=round(int(far.max()) / 1e9)) if far.size else within * 0
    moved = int((far >= 10**9).sum())
    return rounded.astype("datetime64[ns]"), Rounding(moved, furthest, within)
