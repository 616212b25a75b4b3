"""The scalars of a recipe, as people write them: durations, instants, file names and seeds."""

import datetime
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_DURATION = re.compile(r"(\d+)\s*(min|h|d)")
_ISO_UNIT = {"min": "PT{}M", "h": "PT{}H", "d": "P{}D"}


def _read_duration(value: object) -> object:
    if isinstance(value, datetime.timedelta):
        return value
    short = _DURATION.fullmatch(str(value).strip())
    if short is not None:
        return _ISO_UNIT[short[2]].format(short[1])
    if not str(value).startswith("P"):
        raise ValueError(
            f"write a duration as '3h', '30min', '1d' or ISO 8601 'PT3H', got {value!r}"
        )
    return value


def _whole_minutes(value: datetime.timedelta) -> datetime.timedelta:
    if value < datetime.timedelta(0) or value % datetime.timedelta(minutes=1):
        raise ValueError(f"a duration is a whole number of minutes and not negative, got {value}")
    return value


def _positive(value: datetime.timedelta) -> datetime.timedelta:
    if not value:
        raise ValueError("this duration must be longer than zero")
    return value


def _file_below_the_folders(value: str) -> str:
    for part in value.split("/"):
        _plain_file_name(part)
    return value


def _plain_file_name(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value or "\\" in value or "\0" in value:
        raise ValueError(
            f"{value!r} is not a plain file name; a recipe names files only, the folders that are "
            "searched for them are the user's choice"
        )
    return value


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got the truth value {value}")
    return value


_NUMBER = re.compile(r"\s*[-+]?[\d_]+(\.\d*)?\s*")


def _read_instant(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError(
            f"write an instant as '2019-03-01T00:00Z' or '2019-03-01', got the number {value}"
        )
    return value


def _as_utc(value: datetime.datetime) -> datetime.datetime:
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    value = value.astimezone(datetime.UTC)
    if value.second or value.microsecond:
        raise ValueError(f"an instant is a whole minute, got {value.isoformat()}")
    return value


Duration = Annotated[
    datetime.timedelta, BeforeValidator(_read_duration), AfterValidator(_whole_minutes)
]
Interval = Annotated[Duration, AfterValidator(_positive)]
Instant = Annotated[datetime.datetime, BeforeValidator(_read_instant), AfterValidator(_as_utc)]
FileName = Annotated[str, AfterValidator(_plain_file_name)]
FilePath = Annotated[str, AfterValidator(_file_below_the_folders)]
Integer = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, BeforeValidator(_no_truth)]
Seed = Annotated[Integer, Field(ge=0, lt=2**63)]
