"""What columns mean, guessed from their names, their attributes and their values."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from vardax_core.data.streams.columns import TimeReading
from vardax_core.data.streams.numbers import numbers_of, texts_of
from vardax_core.data.streams.times import clock_of, instants_of
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning

NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        "time", "valid_time", "datetime", "date_time", "timestamp", "date", "obs_time", "utc",
        "juld", "day", "time_counter",
    ),
    LATITUDE: ("latitude", "lat", "nav_lat"),
    LONGITUDE: ("longitude", "lon", "long", "lng", "nav_lon"),
    "platform": (
        "platform", "platform_id", "platform_code", "platform_number", "station", "station_id",
        "stationid", "station_name", "wmo", "wmo_id", "site", "site_id", "buoy", "mission", "track",
        "st", "id", "name",
    ),
    "error": ("error", "err", "error_sd", "sd", "std", "sigma", "uncertainty"),
    "quality": ("quality", "quality_flag", "quality_level", "qc", "flag", "qc_flag"),
    "level": ("level", "height", "altitude", "alt", "elevation", "elev", "depth", "h", "z"),
    "arrival": ("arrival", "arrival_time", "received", "receipt_time"),
}  # fmt: skip
"""Usual names of the columns of each role, in small letters, the most certain first."""

_DECIBARS = ("dbar", "decibar", "decibars", "dbars")

CLOCKS = (
    "clock", "time", "hour", "hours", "hr", "hrs", "hh", "hhmm", "hour_utc", "utc_hour", "time_utc",
    "utc", "heure", "heures", "uhrzeit", "stunde", "hora", "ora",
)  # fmt: skip
"""Usual names of a column of times of the day, beside one of dates."""

_EPOCHS = (
    "days since 1950-01-01", "days since 1970-01-01", "days since 2000-01-01",
    "seconds since 1970-01-01", "milliseconds since 1970-01-01", "seconds since 2000-01-01",
    "hours since 1900-01-01", "days since 1900-01-01", "days since 0001-01-01",
    "minutes since 2000-01-01",
)  # fmt: skip
_FORMATS = tuple(
    f"{date}{clock}"
    for date in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%Y%m%d",
                 "%Y %m %d")
    for clock in ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", "%H%M", "%H")
)  # fmt: skip
_MARKS = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, 999.0, 9999.0, 99999.0, -999.9, 9.96921e36)
_FEW, _SHORTEST = 100, np.timedelta64(10, "m")
"""As many observations are not all made within so short a time."""
_IN_HEADER = re.compile(r"[\[(]\s*([^\])]+?)\s*[\])]\s*$")
_RANGES = (
    (re.compile(r"temp|tmp|^t$|^t2|t2m|sst|max_?t|min_?t|tmax|tmin|dew"), "degC", (-90.0, 60.0)),
    (re.compile(r"temp|tmp|^t$|^t2|t2m|sst|max_?t|min_?t|tmax|tmin|dew"), "K", (180.0, 335.0)),
    (re.compile(r"pres|slp|mslp|^p$|cbl"), "hPa", (300.0, 1100.0)),
    (re.compile(r"pres|slp|mslp|^p$|cbl"), "Pa", (30000.0, 110000.0)),
    (re.compile(r"rain|precip"), "mm", (0.0, 1000.0)),
    (re.compile(r"^adt$|^sla$|^ssh$|sea_level"), "m", (-5.0, 5.0)),
)  # fmt: skip
_ENDINGS = {
    "degc": "degC", "c": "degC", "celsius": "degC", "k": "K", "kelvin": "K", "degf": "degF",
    "hpa": "hPa", "pa": "Pa", "mm": "mm", "kt": "knot", "kn": "knot", "knots": "knot",
    "ms": "m s-1", "mps": "m s-1", "m": "m", "cm": "cm",
}  # fmt: skip


class Reading(NamedTuple):
    """A guess of how times are written.

    Attributes:
        reading: the guess.
        others: further ones that fit as well.
    """

    reading: TimeReading
    others: tuple[str, ...]


def role_of(name: str, attrs: Mapping[str, object]) -> str | None:
    """Guess what a column is, by CF attributes or by its usual name; None for a value.

    Pressure is a level in decibars, as in the sea; in other units, or without any, it may be a
    value, which `inspect` tells from its range.
    """
    standard = attrs.get("standard_name")
    if standard == "time" or attrs.get("axis") == "T":
        return "time"
    if attrs.get("cf_role") in ("timeseries_id", "trajectory_id"):
        return "platform"
    if standard == "platform_id":
        return "platform"
    if str(standard).endswith(("status_flag", "quality_flag")):
        return "quality"
    kind = meaning(name, attrs)
    if kind in (LATITUDE, LONGITUDE):
        return kind
    plain = _IN_HEADER.sub("", name).strip().lower()
    if _is_sea_level(name, attrs):
        return "error" if plain.endswith(("_error", "_uncertainty")) else "level"
    for role, names in NAMES.items():
        if plain in names:
            return role
    for ending, role in (("_qc", "quality"), ("_flag", "quality"), ("_error", "error"),
                         ("_uncertainty", "error")):  # fmt: skip
        if plain.endswith(ending):
            return role
    return None


def _is_sea_level(name: str, attrs: Mapping[str, object]) -> bool:
    """Whether it is the pressure in the sea, or the depth."""
    written = _IN_HEADER.search(name)
    units = str(attrs.get("units") or (written[1] if written else "")).strip().lower()
    return units in _DECIBARS or attrs.get("standard_name") in ("sea_water_pressure", "depth")


def roles_of(
    names: Sequence[str], attrs: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, str], list[str]]:
    """Give the column of each role, the most usual name first, and the columns that have none."""
    found: dict[str, list[str]] = {}
    rest = []
    for name in names:
        role = role_of(name, attrs.get(name, {}))
        if role is None:
            rest.append(name)
        else:
            found.setdefault(role, []).append(name)

    def rank(role: str, name: str) -> int:
        usual = NAMES.get(role, ())
        return usual.index(name.lower()) if name.lower() in usual else len(usual)

    return {role: min(of, key=lambda n: rank(role, n)) for role, of in found.items()}, rest


def clock_beside(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The columns of dates and of times of the day, where these stand in two; else none."""
    clocks = [name for name in columns if name.strip().lower() in CLOCKS]
    clocks = [name for name in sorted(clocks, key=_rank) if _is_clock(columns[name])]
    for name, column in columns.items():
        if clocks and role_of(name, {}) == "time" and name not in clocks:
            reading = time_reading(column)
            if reading is not None:
                time = instants_of(column, reading.reading, "the column").time
                time = time[~np.isnat(time)]
                if (time == time.astype("datetime64[D]")).all():
                    return {"time": name, "clock": clocks[0]}
    return {}


def _rank(name: str) -> int:
    return CLOCKS.index(name.strip().lower())


def _is_clock(column: np.ndarray) -> bool:
    clock, wrong = clock_of(column)
    return not wrong.any() and bool(np.unique(clock[~np.isnat(clock)]).size)


def is_numeric(column: np.ndarray) -> bool:
    """Whether most of what stands in a column is numbers."""
    values, wrong = numbers_of(column)
    given = np.isfinite(values)
    return bool(given.any()) and int(wrong.sum()) <= 0.2 * int(given.sum())


def time_reading(column: np.ndarray) -> Reading | None:
    """Guess how times are written that do not say it themselves; None if nothing fits."""
    now = np.datetime64(datetime.datetime.now(datetime.UTC).replace(tzinfo=None), "ns")
    later = now + np.timedelta64(370, "D")

    def fits(reading: TimeReading) -> bool:
        found = instants_of(column, reading, "the column")
        given = ~np.isnat(found.time)
        return bool(
            given.any()
            and not (found.wrong | found.ambiguous).any()
            and (given.sum() < _FEW or np.ptp(found.time[given]) >= _SHORTEST)
            and found.time[given].min() > np.datetime64("1850-01-01")
            and found.time[given].max() < later
        )

    if column.dtype.kind == "M" or (column.dtype.kind not in "fiu" and fits(TimeReading())):
        return Reading(TimeReading(), ())
    ways = list(_ways(column))
    good = [way for way in ways if fits(way)]
    # A count of days or seconds that ends long ago is one from another start.
    recent = [w for w in good if w.units is None or _last(column, w) > np.datetime64("1980-01-01")]
    if not (recent or good):
        return None
    first, *others = recent or good
    return Reading(first, tuple(str(other.format or other.units) for other in others))


def _ways(column: np.ndarray) -> Iterator[TimeReading]:
    text = texts_of(column[:1])[0] if column.size else ""
    for written in _FORMATS:
        if pd.notna(pd.to_datetime(text, format=written, errors="coerce")):
            yield TimeReading(format=written)
    if is_numeric(column):
        for units in _EPOCHS:
            yield TimeReading(units=units)


def _last(column: np.ndarray, reading: TimeReading) -> np.datetime64:
    found = instants_of(column, reading, "the column").time
    return np.datetime64(found[~np.isnat(found)].max())


def units_of(name: str, values: np.ndarray) -> tuple[str | None, str]:
    """Guess units from a header such as 't [degC]', or from a name and the range of values.

    Returns:
        The units, None if nothing is known, and why.
    """
    written = _IN_HEADER.search(name)
    if written is not None:
        try:
            conversion(written[1], f"{written[1]} ")
        except UnknownUnitsError:
            pass
        else:
            return written[1], "as its name says"
    ending = _ENDINGS.get(name.lower().rpartition("_")[2])
    if "_" in name and ending is not None:
        return ending, "as its name says"
    given = values[np.isfinite(values)]
    for pattern, units, (low, high) in _RANGES:
        inside = given.size and np.mean((given >= low) & (given <= high)) > 0.99
        if pattern.search(name.lower()) and inside:
            return units, f"as its name and its range {given.min():g} to {given.max():g} suggest"
    return None, "nothing says which"


def marks_of(values: np.ndarray) -> tuple[float, ...]:
    """Find the usual marks of missing values, which lie far from all others."""
    given = values[np.isfinite(values)]
    found = []
    for mark in _MARKS:
        is_mark = np.isclose(given, mark, rtol=1e-6)
        others = given[~np.isclose(given[:, None], _MARKS, rtol=1e-6).any(axis=1)]
        if is_mark.any() and others.size and abs(mark) > 5 * max(1.0, np.abs(others).max()):
            found.append(mark)
    return tuple(found)


def track_gap(times: np.ndarray) -> str | None:
    """Guess the gap between pieces of track, of times that mostly follow each other in seconds."""
    steps = np.diff(np.unique(times[~np.isnat(times)])).astype(np.int64) / 1e9
    if steps.size < 50:
        return None
    usual = float(np.quantile(steps, 0.5))
    short = steps <= 10 * usual
    if usual > 30 or short.mean() < 0.8 or short.all():
        return None
    return f"{max(60, round(10 * usual))}s"
