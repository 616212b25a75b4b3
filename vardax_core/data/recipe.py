"""What a data set is made of: the schema of `datasets/<name>/recipe.yaml`.

A recipe says where observations come from; how they are assimilated belongs to an experiment.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from vardax_core.analysis.possible import Bound, Range
from vardax_core.data import schema
from vardax_core.data.errors import RecipeError
from vardax_core.data.host_sections import CallableForecast, CommandForecast, HostSection
from vardax_core.data.observing_networks import EveryPoint, RandomPoints, Regular, Reported
from vardax_core.data.recipe_faults import faults_of_recipe
from vardax_core.data.recipe_sections import (
    MIXED,
    OBSERVED,
    Binning,
    ObservationNoise,
    Period,
    Screening,
    Variable,
    Window,
)
from vardax_core.data.regions import Region
from vardax_core.data.reported import (
    ForecastFields,
    NoTruth,
    PriorFields,
    StateFields,
    StateGrid,
    WithheldPlatforms,
)
from vardax_core.data.scalars import Duration, Integer, Interval
from vardax_core.data.section import Section
from vardax_core.data.streams.sections import Stream
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes
from vardax_core.data.truth_sources import FileSource, TwinSource
from vardax_core.observations.kinds.point import PointSettings
from vardax_core.words import faults_of

ONLY_REPORTED = ("regions", "leads")
"""Keys that change no analysis, only what a report says of it; no digest has them."""
OPERATIONAL = ("implausible",)
"""Keys that change no analysis, only when a run ends; no digest has them."""


class FileVariable(NamedTuple):
    """A variable of a state in files of fields.

    Attributes:
        variable: of the recipe.
        name: that it has in the files.
        select: one coordinate of each further dimension.
    """

    variable: Variable
    name: str
    select: dict[str, float]


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
    regions: dict[str, Region] | None = Field(
        default=None,
        min_length=1,
        description="parts of the domain that a report scores apart, each with bounds by the "
        "state_dims; by default quarters",
    )
    leads: Integer | None = Field(
        default=None,
        ge=1,
        le=100,
        description="cycles that a report forecasts from every analysis, to score the forecasts "
        "by the observations of later cycles; by default none",
    )
    implausible: Literal["fallback", "hold"] | None = Field(
        default=None,
        description="what is done where an increment is implausible: a fallback's analysis or the "
        "background is committed in its place with the code IMPLAUSIBLE (fallback, the default), "
        "or nothing is, and the experiment is held (hold)",
    )
    balance: str | None = Field(
        default=None,
        min_length=1,
        description="field of the forecast model that increments must be in balance with",
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

    def in_files(self, section: StateFields | FileSource) -> tuple[FileVariable, ...]:
        """Say how each variable of a state is found in the files of a section."""
        return tuple(
            FileVariable(
                one,
                one.file_variable or section.variable or one.name,
                {**(section.select or {}), **(one.select or {})},
            )
            for one in self.variables
        )

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

    def variable_of_stream(self, stream: Stream) -> Variable:
        """Give the variable that a stream observes."""
        return self.variable if stream.variable is None else self.variable_of(stream.variable)

    @property
    def observed_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that every station, or any stream, observes; none without
        channels."""
        chosen = self.observation.channels if self.observation is not None else None
        if self.streams is not None:
            chosen = tuple(self.variable_of_stream(stream).name for stream in self.streams)
        return tuple(n for n, name in enumerate(self.channels) if not chosen or name in chosen)

    @property
    def observed(self) -> Variable:
        """What the values of observations are: the variable, or any observed channel's, as its
        operator shows it."""
        return self.as_observed(self.variable if not self.channels else self._of_any_channel())

    def _of_any_channel(self) -> Variable:
        parts = [self.variables[number] for number in self.observed_channels]
        return Variable(
            name=OBSERVED,
            long_name=" or ".join(part.long_name for part in parts),
            units=parts[0].units if len({part.units for part in parts}) == 1 else MIXED,
            valid_min=min(part.valid_min for part in parts),
            valid_max=max(part.valid_max for part in parts),
        )

    def as_observed(self, variable: Variable) -> Variable:
        """Give the variable as whose values its observations are stored."""
        operator = None if self.observation is None else self.observation.operator
        if operator is None:
            return variable
        low, high = operator.range_of(variable.valid_min, variable.valid_max)
        changes = {"valid_min": low, "valid_max": high, "units": operator.units_of(variable.units)}
        return variable.model_copy(update=changes)

    @property
    def unlike_points(self) -> tuple[str, ...]:
        """Names of the operators by which observations are not values at points."""
        observed = [*(self.streams or ()), *((self.observation,) if self.observation else ())]
        names = {one.operator.kind for one in observed if one.operator is not None}
        return tuple(sorted(names - {PointSettings.name}))

    @property
    def valid_range(self) -> Range:
        """Smallest and largest possible value of a state, of each channel if there are any."""
        if not self.channels:
            return self.variable.valid_min, self.variable.valid_max
        return (
            tuple(self._on_grid(one.valid_min) for one in self.variables),
            tuple(self._on_grid(one.valid_max) for one in self.variables),
        )

    def _on_grid(self, bound: float) -> Bound:
        """A bound of all points of a grid, as a nested one; see `Range`."""
        nested: Bound = bound
        for _ in self.state_dims:
            nested = (nested,)
        return nested

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
        return faults_of_recipe(self)

    @property
    def digest(self) -> str:
        """SHA-256 of everything the recipe says but what only a report is made with."""
        plain = self.model_dump_json(exclude={*ONLY_REPORTED, *OPERATIONAL})
        return hashlib.sha256(plain.encode()).hexdigest()

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
    faults, cause = list(schema.faults_of_keys(values)), None
    try:
        recipe = Recipe.model_validate(schema.arranged(values))
    except ValidationError as error:
        faults += faults_of(error, lambda path: named(path) or "recipe")
        cause = error
    if faults:
        told = "\n".join(f"  {fault}" for fault in faults)
        raise RecipeError(f"{where}: not a valid recipe.\n{told}\nCorrect these keys.") from cause
    return recipe
