"""Instants as files write them: text, numbers since an instant, or instants already."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool

from vardax_core.data.errors import TimeAxisError
from vardax_core.data.streams.columns import TimeReading
from vardax_core.data.streams.numbers import are_blank, numbers_of, texts_of
from vardax_core.data.streams.scalars import length_of, zone_of

_CALENDARS = (None, "standard", "gregorian", "proleptic_gregorian")
_FINEST = 10**6
"""Nanoseconds to which instants are kept that were written as broken numbers."""
_FARTHEST = 9.2e18
_DAY = np.timedelta64(24, "h")
_CLOCK = re.compile(r"(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?(?:\.0+)?")
_DATE = 10
"""Letters of a date."""
_WORD = re.compile(r"\s*(UTC|GMT)$")
_TWO_ORDERS = re.compile(r"\s*\d{1,2}\s*[/.\-]\s*\d{1,2}\s*[/.\-]\s*\d{2,4}")
_YEAR_FIRST = re.compile(r"\d{4}[-/]\d{1,2}([-/]\d{1,2})?|\d{8}")


class Instants(NamedTuple):
    """A column of times.

    Attributes:
        time: datetime64[ns] in UTC, NaT where there is none.
        wrong: something stands there that is no time of the kind expected.
        ambiguous: it may mean two instants: 03/04/2019, or an hour that a clock repeats or skips.
        zoneless: nothing states its time zone, and UTC was assumed.
    """

    time: np.ndarray
    wrong: Bool[np.ndarray, " row"]
    ambiguous: Bool[np.ndarray, " row"]
    zoneless: Bool[np.ndarray, " row"]


def clock_of(column: np.ndarray) -> tuple[np.ndarray, Bool[np.ndarray, " row"]]:
    """Read a column of times of the day: hours 0 to 24, hours and minutes (1230), or 12:30[:15].

    Returns:
        timedelta64[ns] since midnight, NaT where there is none; and where something else stands.
    """
    codes, unique = pd.factorize(column, use_na_sentinel=False)
    text = texts_of(np.asarray(unique))
    found = np.full(text.size, np.timedelta64("NaT"), "timedelta64[ns]")
    for number, match in enumerate(map(_CLOCK.fullmatch, text)):
        if match is not None:
            hour, minute, second = (int(part or 0) for part in match.groups())
            since = np.timedelta64(hour * 3600 + minute * 60 + second, "s")
            if max(minute, second) < 60 and since <= _DAY:
                found[number] = since
    return found[codes], (np.isnat(found) & ~are_blank(text))[codes]


def instants_of(
    column: np.ndarray,
    reading: TimeReading,
    where: str,
    *,
    attrs: dict[str, object] | None = None,
    clock: np.ndarray | None = None,
) -> Instants:
    """Read a column of times, without the offset of `reading`.

    Arguments:
        column: of text, numbers or datetime64.
        reading: how.
        where: the file and the column, for messages.
        attrs: of a variable that states units and calendar itself; `zoned` where instants are in
            UTC already.
        clock: timedelta64 since midnight, where the column has dates alone; an instant within a
            day is then wrong.

    Raises:
        TimeAxisError: nothing says what the numbers are, or they count in another calendar.
    """
    attrs = attrs or {}
    if clock is not None:
        plain = reading.model_copy(update={"zone": None})
        dates = instants_of(column, plain, where, attrs=attrs)
        late = ~np.isnat(dates.time) & (dates.time != dates.time.astype("datetime64[D]"))
        local = _localised(dates.time + clock, ~dates.zoneless, reading)
        ambiguous = dates.ambiguous | local.ambiguous
        return Instants(local.time, dates.wrong | late, ambiguous, local.zoneless)
    if column.dtype.kind == "M":
        zoned = np.full(column.size, bool(attrs.get("zoned")))
        return _localised(column.astype("datetime64[ns]"), zoned, reading)
    units = reading.units or attrs.get("units")
    if reading.format is not None:
        return _from_text(column, reading)
    if column.dtype.kind in "fiu" or units is not None:
        if not units or " since " not in str(units):
            raise TimeAxisError(
                f"{where}: times are the numbers {_some(column)}, and nothing says what they "
                "count; write time.units, e.g. 'days since 1950-01-01', or time.format, e.g. "
                "'%Y%m%d'."
            )
        if attrs.get("calendar") not in _CALENDARS:
            raise TimeAxisError(
                f"{where}: times are of the calendar '{attrs['calendar']}', and observations are "
                "of the real one, 'standard'; write the file anew."
            )
        return _from_numbers(column, str(units), where)
    return _from_text(column, reading)


def _some(column: np.ndarray) -> str:
    return (
        f"{', '.join(f'{value:.10g}' for value in column[:3])}{', ...' if column.size > 3 else ''}"
    )


def _from_numbers(column: np.ndarray, units: str, where: str) -> Instants:
    length, start = epoch_of(units, where)
    values, wrong = numbers_of(column)
    absent = np.isnan(values)
    until_1970 = -start // length
    whole = np.floor(np.where(absent, 0.0, values))
    fine = np.rint((np.where(absent, 0.0, values) - whole) * length / _FINEST).astype(np.int64)
    whole = whole - until_1970
    far = np.abs(whole * length) > _FARTHEST
    rest = (start + until_1970 * length) + (fine * _FINEST if length > _FINEST else 0)
    instants = np.where(far, 0.0, whole).astype(np.int64) * length + rest
    instants = instants.astype("datetime64[ns]")
    instants[absent | far] = np.datetime64("NaT")
    no = np.zeros(values.size, bool)
    return Instants(instants, wrong | far, no, no)


def epoch_of(units: str, where: str) -> tuple[int, int]:
    """Read CF units of time.

    Returns:
        Nanoseconds of the unit, and its start in nanoseconds since 1970.

    Raises:
        TimeAxisError: they are not understood.
    """
    word, _, since = units.strip().partition(" since ")
    length = length_of(word)
    try:
        start = pd.Timestamp(since.strip())
    except (ValueError, OverflowError):
        start = pd.NaT
    if length is None or start is pd.NaT:
        raise TimeAxisError(
            f"{where}: the units of time '{units}' are not understood; expected such as 'days "
            "since 1950-01-01' or 'seconds since 1970-01-01T00:00:00Z' (months and years have no "
            "fixed length). Write time.units."
        )
    utc = start.tz_localize("UTC") if start.tzinfo is None else start.tz_convert("UTC")
    return length, int(utc.as_unit("us").asm8.view("i8")) * 1000


def _from_text(column: np.ndarray, reading: TimeReading) -> Instants:
    codes, unique = pd.factorize(column, use_na_sentinel=False)
    found = _from_unique_text(texts_of(np.asarray(unique)), reading)
    return Instants(*(part[codes] for part in found))


def _from_unique_text(text: np.ndarray, reading: TimeReading) -> Instants:
    absent = are_blank(text)
    if reading.format is not None:
        says_zone = "%z" in reading.format or "%Z" in reading.format
        zoned = np.full(text.size, says_zone)
        parsed = pd.to_datetime(
            pd.Series(text, dtype=object), format=reading.format, errors="coerce", utc=says_zone
        )
    else:
        zoned = np.array([_states_zone(value) for value in text], bool)
        parsed = pd.to_datetime(
            pd.Series([_WORD.sub("Z", value) for value in text], dtype=object),
            format="ISO8601",
            errors="coerce",
            utc=True,
        )
    times = parsed.dt.tz_localize(None) if parsed.dt.tz is not None else parsed
    instants = times.to_numpy("datetime64[ns]").copy()
    instants[absent] = np.datetime64("NaT")
    if reading.format is None:
        bare = [len(v) <= _DATE and _YEAR_FIRST.fullmatch(v) is None for v in text]
        instants[bare] = np.datetime64("NaT")
    unread = np.isnat(instants) & ~absent
    either = np.zeros(text.size, bool)
    if reading.format is None:
        either[unread] = [_TWO_ORDERS.match(value) is not None for value in text[unread]]
    local = _localised(instants, zoned, reading)
    ambiguous = (either & ~absent) | local.ambiguous
    return Instants(local.time, unread & ~either, ambiguous, local.zoneless)


def _states_zone(text: str) -> bool:
    clock = text[_DATE:]
    return clock.endswith(("Z", "z", "UTC", "GMT")) or "+" in clock or "-" in clock


def _localised(instants: np.ndarray, zoned: np.ndarray, reading: TimeReading) -> Instants:
    """Instants in UTC of those of a clock, but for those that state their zone."""
    given = ~np.isnat(instants)
    no = np.zeros(instants.size, bool)
    if reading.zone is None:
        return Instants(instants, no, no, given & ~zoned)
    clock = pd.DatetimeIndex(instants).tz_localize(
        zone_of(reading.zone), ambiguous="NaT", nonexistent="NaT"
    )
    utc = clock.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[ns]")
    time = np.where(zoned, instants, utc)
    return Instants(time, no, given & np.isnat(time), no)
