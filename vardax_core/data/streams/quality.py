"""What a recipe says of the errors of a stream beside their size: biases and heights."""

import datetime
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_serializer

from vardax_core.data.scalars import Interval, Number
from vardax_core.data.section import Section
from vardax_core.data.streams.units import UnknownUnitsError, conversion


class Bias(Section):
    """What values are off by on average, which is found and taken off.

    Written as a word, `bias: platform`, it is that of the training period.
    """

    by: Literal["platform", "stream"] = Field(description="what has a bias of its own")
    memory: Interval | None = Field(
        default=None,
        description="carry the bias from cycle to cycle and forget it in this time; by default it "
        "stays what the training period says",
    )
    sd: Number | None = Field(
        default=None,
        gt=0,
        description="usual size of a bias, in the variable's units; by default what the training "
        "period says, or the error of the values",
    )
    anchor: bool = Field(
        default=True,
        description="whether the stream is among those whose biases have a mean of zero, as those "
        "without a bias are",
    )

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        return {"by": values} if isinstance(values, str) else values

    @model_serializer(mode="wrap")
    def _as_a_word(self, write: Any) -> dict[str, Any] | str:
        """A bias of which nothing but `by` is said is that word, as it always was."""
        given: dict[str, Any] = write(self)
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        told = {k: v for k, v in given.items() if v != defaults[k]}
        return str(given["by"]) if set(told) == {"by"} else told

    def _faults(self) -> Iterator[str]:
        if self.memory is not None and self.memory < datetime.timedelta(hours=1):
            yield f"memory {self.memory} is shorter than an hour; write 30d, say"


class Heights(Section):
    """How values change with the height of their place above that of the grid.

    The heights of the places are those of `columns.level`, those of the grid `grid.orography`.
    """

    lapse_rate: Number = Field(
        description="change of the variable with height, in its units per metre: -0.0065 of a "
        "temperature in K"
    )
    units: str = Field(
        default="m", min_length=1, description="of the heights, where a file states none"
    )

    def _faults(self) -> Iterator[str]:
        try:
            conversion(self.units, "m")
        except UnknownUnitsError as error:
            yield f"units: {error}"
