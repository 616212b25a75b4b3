"""The sections of a recipe whose forecasts are made outside of vardax: a command, or a function.

Recipes are files below the folder of data sets. No form and no URL gives one, so that nobody but
who may write there chooses what is run.
"""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from vardax_core.data.scalars import Integer, Interval
from vardax_core.data.section import Section

INPUT, OUTPUT = "{input}", "{output}"
PLACES = (INPUT, OUTPUT, "{member}", "{start}", "{target}")
"""What stands in a command for the file of the state, that of its forecast, and the rest."""

_BRACED = re.compile(r"\{\w*\}")


class CommandForecast(Section):
    """A command that reads one state from a NetCDF file and writes its forecast to another."""

    kind: Literal["command"] = "command"
    command: tuple[str, ...] = Field(
        min_length=1,
        description="the program and its arguments, run without a shell, once for each member; "
        f"{', '.join(PLACES)} stand for the file of the state, that of its forecast, the number "
        "of the member, and the valid times of both",
    )
    timeout: Interval | None = Field(
        default=None, description="after which a member is stopped; by default it is waited for"
    )
    parallel: Integer = Field(default=1, ge=1, le=1000, description="members that run at a time")

    def _faults(self) -> Iterator[str]:
        if not self.command[0].strip():
            yield "command: its first word is the program, and is empty"
        if any("\0" in word for word in self.command):
            yield "command: a word holds a character that no argument may hold"
        text = " ".join(self.command[1:])
        for place in (INPUT, OUTPUT):
            if place not in text:
                yield f"command: {place} is needed among the arguments of the program"
        unknown = sorted({found for found in _BRACED.findall(text) if found not in PLACES})
        if unknown:
            yield f"command: nothing is known of {', '.join(unknown)}, only of {', '.join(PLACES)}"


class CallableForecast(Section):
    """A Python function of a state, its valid time and the target time, that gives the forecast."""

    kind: Literal["callable"] = "callable"
    entry: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="package.module:function, which takes (state, start, end): an xarray.Dataset "
        "and two datetimes (UTC), and gives an xarray.Dataset",
    )
    parallel: Integer = Field(default=1, ge=1, le=1000, description="members that run at a time")


HostSection = CommandForecast | CallableForecast
