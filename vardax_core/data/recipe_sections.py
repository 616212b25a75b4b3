"""The sections that recipes are made of."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, SerializeAsAny

from vardax_core.data.kind import by_kind
from vardax_core.data.scalars import Duration, Instant, Integer, Interval, Number, Seed
from vardax_core.data.section import Section
from vardax_core.observations.registry import registered_operators
from vardax_core.observations.settings import AbstractOperatorSettings

OBSERVED = "observed"
"""Name in stores of the values of observations where a state has several channels."""
MIXED = "1"
"""Units of the values of observations of variables in different ones; `channel` says which."""
CHANNEL = "channel"
"""Name of the dimension of channels, and of the channel of a station."""
RESERVED = frozenset({OBSERVED, CHANNEL, "time", "member", "station", "quality_control"})
"""Names in stores that no variable of several may have."""


class Variable(Section):
    """The quantity that is observed and assimilated."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="name in every store")
    standard_name: str | None = Field(
        default=None, description="name in the CF standard name table, if it has one"
    )
    long_name: str = Field(description="name for readers")
    units: str = Field(min_length=1, description="UDUNITS string; a source must state the same")
    valid_min: Number = Field(description="values below are gross errors, in `units`")
    valid_max: Number = Field(description="values above are gross errors, in `units`")
    file_variable: str | None = Field(
        default=None,
        min_length=1,
        description="name in files of fields; by default what these say, or `name`",
    )
    select: dict[str, Number] | None = Field(
        default=None,
        min_length=1,
        description="one coordinate of each further dimension in files of fields, as of a level",
    )

    def _faults(self) -> Iterator[str]:
        if not self.valid_min < self.valid_max:
            yield f"valid_min {self.valid_min} must be below valid_max {self.valid_max}"

    @property
    def range(self) -> float:
        """Distance between the bounds, in `units`."""
        return self.valid_max - self.valid_min


class Period(Section):
    """A span of valid time, both ends included."""

    start: Instant = Field(description="first instant (UTC)")
    end: Instant = Field(description="last instant (UTC)")

    def _faults(self) -> Iterator[str]:
        if self.end < self.start:
            yield f"end {self.end.isoformat()} is before start {self.start.isoformat()}"


class Window(Section):
    """The observation times of one cycle: up to the analysis time, and of maps after it, too."""

    times: Integer = Field(ge=1, description="number of observation times to the analysis time")
    spacing: Interval = Field(description="time between two of them")
    after: Integer | None = Field(
        default=None, ge=1, description="number of observation times after the analysis time"
    )


class LateStations(Section):
    """Stations, drawn at random and fixed in time, whose observations arrive later."""

    count: Integer = Field(ge=1, description="number of them")
    delay: Interval = Field(description="added to the delay of the others")
    seed: Seed = Field(description="of the draw")


class ObservationNoise(Section):
    """How the nature run is observed."""

    error_sd: Number = Field(gt=0, description="standard deviation of the error, in `units`")
    interval: Interval = Field(description="time between two observations of a station")
    arrival_delay: Duration = Field(description="from valid time to arrival")
    seed: Seed = Field(description="of the observation errors")
    late: LateStations | None = Field(default=None, description="stations that report late")
    channels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="names of the variables that are observed at every station; by default all",
    )
    operator: Annotated[
        SerializeAsAny[AbstractOperatorSettings] | None,
        by_kind(registered_operators, "vardax operators"),
    ] = Field(default=None, description="what is observed; by default the value at a point")


class BuddyCheck(Section):
    """A comparison of every station with those around it; see `flag_unlike_neighbours`."""

    radius: Number = Field(
        gt=0,
        description="how far a neighbour may be, in units of the axes; degrees of a great circle "
        "where these are latitude and longitude",
    )
    expected_sd: Number = Field(gt=0, description="usual difference within the radius, in `units`")
    k: Number = Field(default=4.0, gt=0, description="tolerance in standard deviations")
    fewest: Integer = Field(
        default=3, ge=1, description="neighbours without which nothing is judged"
    )


class WithheldStations(Section):
    """Stations, drawn at random and fixed in time, by which analyses are verified."""

    count: Integer = Field(ge=1, description="number of them")
    seed: Seed = Field(description="of the draw")
    beside: bool = Field(
        default=False,
        description="whether they stand beside the network, at points where it has no station, "
        "and are not taken from it",
    )


class Screening(Section):
    """Quality control of observations before they meet a background."""

    blacklist: tuple[Integer, ...] = Field(default=(), description="stations that are not used")
    thinning: Number | None = Field(
        default=None, gt=0, description="side of a box that keeps one station, units of the axes"
    )
    buddy_check: BuddyCheck | None = Field(default=None, description="comparison with neighbours")
    withheld: WithheldStations | None = Field(
        default=None, description="stations that no analysis sees, for verification"
    )


class Binning(Section):
    """Superobservations in place of the stations of a dense network; see `bin_stations`."""

    points: Integer = Field(ge=2, description="grid points along a side of a cell")
