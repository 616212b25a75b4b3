"""What a data set is made of: the schema of `datasets/<name>/recipe.yaml`.

A recipe says where observations come from; how they are assimilated belongs to an experiment.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
)

from vardax_core.data.errors import RecipeError
from vardax_core.data.observing_networks import EveryPoint, RandomPoints, Regular
from vardax_core.data.scalars import Duration, Instant, Integer, Interval, Number, Seed
from vardax_core.data.section import Section
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes
from vardax_core.data.truth_sources import FileSource, TwinSource
from vardax_core.words import counted, faults_of


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

    def _faults(self) -> Iterator[str]:
        if not self.valid_min < self.valid_max:
            yield f"valid_min {self.valid_min} must be below valid_max {self.valid_max}"


class Period(Section):
    """A span of valid time, both ends included."""

    start: Instant = Field(description="first instant (UTC)")
    end: Instant = Field(description="last instant (UTC)")

    def _faults(self) -> Iterator[str]:
        if self.end < self.start:
            yield f"end {self.end.isoformat()} is before start {self.start.isoformat()}"


class Window(Section):
    """The observation times of one cycle, the last of which is the analysis time."""

    times: Integer = Field(ge=1, description="number of observation times")
    spacing: Interval = Field(description="time between two of them")


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


class Recipe(Section):
    """Where the observations of one data set come from."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100, description="name of the data set's folder"
    )
    title: str = Field(min_length=1, description="one line for people")
    attribution: str = Field(min_length=1, description="what any use of the data must say")
    variable: Variable
    state_dims: tuple[str, ...] = Field(min_length=1, description="dimensions of one state")
    training: Period | None = Field(
        default=None, description="period a method may learn from; before `period`"
    )
    period: Period = Field(description="first and last analysis time")
    burn_in: Integer = Field(
        ge=0, description="cycles at the start of the period that are not scored"
    )
    cycle_interval: Interval = Field(description="time between two analyses")
    window: Window
    latency: Duration = Field(description="real time to wait after an analysis time")
    source: Annotated[TwinSource | FileSource, Field(discriminator="kind")]
    network: Annotated[EveryPoint | Regular | RandomPoints, Field(discriminator="kind")]
    observation: ObservationNoise
    screening: Screening | None = Field(
        default=None, description="quality control beyond the bounds of the variable"
    )
    binning: Binning | None = Field(default=None, description="averaging of stations in cells")
    members: Integer | None = Field(
        default=None, ge=2, le=1000, description="ensemble size that experiments start from"
    )
    methods: dict[str, dict[str, Any]] | None = Field(
        default=None,
        description="methods that a run compares, each with the settings that suit this data set",
    )

    def _faults(self) -> Iterator[str]:
        yield from self._faults_of_times()
        yield from self._faults_of_twin()

    def _faults_of_times(self) -> Iterator[str]:
        if self.training is not None and self.training.end >= self.period.start:
            yield (
                f"training ends at {self.training.end.isoformat()}, which must be before period "
                f"starts at {self.period.start.isoformat()}: a method is scored on later days only"
            )
        if (self.period.end - self.period.start) % self.cycle_interval:
            yield (
                f"period must hold a whole number of cycles of {self.cycle_interval}: it runs from "
                f"{self.period.start.isoformat()} to {self.period.end.isoformat()}"
            )
        # Rounded up, and not times x spacing, which may be longer than a timedelta can be.
        fit = -(-self.cycle_interval // self.window.spacing)
        if self.window.times > fit:
            yield (
                f"a window of {self.window.times} times every {self.window.spacing} is longer than "
                f"the cycle of {self.cycle_interval}: an observation would be used twice"
            )
        for key, length in (
            ("cycle_interval", self.cycle_interval),
            ("window.spacing", self.window.spacing),
        ):
            if length % self.observation.interval:
                yield (
                    f"{key} {length} must be a multiple of observation.interval "
                    f"{self.observation.interval}"
                )

    def _faults_of_twin(self) -> Iterator[str]:
        if not isinstance(self.source, TwinSource):
            return
        shape = self.source.settings.state_shape
        if len(self.state_dims) != len(shape):
            yield (
                f"state_dims: a state of the model {self.source.model} has "
                f"{counted(len(shape), 'dimension')}, {shape} points; got {list(self.state_dims)}"
            )
        elif len(shape) > 1:
            yield (
                f"source.model: a state of the model {self.source.model} has channels on a grid, "
                f"{shape} points, and a recipe takes a state of one dimension so far; choose "
                "another model, or write its run to a file for each channel"
            )
        else:
            try:
                self.network.places(shape)
            except ValueError as error:
                yield f"network: {error}"
        if self.observation.interval % self.source.step_interval:
            yield (
                f"observation.interval {self.observation.interval} must be a multiple of "
                f"source.step_interval {self.source.step_interval}"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of everything the recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def span(self) -> tuple[int, int]:
        """First and last minute since `MINUTES_EPOCH` at which data are needed."""
        before = (self.window.times - 1) * duration_to_minutes(self.window.spacing)
        first = instant_to_minutes(self.period.start) - before
        if self.training is not None:
            first = min(first, instant_to_minutes(self.training.start))
        return first, instant_to_minutes(self.period.end)

    def with_draw(self, draw: int) -> "Recipe":
        """The recipe with another draw of the stations.

        Raises:
            RecipeError: if the stations are not drawn at random.
        """
        if self.network.draw is None:
            raise RecipeError(
                f"Recipe '{self.name}': a station draw needs a network of random_points, but this "
                f"one is {self.network.kind}; leave the draw out."
            )
        return self._changed(network={"seed": draw})

    def with_seed(self, seed: int) -> "Recipe":
        """The recipe with other observation errors and, for a twin, another nature run."""
        if self.source.simulates:
            return self._changed(observation={"seed": seed}, source={"seed": seed})
        return self._changed(observation={"seed": seed})

    def _changed(self, **sections: dict[str, int]) -> "Recipe":
        values = self.model_dump()
        for section, changes in sections.items():
            values[section].update(changes)
        return validate_recipe(values, f"Recipe '{self.name}'")


def validate_recipe(values: Any, where: str | pathlib.Path) -> Recipe:
    """Check the values of a recipe; see `Recipe`.

    Raises:
        RecipeError: naming `where`, every key at fault, and the repair.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        faults = [
            f"  {fault}" for fault in faults_of(error, lambda path: _dotted(path) or "recipe")
        ]
        raise RecipeError(
            f"{where}: not a valid recipe.\n" + "\n".join(faults) + "\nCorrect these keys."
        ) from error


def _dotted(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path))
