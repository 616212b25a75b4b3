"""Between datetime64 and the integer minutes in which vardax counts time."""

import datetime

import numpy as np

from vardax_core.types import MINUTES_EPOCH

MINUTES_UNITS = f"minutes since {MINUTES_EPOCH.replace('T', ' ')}"
"""CF units of an integer time."""

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
