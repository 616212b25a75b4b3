"""The sections of a recipe whose observations are real: its grid, its prior, what is withheld."""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_serializer

from vardax_core.data.scalars import Duration, Instant, Integer, Number, Seed
from vardax_core.data.section import Section
from vardax_core.data.streams.scalars import Offset
from vardax_core.data.streams.sections import TimeStatistic
from vardax_core.data.streams.source import Selection
from vardax_core.data.streams.stream_file import StreamFile


class FieldFiles(Section):
    """A variable in files of gridded fields."""

    files: tuple[StreamFile, ...] = Field(
        min_length=1, description="paths and patterns below the folders of data"
    )
    variable: str = Field(min_length=1, description="name of the variable in the files")


class StateFields(Section):
    """Files that hold the variables of a state."""

    files: tuple[StreamFile, ...] = Field(
        min_length=1, description="paths and patterns below the folders of data"
    )
    variable: str | None = Field(
        default=None,
        min_length=1,
        description="name of the variable in the files; by default its own file_variable or name",
    )
    select: dict[str, Number] | None = Field(
        default=None, description="one coordinate of each further dimension, of every variable"
    )


class PriorFields(StateFields):
    """Fields that methods may learn from: model output, analyses or maps, of any earlier time."""

    start: Instant | None = Field(default=None, description="first valid time that is used")
    end: Instant | None = Field(default=None, description="last valid time that is used")

    def _faults(self) -> Iterator[str]:
        if self.start is not None and self.end is not None and self.end < self.start:
            yield f"end {self.end.isoformat()} is before start {self.start.isoformat()}"


class ForecastFields(StateFields):
    """Forecasts in files, one or an ensemble, which are the background at every analysis time.

    Where the files say when their forecasts started and how far they reach, a background is of the
    latest one that had arrived.
    """

    kind: Literal["fields"] = Field(default="fields", exclude=True)
    select: dict[str, Number] | None = Field(
        default_factory=dict, description="one coordinate of each further dimension, such as levels"
    )
    statistic: TimeStatistic = Field(
        default=None, description="what a background is of the fields of some hours"
    )
    ends: Offset = Field(
        default=datetime.timedelta(0),
        description="from the analysis time to the valid time, or to the end of these hours",
    )
    members: tuple[Integer, ...] | None = Field(
        default=None, min_length=1, description="numbers of those that are taken; by default all"
    )
    starts: str | None = Field(
        default=None,
        description="coordinate of the times that forecasts start at; by default as names and "
        "attributes say",
    )
    leads: str | None = Field(
        default=None,
        description="coordinate of the times that forecasts reach; by default the same",
    )
    arrival_delay: Duration | None = Field(
        default=None, description="from the start of a forecast to its arrival; by default none"
    )

    def _faults(self) -> Iterator[str]:
        twice = sorted({one for one in self.members or () if (self.members or ()).count(one) > 1})
        if twice:
            yield f"members names {twice} more than once; name each member once"


class GridMask(FieldFiles, Selection):
    """A field whose values say which points belong to the state: sea, not land."""


class Orography(FieldFiles):
    """The height of the points of the grid above sea level."""

    units: str | None = Field(
        default=None, min_length=1, description="of the heights; by default what the file states"
    )


class AxisRange(Section):
    """Regular coordinates from the first to the last."""

    first: Number = Field(description="first coordinate")
    last: Number = Field(description="last coordinate")
    step: Number = Field(gt=0, description="distance between two")
    units: str | None = Field(
        default=None, description="m or km for the axes of a plane; degrees need none"
    )

    def _faults(self) -> Iterator[str]:
        count = abs(self.last - self.first) / self.step
        if count < 1:
            yield f"from {self.first:g} to {self.last:g} there is no step of {self.step:g}"
        elif abs(count - round(count)) > 1e-6 * max(count, 1):
            yield (
                f"from {self.first:g} to {self.last:g} there is no whole number of steps of "
                f"{self.step:g}"
            )
        elif count > 10**6:
            yield f"{count:.0f} points along one axis; choose a longer step"

    def points(self) -> Float[np.ndarray, " point"]:
        """Give the coordinates."""
        count = round(abs(self.last - self.first) / self.step) + 1
        return np.linspace(self.first, self.last, count)


class StateGrid(Section):
    """Where the points of a state are: axes of their own, or those of a file.

    The axes stand beside the other keys, by the recipe's state_dims.
    """

    axes: dict[str, AxisRange] = Field(default_factory=dict, description="of every dimension")
    like: FieldFiles | None = Field(default=None, description="fields whose axes are taken")
    mask: GridMask | None = Field(default=None, description="which points belong to the state")
    orography: Orography | None = Field(
        default=None, description="heights, to which observations at others are brought"
    )

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "axes" in values:
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        axes = {k: v for k, v in values.items() if k not in own}
        return {**own, "axes": axes} if axes else own

    @model_serializer(mode="wrap")
    def _beside_each_other(self, write: Any) -> dict[str, Any]:
        flat = {k: v for k, v in write(self).items() if v is not None}
        return flat | flat.pop("axes")

    def _faults(self) -> Iterator[str]:
        if bool(self.axes) == (self.like is not None):
            yield "give either the axes of every dimension, or `like` a file that has them"

    def faults_with(self, dims: Sequence[str]) -> Iterator[str]:
        """Say what is wrong for states with these dimensions."""
        if self.axes and set(self.axes) != set(dims):
            yield f"the axes must be {list(dims)}, got {list(self.axes)}"


class WithheldPlatforms(Section):
    """Platforms (stations, buoys, pieces of track, images) by which analyses are verified.

    No analysis and no training sees them. Each is drawn by its name, so that later data change
    nothing about those that were there.
    """

    share: Number = Field(gt=0, lt=1, description="of the platforms")
    seed: Seed = Field(description="of the draw")
    by: Literal["platform", "cloud"] = Field(
        default="platform",
        description="cloud: of every image, what the clouds of another image would have hidden",
    )
    streams: tuple[str, ...] | None = Field(
        default=None, description="names of the streams that it concerns; by default all"
    )


class NoTruth(Section):
    """The place of a truth in a recipe that has none; see `TwinSource` for the attributes."""

    simulates: ClassVar[bool] = False
    origin: ClassVar[str] = "unknown"
    usual_members: ClassVar[int] = 40
    scores_stations: ClassVar[bool] = False

    kind: Literal["none"] = "none"
