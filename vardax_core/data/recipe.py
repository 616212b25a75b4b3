"""What a data set is made of: the schema of `datasets/<name>/recipe.yaml`.

A recipe says where observations come from; how they are assimilated belongs to an experiment.
"""

import datetime
import difflib
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    model_serializer,
    model_validator,
)

from vardax_core.data.errors import RecipeError
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes
from vardax_core.models.registry import model_settings
from vardax_core.models.settings import AbstractModelSettings

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


def _plain_file_name(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value or "\\" in value or "\0" in value:
        raise ValueError(
            f"{value!r} is not a plain file name; a recipe names files only, the folders that are "
            "searched for them are the user's choice"
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
Instant = Annotated[datetime.datetime, AfterValidator(_as_utc)]
FileName = Annotated[str, AfterValidator(_plain_file_name)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def did_you_mean(word: str, known: list[str]) -> str:
    """A clause that offers the nearest known word, empty when none is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else "."


def refuse_unknown_keys(
    values: Iterable[object], known: list[str], valid: list[str] | None = None
) -> None:
    """Refuse keys that a section does not know.

    Arguments:
        values: the keys that are there.
        known: those that may be.
        valid: those that are named in the message, by default `known`.

    Raises:
        ValueError: naming each unknown key, with the nearest that is valid.
    """
    names = known if valid is None else valid
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ValueError(
            " ".join(f"unknown key '{key}'{did_you_mean(key, names)}" for key in unknown)
            + f" Valid keys: {', '.join(names)}."
        )


LATER_SECTIONS = frozenset({"late", "screening", "binning"})
"""Optional sections that are left out of a digest where they are absent."""


class Section(BaseModel):
    """Part of a recipe: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            refuse_unknown_keys(values, list(cls.model_fields))
        return values

    @model_serializer(mode="wrap")
    def _without_absent(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """A recipe without an optional section has the digest it had before there was one."""
        plain: dict[str, Any] = write(self)
        return {k: v for k, v in plain.items() if k not in LATER_SECTIONS or v is not None}


class Variable(Section):
    """The quantity that is observed and assimilated."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="name in every store")
    standard_name: str | None = Field(
        default=None, description="name in the CF standard name table, if it has one"
    )
    long_name: str = Field(description="name for readers")
    units: str = Field(min_length=1, description="UDUNITS string; a source must state the same")
    valid_min: float = Field(description="values below are gross errors, in `units`")
    valid_max: float = Field(description="values above are gross errors, in `units`")

    @model_validator(mode="after")
    def _ordered(self) -> "Variable":
        if not self.valid_min < self.valid_max:
            raise ValueError(f"valid_min {self.valid_min} must be below valid_max {self.valid_max}")
        return self


class Period(Section):
    """A span of valid time, both ends included."""

    start: Instant = Field(description="first instant (UTC)")
    end: Instant = Field(description="last instant (UTC)")

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        if self.end < self.start:
            raise ValueError(f"end {self.end.isoformat()} is before start {self.start.isoformat()}")
        return self


class Window(Section):
    """The observation times of one cycle, the last of which is the analysis time."""

    times: int = Field(ge=1, description="number of observation times")
    spacing: Interval = Field(description="time between two of them")


class TwinSource(Section):
    """A nature run made by a forecast model; the model's own settings stand beside these keys.

    With `forecast`, the forecasts are made by the same model with these settings changed.
    """

    kind: Literal["twin"]
    model: str = Field(description="name of the model that makes the nature run")
    settings: SerializeAsAny[AbstractModelSettings] = Field(description="of that model")
    step_interval: Interval = Field(description="valid time that one step stands for")
    spin_up_steps: int = Field(ge=0, description="steps before the first state that is kept")
    seed: Seed = Field(description="of the initial state")
    forecast: dict[str, JsonValue] | None = Field(
        default=None, description="settings in which the forecast model differs from the truth's"
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, values: Any) -> Any:
        if not isinstance(values, dict) or isinstance(values.get("settings"), BaseModel):
            return values
        name = values.get("model")
        if not isinstance(name, str):
            return values
        if "settings" in values:
            raise ValueError(
                f"unknown key 'settings': write the settings of the model {name} beside its name"
            )
        settings = model_settings(name)
        own, given = {}, {}
        for key, value in values.items():
            (own if key in cls.model_fields else given)[key] = value
        keys = [*settings.model_fields, *(key for key in cls.model_fields if key != "settings")]
        refuse_unknown_keys(given, list(settings.model_fields), keys)
        return {**own, "settings": settings.model_validate(given)}

    @model_validator(mode="after")
    def _models_can_be_built(self) -> "TwinSource":
        minutes = duration_to_minutes(self.step_interval)
        truth = self.settings.build(minutes)
        if self.forecast_settings.build(minutes).state_shape != truth.state_shape:
            raise ValueError(
                "forecast: the settings of the forecast model change the shape of the state; leave "
                "out those that do"
            )
        return self

    @model_serializer(mode="wrap")
    def _beside_each_other(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        flat: dict[str, Any] = {}
        for key, value in plain.items():
            if key == "settings":
                flat |= value
            elif key != "forecast" or value is not None:
                flat[key] = value
        return flat

    @property
    def forecast_settings(self) -> AbstractModelSettings:
        """The settings of the model that makes the forecasts."""
        changes = self.forecast or {}
        refuse_unknown_keys(changes, list(type(self.settings).model_fields))
        return type(self.settings).model_validate(self.settings.model_dump() | changes)


class SourceFile(Section):
    """A file that may hold the nature run."""

    name: FileName = Field(description="file name without a folder")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="its SHA-256 in hexadecimal")


class FileSource(Section):
    """A nature run in a GRIB or NetCDF file."""

    kind: Literal["file"]
    variable: str = Field(description="name of the variable in the file")
    files: tuple[SourceFile, ...] = Field(
        min_length=1, description="files that hold the data, the preferred one first"
    )
    tutorial: FileName | None = Field(
        default=None, description="one of `files` that the xarray tutorial data offer for download"
    )

    @model_validator(mode="after")
    def _tutorial_has_a_checksum(self) -> "FileSource":
        names = [file.name for file in self.files]
        if self.tutorial is not None and self.tutorial not in names:
            raise ValueError(f"tutorial '{self.tutorial}' must be one of the files {names}")
        return self


class EveryPoint(Section):
    """A station at every point of the grid."""

    kind: Literal["every_point"]


class RandomPoints(Section):
    """Stations at grid points drawn without replacement and fixed in time."""

    kind: Literal["random_points"]
    count: int = Field(ge=1, description="number of stations")
    seed: Seed = Field(description="of the draw of the stations")


class LateStations(Section):
    """Stations, drawn at random and fixed in time, whose observations arrive later."""

    count: int = Field(ge=1, description="number of them")
    delay: Interval = Field(description="added to the delay of the others")
    seed: Seed = Field(description="of the draw")


class ObservationNoise(Section):
    """How the nature run is observed."""

    error_sd: float = Field(gt=0, description="standard deviation of the error, in `units`")
    interval: Interval = Field(description="time between two observations of a station")
    arrival_delay: Duration = Field(description="from valid time to arrival")
    seed: Seed = Field(description="of the observation errors")
    late: LateStations | None = Field(default=None, description="stations that report late")


class BuddyCheck(Section):
    """A comparison of every station with those around it; see `flag_unlike_neighbours`."""

    radius: float = Field(gt=0, description="how far a neighbour may be, in units of the axes")
    expected_sd: float = Field(gt=0, description="usual difference within the radius, in `units`")
    k: float = Field(default=4.0, gt=0, description="tolerance in standard deviations")
    fewest: int = Field(default=3, ge=1, description="neighbours without which nothing is judged")


class WithheldStations(Section):
    """Stations, drawn at random and fixed in time, by which analyses are verified."""

    count: int = Field(ge=1, description="number of them")
    seed: Seed = Field(description="of the draw")
    beside: bool = Field(
        default=False,
        description="whether they stand beside the network, at points where it has no station, "
        "and are not taken from it",
    )


class Screening(Section):
    """Quality control of observations before they meet a background."""

    blacklist: tuple[int, ...] = Field(default=(), description="stations that are not used")
    thinning: float | None = Field(
        default=None, gt=0, description="side of a box that keeps one station, units of the axes"
    )
    buddy_check: BuddyCheck | None = Field(default=None, description="comparison with neighbours")
    withheld: WithheldStations | None = Field(
        default=None, description="stations that no analysis sees, for verification"
    )


class Binning(Section):
    """Superobservations in place of the stations of a dense network; see `bin_stations`."""

    points: int = Field(ge=2, description="grid points along a side of a cell")


class Recipe(Section):
    """Where the observations of one data set come from."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="name of the data set's folder")
    title: str = Field(min_length=1, description="one line for people")
    attribution: str = Field(min_length=1, description="what any use of the data must say")
    variable: Variable
    state_dims: tuple[str, ...] = Field(min_length=1, description="dimensions of one state")
    training: Period | None = Field(
        default=None, description="period a method may learn from; before `period`"
    )
    period: Period = Field(description="first and last analysis time")
    burn_in: int = Field(ge=0, description="cycles at the start of the period that are not scored")
    cycle_interval: Interval = Field(description="time between two analyses")
    window: Window
    latency: Duration = Field(description="real time to wait after an analysis time")
    source: Annotated[TwinSource | FileSource, Field(discriminator="kind")]
    network: Annotated[EveryPoint | RandomPoints, Field(discriminator="kind")]
    observation: ObservationNoise
    screening: Screening | None = Field(
        default=None, description="quality control beyond the bounds of the variable"
    )
    binning: Binning | None = Field(default=None, description="averaging of stations in cells")

    @model_validator(mode="after")
    def _times_fit(self) -> "Recipe":
        if self.training is not None and self.training.end >= self.period.start:
            raise ValueError(
                f"training ends at {self.training.end.isoformat()}, which must be before period "
                f"starts at {self.period.start.isoformat()}: a method is scored on later days only"
            )
        if (self.period.end - self.period.start) % self.cycle_interval:
            raise ValueError(
                f"period must hold a whole number of cycles of {self.cycle_interval}: it runs from "
                f"{self.period.start.isoformat()} to {self.period.end.isoformat()}"
            )
        # Rounded up, and not times x spacing, which may be longer than a timedelta can be.
        fit = -(-self.cycle_interval // self.window.spacing)
        if self.window.times > fit:
            raise ValueError(
                f"a window of {self.window.times} times every {self.window.spacing} is longer than "
                f"the cycle of {self.cycle_interval}: an observation would be used twice"
            )
        for key, length in (
            ("cycle_interval", self.cycle_interval),
            ("window.spacing", self.window.spacing),
        ):
            if length % self.observation.interval:
                raise ValueError(
                    f"{key} {length} must be a multiple of observation.interval "
                    f"{self.observation.interval}"
                )
        return self

    @model_validator(mode="after")
    def _twin_fits(self) -> "Recipe":
        if self.source.kind != "twin":
            return self
        shape = self.source.settings.state_shape
        if len(self.state_dims) != len(shape):
            raise ValueError(
                f"state_dims: a state of the model {self.source.model} has {len(shape)} "
                f"dimensions, {shape} points; got {list(self.state_dims)}"
            )
        if self.observation.interval % self.source.step_interval:
            raise ValueError(
                f"observation.interval {self.observation.interval} must be a multiple of "
                f"source.step_interval {self.source.step_interval}"
            )
        return self

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
        if self.network.kind != "random_points":
            raise RecipeError(
                f"Recipe '{self.name}': a station draw needs a network of random_points, but this "
                f"one is {self.network.kind}; leave the draw out."
            )
        return self._changed(network={"seed": draw})

    def with_seed(self, seed: int) -> "Recipe":
        """The recipe with other observation errors and, for a twin, another nature run."""
        if self.source.kind == "twin":
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
            f"  {'.'.join(str(part) for part in fault['loc']) or 'recipe'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        ]
        raise RecipeError(
            f"{where}: not a valid recipe.\n" + "\n".join(faults) + "\nCorrect these keys."
        ) from error
