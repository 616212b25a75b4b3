"""What a data set is made of: the schema of `datasets/<name>/recipe.yaml`.

A recipe says where observations come from; how they are assimilated belongs to an experiment.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from vardax_core.data import schema
from vardax_core.data.errors import RecipeError
from vardax_core.data.host_sections import CallableForecast, CommandForecast, HostSection
from vardax_core.data.observing_networks import EveryPoint, RandomPoints, Regular, Reported
from vardax_core.data.recipe_sections import (
    Binning,
    ObservationNoise,
    Period,
    Screening,
    Variable,
    Window,
)
from vardax_core.data.reported import (
    ForecastFields,
    NoTruth,
    PriorFields,
    StateGrid,
    WithheldPlatforms,
)
from vardax_core.data.scalars import Duration, Integer, Interval
from vardax_core.data.section import Section
from vardax_core.data.streams.sections import Stream, faults_of_names
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes
from vardax_core.data.truth_sources import FileSource, TwinSource
from vardax_core.words import counted, faults_of

OBSERVED = "observed"
"""Name in stores of the values of observations where a state has several channels."""
CHANNEL = "channel"
"""Name of the dimension of channels, and of the channel of a station."""
RESERVED = frozenset({OBSERVED, CHANNEL, "time", "member", "station", "quality_control"})
"""Names in stores that no variable of several may have."""


class Recipe(Section):
    """Where the observations of one data set come from."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100, description="name of the data set's folder"
    )
    title: str = Field(min_length=1, description="one line for people")
    attribution: str = Field(min_length=1, description="what any use of the data must say")
    variable: Variable
    further: tuple[Variable, ...] | None = Field(
        default=None, min_length=1, description="variables of the channels after the first"
    )
    state_dims: tuple[str, ...] = Field(
        min_length=1, description="dimensions of the grid of one state"
    )
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
    source: Annotated[TwinSource | FileSource | NoTruth, Field(discriminator="kind")]
    network: Annotated[EveryPoint | Regular | RandomPoints | Reported, Field(discriminator="kind")]
    observation: ObservationNoise | None = Field(
        default=None, description="how a truth is observed; nothing where observations are real"
    )
    streams: tuple[Stream, ...] | None = Field(
        default=None, min_length=1, description="real observations"
    )
    grid: StateGrid | None = Field(
        default=None, description="of the states, where no truth has one; by default the prior's"
    )
    prior: PriorFields | None = Field(
        default=None, description="fields to learn from beside real observations"
    )
    forecast: (
        Annotated[ForecastFields | CommandForecast | CallableForecast, Field(discriminator="kind")]
        | None
    ) = Field(
        default=None,
        description="what makes the background of every analysis: files that hold it (fields), a "
        "command, or a Python function (callable)",
    )
    withheld: WithheldPlatforms | None = Field(
        default=None, description="real observations that no analysis sees, for verification"
    )
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

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        """Recipes that were written when forecasts were files name no kind of them."""
        forecast = values.get("forecast") if isinstance(values, dict) else None
        if isinstance(forecast, dict) and "kind" not in forecast:
            return {**values, "forecast": {"kind": "fields", **forecast}}
        return values

    @property
    def forecast_files(self) -> ForecastFields | None:
        """Files that hold the background of every analysis, if there are any."""
        return self.forecast if isinstance(self.forecast, ForecastFields) else None

    @property
    def host(self) -> HostSection | None:
        """What makes forecasts outside of vardax, if anything does."""
        return None if isinstance(self.forecast, ForecastFields) else self.forecast

    @property
    def reported(self) -> bool:
        """Whether the observations are real, and not simulated from a truth."""
        return self.streams is not None

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What a state holds, in the order of its channels."""
        return (self.variable, *(self.further or ()))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names along the first axis of a state; none where a state has no such axis."""
        return tuple(one.name for one in self.variables) if self.further else ()

    def variable_of(self, channel: str) -> Variable:
        """Give the variable of a channel.

        Raises:
            RecipeError: if there is no such channel.
        """
        found = {one.name: one for one in self.variables}
        if channel not in found:
            raise RecipeError(
                f"Recipe '{self.name}': there is no variable '{channel}', only {list(found)}."
            )
        return found[channel]

    @property
    def observed_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that every station observes; none without channels."""
        chosen = self.observation.channels if self.observation is not None else None
        return tuple(n for n, name in enumerate(self.channels) if not chosen or name in chosen)

    @property
    def observed(self) -> Variable:
        """What the values of observations are: the variable, or any observed channel's."""
        if not self.channels:
            return self.variable
        parts = [self.variables[number] for number in self.observed_channels]
        return Variable(
            name=OBSERVED,
            long_name=" or ".join(part.long_name for part in parts),
            units=parts[0].units,
            valid_min=min(part.valid_min for part in parts),
            valid_max=max(part.valid_max for part in parts),
        )

    @property
    def valid_range(self) -> tuple[float, float]:
        """Smallest and largest possible value of any variable."""
        return (
            min(one.valid_min for one in self.variables),
            max(one.valid_max for one in self.variables),
        )

    def state_shape(self, grid_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a state on a grid of some shape."""
        return (len(self.channels), *grid_shape) if self.channels else grid_shape

    @property
    def simulation(self) -> ObservationNoise:
        """How the truth is observed.

        Raises:
            RecipeError: if the observations are real.
        """
        if self.observation is None:
            raise RecipeError(
                f"Recipe '{self.name}': its observations are real; there is no simulation of them."
            )
        return self.observation

    @property
    def error_sd(self) -> float:
        """A usual standard deviation of the observation error, in the variable's unit."""
        if self.observation is not None:
            return self.observation.error_sd
        known = [
            float(np.hypot(stream.error_sd, stream.representativeness))
            for stream in self.streams or ()
            if stream.error_sd is not None
        ]
        return float(np.median(known)) if known else self.variable.range / 100

    @property
    def spacing(self) -> int:
        """Minutes between two observation times."""
        if self.observation is not None:
            return duration_to_minutes(self.observation.interval)
        return duration_to_minutes(self.window.spacing)

    def _faults(self) -> Iterator[str]:
        yield from self._faults_of_times()
        yield from self._faults_of_channels()
        if self.reported:
            yield from self._faults_of_streams()
        else:
            yield from self._faults_of_simulation()

    def _faults_of_streams(self) -> Iterator[str]:
        streams = self.streams or ()
        bounds = (self.variable.valid_min, self.variable.valid_max)
        for number, stream in enumerate(streams):
            for fault in stream.faults_with(self.state_dims, self.variable.units, bounds):
                yield f"observations.{number}.{fault}"
        for fault in faults_of_names(streams):
            yield f"streams: {fault}"
        if not isinstance(self.source, NoTruth) or not isinstance(self.network, Reported):
            yield "streams: real observations have no truth and no simulated observing network"
        for name in ("observation", "screening", "binning"):
            if getattr(self, name) is not None:
                yield f"{name} is for observations that are simulated; a stream says its own"
        if self.grid is None and self.prior is None:
            yield "grid: real observations say nothing about where maps are wanted; give a grid"
        if self.grid is not None:
            for fault in self.grid.faults_with(self.state_dims):
                yield f"grid: {fault}"
        averaged = [stream.name for stream in streams if stream.statistic is not None]
        if averaged and self.forecast_files is None:
            yield (
                f"streams: the values of {averaged} are of some hours, which asks for a forecast "
                "whose fields lie within them"
            )
        names = {stream.name for stream in streams}
        unknown = sorted(set((self.withheld and self.withheld.streams) or ()) - names)
        if unknown:
            yield f"withheld.streams: there are no streams {unknown}, only {sorted(names)}"

    def _faults_of_simulation(self) -> Iterator[str]:
        if self.observation is None:
            yield "observation is needed: how the truth is observed"
            return
        if isinstance(self.source, NoTruth) or isinstance(self.network, Reported):
            yield "source and network are needed: without real streams a truth is observed"
            return
        for name in ("grid", "prior", "withheld"):
            if getattr(self, name) is not None:
                yield f"{name} is for real observations, and these are simulated from a truth"
        if self.forecast_files is not None:
            yield "forecast from files is for real observations, and these are simulated"
        if self.window.after is not None:
            yield "window.after is for maps of real observations"
        yield from self._faults_of_twin()

    def _faults_of_times(self) -> Iterator[str]:
        if self.forecast is not None and self.window.times + (self.window.after or 0) > 1:
            yield (
                "window: with a forecast from files, a command or a function the observations of "
                "one time are analysed; set times to 1 and leave `after` out"
            )
        if (
            self.training is not None
            and self.training.end >= self.period.start
            and not self.reported
        ):
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
        if self.window.times > fit and not self.reported:
            yield (
                f"a window of {self.window.times} times every {self.window.spacing} is longer than "
                f"the cycle of {self.cycle_interval}: an observation would be used twice"
            )
        own = self.window.spacing if self.observation is None else self.observation.interval
        name = "window.spacing" if self.observation is None else "observation.interval"
        for key, length in (
            ("cycle_interval", self.cycle_interval),
            ("window.spacing", self.window.spacing),
        ):
            if length % own:
                yield f"{key} {length} must be a multiple of {name} {own}"

    def _faults_of_twin(self) -> Iterator[str]:
        if not isinstance(self.source, TwinSource) or self.observation is None:
            return
        channels, shape = self.source.settings.channels, self.source.settings.grid_shape
        if len(self.state_dims) != len(shape):
            yield (
                f"state_dims: a state of the model {self.source.model} has "
                f"{counted(len(shape), 'dimension')}, {shape} points; got {list(self.state_dims)}"
            )
        elif len(self.channels) != channels:
            yield (
                f"variables: a state of the model {self.source.model} holds "
                f"{counted(channels or 1, 'variable')}; got "
                f"{[one.name for one in self.variables]}"
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

    def _faults_of_channels(self) -> Iterator[str]:
        chosen = self.observation.channels if self.observation is not None else None
        names = [one.name for one in self.variables]
        if chosen is not None and (unknown := sorted(set(chosen) - set(names))):
            yield f"observation.channels: there are no variables {unknown}, only {names}"
            return
        if self.further is None:
            return
        if len(set(names)) < len(names) or set(names) & RESERVED:
            yield (
                f"variables: every one needs a name of its own, and none of {sorted(RESERVED)}; "
                f"got {names}"
            )
        if not isinstance(self.source, TwinSource):
            yield "variables: several are for a truth that a model simulates, so far"
        units = {self.variables[number].units for number in self.observed_channels}
        if len(units) > 1:
            yield (
                f"observation.channels: the observed variables have the units {sorted(units)}, and "
                "one error_sd is of one unit; observe variables of one unit"
            )
        for name in ("screening", "binning"):
            if getattr(self, name) is not None:
                yield f"{name} is for a state of one variable, so far"

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
        after = (self.window.after or 0) * duration_to_minutes(self.window.spacing)
        return first, instant_to_minutes(self.period.end) + after

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
        """The recipe with other observation errors and, for a twin, another nature run.

        Raises:
            RecipeError: if its observations are real.
        """
        if self.reported:
            raise RecipeError(
                f"Recipe '{self.name}': real observations have no seed; leave the seed out."
            )
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
    named = schema.names_of(values)
    try:
        return Recipe.model_validate(schema.arranged(values))
    except ValidationError as error:
        faults = [f"  {fault}" for fault in faults_of(error, lambda path: named(path) or "recipe")]
        raise RecipeError(
            f"{where}: not a valid recipe.\n" + "\n".join(faults) + "\nCorrect these keys."
        ) from error
