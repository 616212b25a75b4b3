"""The sections of a recipe that describe its streams of real observations."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from vardax_core.data.kind import by_kind
from vardax_core.data.scalars import Number
from vardax_core.data.section import Section
from vardax_core.data.streams.quality import Bias, Heights
from vardax_core.data.streams.registry import registered_sources
from vardax_core.data.streams.source import AbstractStreamSource
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.observations.kinds.point import PointSettings
from vardax_core.observations.registry import registered_means, registered_statistics
from vardax_core.observations.settings import AbstractMeanSettings, AbstractTimeStatistic

TimeStatistic = Annotated[
    SerializeAsAny[AbstractTimeStatistic] | None,
    by_kind(registered_statistics, "vardax operators"),
]
"""What a value is of the hours before its time, if not of its instant."""


class Stream(Section):
    """Observations of one kind from one instrument or observing network."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100, description="of the stream")
    source: Annotated[
        SerializeAsAny[AbstractStreamSource], by_kind(registered_sources, "vardax sources")
    ] = Field(description="where the values are, and how they are written")
    error_sd: Number | None = Field(
        default=None,
        gt=0,
        description="standard deviation of the error in the variable's units, of values that state "
        "none themselves",
    )
    representativeness: Number = Field(
        default=0.0,
        ge=0,
        description="standard deviation of what a grid cannot resolve, added in squares, in the "
        "variable's units",
    )
    errors: Literal["estimated"] | None = Field(
        default=None,
        description="estimated: the errors are scaled to what innovations and residuals of the "
        "training period say; by default they are as stated, and this is only reported",
    )
    bias: Bias | None = Field(
        default=None,
        description="platform or stream: what each is off the others by is found and taken off",
    )
    heights: Heights | None = Field(
        default=None,
        description="how values change with height, by what they are brought to the grid's",
    )
    operator: Annotated[
        SerializeAsAny[AbstractMeanSettings] | None, by_kind(registered_means, "vardax operators")
    ] = Field(default=None, description="what a value is in space; by default of its place alone")
    statistic: TimeStatistic = Field(
        default=None,
        description="what each value is of the hours before its time; by default of its instant",
    )
    variable: str | None = Field(
        default=None, description="name of the variable that is observed; by default the only one"
    )
    valid_min: Number | None = Field(default=None, description="narrower than the variable's")
    valid_max: Number | None = Field(default=None, description="narrower than the variable's")

    @property
    def seen_as(self) -> AbstractMeanSettings:
        """The operator of its values."""
        return self.operator or PointSettings(kind=PointSettings.name)

    def _faults(self) -> Iterator[str]:
        low, high = self.bounds_within((-math.inf, math.inf))
        if not low < high:
            yield f"valid_min {self.valid_min} must be below valid_max {self.valid_max}"
        if self.heights is not None and not self.source.states_heights:
            yield "heights: columns.level is needed, the height of the place of each value"
        fleeting = self.source.are_images or self.source.gap is not None
        if self.carries_bias and self.bias_by == "platform" and fleeting:
            yield (
                "bias.memory: images, and platforms that gaps make, are seen once, so that there "
                "is nothing to remember; say by: stream, or leave memory out"
            )

    @property
    def bias_by(self) -> str:
        """What has a bias of its own, asked for or not."""
        return "platform" if self.bias is None else self.bias.by

    @property
    def carries_bias(self) -> bool:
        """Whether a bias is carried from cycle to cycle."""
        return self.bias is not None and self.bias.memory is not None

    def faults_with(
        self, dims: Sequence[str], units: str, bounds: tuple[float, float]
    ) -> Iterator[str]:
        """Say what is wrong for states with these dimensions and a variable in these units.

        Arguments:
            dims: dimensions of one state.
            units: of the variable.
            bounds: of its values, in `units`.
        """
        for fault in self.source.faults_of_axes(dims):
            yield f"source.{fault}"
        if self.source.units is not None:
            try:
                conversion(self.source.units, units)
            except UnknownUnitsError as error:
                yield f"source.units: {error}"
        low, high = self.bounds_within(bounds)
        if not low < high:
            yield f"valid_min and valid_max leave no value within the variable's {list(bounds)}"

    def bounds_within(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """Give the range of possible values, in the variable's units."""
        low = -math.inf if self.valid_min is None else self.valid_min
        high = math.inf if self.valid_max is None else self.valid_max
        return max(low, bounds[0]), min(high, bounds[1])


def faults_of_names(streams: Sequence[Stream]) -> Iterator[str]:
    """Say which names two streams share."""
    names = [stream.name for stream in streams]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the name '{name}' is given to more than one stream; give each its own"
