"""The scalars of a stream's sections: columns, patterns of files, offsets and time zones."""

import datetime
import re
import zoneinfo
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

_SIGNED = re.compile(r"([-+]?)\s*(\d+)\s*(s|min|h|d)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_FIXED = re.compile(r"([+-])(\d{2}):?(\d{2})")


def _read_span(value: object) -> object:
    found = _SIGNED.fullmatch(str(value).strip())
    if found is not None:
        seconds = int(found[2]) * _SECONDS[found[3]]
        if seconds > 10**10:
            raise ValueError(f"write less than 300 years, got {value!r}")
        return datetime.timedelta(seconds=-seconds if found[1] == "-" else seconds)
    if not isinstance(value, datetime.timedelta) and not str(value).lstrip("-").startswith("P"):
        raise ValueError(f"write '60s', '30min', '24h', '-1d' or ISO 8601 'PT3H', got {value!r}")
    return value


def _positive(value: datetime.timedelta) -> datetime.timedelta:
    if value <= datetime.timedelta(0):
        raise ValueError(f"must be longer than zero, got {value}")
    return value


def _below_the_folders(name: str) -> str:
    parts = name.split("/")
    if (
        not name.strip()
        or name.startswith(("/", "~"))
        or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name)
        or ".." in parts
        or {"", "."} & set(parts[:-1])
        or parts[-1] == "."
        or any("**" in part and part != "**" for part in parts)
        or "\\" in name
        or "\0" in name
    ):
        raise ValueError(
            f"{name!r} is not a path or pattern below a folder: write 'stations/2019-*.csv', "
            "without a leading /, ~, '..' or a URL; the folders are the user's choice"
        )
    return name.rstrip("/")


def zone_of(name: str) -> datetime.tzinfo:
    """Find a time zone by its IANA name or its offset from UTC.

    Raises:
        ValueError: there is none.
    """
    fixed = _FIXED.fullmatch(name)
    if name in ("UTC", "Z", "GMT"):
        return datetime.UTC
    if fixed is not None and int(fixed[2]) < 24 and int(fixed[3]) < 60:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        return datetime.timezone(datetime.timedelta(minutes=int(f"{fixed[1]}{minutes}")))
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"there is no time zone {name!r}; write 'UTC', '+01:00' or a name of the IANA "
            "database such as 'Europe/Paris'"
        ) from error


def wrong_directive(written: str) -> str:
    """Say what is wrong with a format of times; empty if nothing is."""
    try:
        datetime.datetime.strptime("", written)
    except ValueError as error:
        said = str(error)
        return said if "directive" in said or "stray" in said else ""
    except (re.error, IndexError) as error:
        return str(error)
    return ""


def _known_zone(name: str) -> str:
    zone_of(name)
    return name


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"expected a number or text, got the truth value {value}")
    return value


_SECOND = 10**9
LENGTHS = {
    "nanosecond": 1,
    "microsecond": 10**3,
    "millisecond": 10**6,
    "second": _SECOND,
    "sec": _SECOND,
    "s": _SECOND,
    "minute": 60 * _SECOND,
    "min": 60 * _SECOND,
    "hour": 3600 * _SECOND,
    "hr": 3600 * _SECOND,
    "h": 3600 * _SECOND,
    "day": 86400 * _SECOND,
    "d": 86400 * _SECOND,
    "week": 7 * 86400 * _SECOND,
}
"""Nanoseconds of the units of time; months and years have no length."""


def length_of(word: str) -> int | None:
    """Give the nanoseconds of a unit of time, in the singular or the plural."""
    plain = word.strip().lower()
    return LENGTHS.get(plain) or LENGTHS.get(plain.removesuffix("s"))


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except LookupError as error:
        raise ValueError(
            f"there is no encoding {name!r}; write such as 'latin-1', 'cp1252' or 'utf-16'"
        ) from error
    return name


Offset = Annotated[datetime.timedelta, BeforeValidator(_read_span)]
Gap = Annotated[datetime.timedelta, BeforeValidator(_read_span), AfterValidator(_positive)]
FilePattern = Annotated[str, AfterValidator(_below_the_folders)]
Encoding = Annotated[str, AfterValidator(_known_encoding)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Column = (
    Annotated[StrictInt, Field(ge=0), BeforeValidator(_no_truth)]
    | Annotated[StrictStr, Field(min_length=1)]
)
Mark = Annotated[float | str, Field(union_mode="left_to_right"), BeforeValidator(_no_truth)]
Flag = Annotated[StrictInt | StrictStr, BeforeValidator(_no_truth)]
