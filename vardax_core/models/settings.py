"""What a recipe says of a forecast model: typed settings that build it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, field_validator, model_serializer

from vardax_core.models.base import AbstractForecastModel

Axis = tuple[np.ndarray, dict[str, str]]
"""Coordinate values along one dimension of a state, and their CF attributes."""


class AbstractModelSettings(BaseModel):
    """The settings of one kind of model; a subclass is final and lies in the model's own file.

    Class attributes:
        name: by which recipes and commands choose the model.
        title: one line for people.
        source: of the equations.
        layered: whether the first axis of a state is that of its channels, and the others are
            those of a grid.
        wraps: whether that grid closes on itself along every axis.
        free_run: steps of the run that a climatology is taken from, and how many of its first ones
            are left out.
        ring: whether the points of a state are a ring of equals, on which a local analysis may
            be learned.
        later: fields that are left out where they have their default, so that digests of recipes
            made before there were such fields stay what they were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    free_run: ClassVar[tuple[int, int]] = (20000, 1000)
    layered: ClassVar[bool] = False
    wraps: ClassVar[bool] = False
    ring: ClassVar[bool] = False
    later: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @abstractmethod
    def build(self, interval: int) -> AbstractForecastModel:
        """Make the model.

        Arguments:
            interval: minutes of valid time that one of its steps stands for.

        Raises:
            ValueError: if the settings contradict each other or the interval.
        """

    @abstractmethod
    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        """Draw a state from which the model finds its attractor."""

    @abstractmethod
    def axes(self) -> tuple[Axis, ...]:
        """Give the coordinates of every dimension of a state."""

    @property
    def channels(self) -> int:
        """Number of channels; 0 where a state has no axis of them."""
        return self.state_shape[0] if self.layered else 0

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Shape of the grid of one channel."""
        return self.state_shape[1:] if self.layered else self.state_shape

    def grid_axes(self) -> tuple[Axis, ...]:
        """Give the coordinates of every dimension of the grid."""
        return self.axes()[1:] if self.layered else self.axes()

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"expected a number, got the truth value {value}")
        return value

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        plain, fields = write(self), type(self).model_fields
        return {
            name: value
            for name, value in plain.items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }


def numbered(size: int, long_name: str) -> Axis:
    """Give the coordinates of points that have a number and no place."""
    return np.arange(size, dtype=np.int32), {"long_name": long_name}


def metres(size: int, length: float, axis: str) -> Axis:
    """Give the coordinates in metres of points along one side of a periodic plane.

    Arguments:
        length: of the side, metres.
        axis: x or y.
    """
    return np.arange(size) * (length / size), {
        "standard_name": f"projection_{axis}_coordinate",
        "long_name": f"distance along {axis}",
        "units": "m",
        "axis": axis.upper(),
    }
