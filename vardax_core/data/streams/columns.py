"""How the columns and the times of a table are understood, as a recipe says it."""

import datetime
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_serializer

from vardax_core.data.section import Section
from vardax_core.data.streams.scalars import Column, Offset, Zone, length_of, wrong_directive


class TimeReading(Section):
    """How the times of a file are understood; without any key as ISO 8601 or as CF says.

    Times without a time zone are taken for UTC, which the account of a stream says.
    """

    format: str | None = Field(
        default=None, min_length=2, description="of text, as strptime writes it: '%d/%m/%Y %H:%M'"
    )
    units: str | None = Field(
        default=None,
        pattern=r"^\w+ since \d{1,4}-\d{1,2}-\d{1,2}.*$",
        description="of numbers, as CF writes them: 'days since 1950-01-01'",
    )
    zone: Zone | None = Field(
        default=None, description="of times that state none: 'Europe/Dublin', '+01:00', 'UTC'"
    )
    offset: Offset = Field(
        default=datetime.timedelta(0),
        description="added to each: '24h' where the date of a daily extreme stands for its end",
    )

    def _faults(self) -> Iterator[str]:
        if self.format is not None and self.units is not None:
            yield "format is for text and units for numbers; leave one of them out"
        if self.format is not None and "%" not in self.format:
            yield f"format {self.format!r} has no %; write it as '%Y-%m-%d %H:%M'"
        elif self.format is not None and (wrong := wrong_directive(self.format)):
            yield f"format {self.format!r}: {wrong}; write it as '%Y-%m-%d %H:%M'"
        if self.units is not None and length_of(self.units.partition(" ")[0]) is None:
            yield (
                f"units {self.units!r}: expected seconds, minutes, hours, days or weeks, for "
                "months and years have no fixed length"
            )


class Columns(Section):
    """Which column is what; those of the place stand beside these keys, by the recipe's axes."""

    time: Column = Field(description="valid time")
    value: Column = Field(description="what was observed")
    clock: Column | None = Field(
        default=None, description="time of the day (12, 1230, 12:30), where `time` is a date alone"
    )
    places: dict[str, Column] = Field(
        default_factory=dict, description="the place, for each of the recipe's state_dims"
    )
    platform: Column | None = Field(default=None, description="name of a station, buoy or track")
    error: Column | None = Field(
        default=None, description="standard deviation of the error, in the units of the value"
    )
    level: Column | None = Field(default=None, description="height, depth or pressure")
    quality: Column | None = Field(default=None, description="flag of the provider; see `accept`")
    arrival: Column | None = Field(default=None, description="when it was received")

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "places" in values:
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        return {**own, "places": {k: v for k, v in values.items() if k not in own}}

    def _faults(self) -> Iterator[str]:
        kinds = {type(column) for column in self.by_role.values()}
        if len(kinds) > 1:
            yield (
                "columns are given by name where a file has a header and by number where it has "
                "none; here are both"
            )
        seen: dict[str | int, str] = {}
        for role, column in self.by_role.items():
            if column in seen:
                yield f"column {column!r} is given for {seen[column]} and for {role}"
            seen[column] = role

    @model_serializer(mode="wrap")
    def _beside_each_other(self, write: Any) -> dict[str, Any]:
        flat = {k: v for k, v in write(self).items() if v is not None}
        return flat | flat.pop("places")

    @property
    def by_role(self) -> dict[str, str | int]:
        """The column of each role that has one, the axes of the place among them."""
        roles = [role for role in Columns.model_fields if role != "places"]
        given = {role: getattr(self, role) for role in roles}
        return {
            role: column for role, column in (given | self.places).items() if column is not None
        }

    @property
    def numbered(self) -> bool:
        """Whether the columns are given by number, as those of a file without a header are."""
        return isinstance(self.time, int)
