"""What a recipe says of how a stream observes the state: typed settings, by their name."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.grids.base import Places, Stencil


class Sites(NamedTuple):
    """The stations of an observing network that stays where it is.

    Attributes:
        grid: of a state, or of each of its channels.
        points: flat (row-major) index in a state of the point at which each station is.
        state_shape: shape of one state, channels first if it has any.
    """

    grid: AbstractGrid
    points: Int[np.ndarray, " obs"]
    state_shape: tuple[int, ...]

    @property
    def places(self) -> Places:
        """Coordinates of every station."""
        return self.grid.points()[self.points % self.grid.size]

    def in_channels(self, stencil: Stencil) -> Stencil:
        """Move the points of a stencil on the grid into the channel of each station."""
        first = self.points // self.grid.size * self.grid.size
        return Stencil(stencil.indices + first[:, None], stencil.weights)


class AbstractObservedAs(BaseModel):
    """How observations come from states, in space or in time.

    A subclass is final and lies in a file of its own. Its fields are the settings, each with a
    description.

    Class attributes:
        name: by which recipes choose it, as `kind`.
        title: one line for people.
        source: of the formula.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]

    kind: str = Field(description="name of what is observed")

    @field_validator("kind")
    @classmethod
    def _own(cls, kind: str) -> str:
        if kind != cls.name:
            raise ValueError(f"expected '{cls.name}', got '{kind}'")
        return kind

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(f"expected a number, got the truth value {value}")
        return value


class AbstractOperatorSettings(AbstractObservedAs):
    """The settings of an observation operator: a value for each station from one state."""

    @abstractmethod
    def build(self, sites: Sites) -> AbstractObservationOperator:
        """Make the operator of a network, with one value for each of its stations, in order.

        Raises:
            ValueError: if the settings do not fit the grid.
        """

    @abstractmethod
    def range_of(self, low: float, high: float) -> tuple[float, float]:
        """Give the smallest and the largest value that states within bounds can have."""

    @abstractmethod
    def units_of(self, units: str) -> str:
        """Give the units of the values of states in some units."""


class AbstractMeanSettings(AbstractOperatorSettings):
    """The settings of an operator that takes weighted means of points around a place.

    Its places are data, so that it serves real observations, too, which bring other places with
    every cycle.
    """

    @abstractmethod
    def stencil(self, grid: AbstractGrid, places: Places) -> Stencil:
        """Find the points and weights of every place.

        Raises:
            OutsideDomainError: if a place lies outside the grid, or among masked points.
        """

    @abstractmethod
    def corners(self, grid: AbstractGrid) -> int:
        """Say how many points the stencil of a place on a grid has at most."""

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        return low, high

    def units_of(self, units: str) -> str:
        return units


class AbstractTimeStatistic(AbstractObservedAs):
    """What a value is of the hours before its time, of states or of their equivalents."""

    hours: int = Field(ge=1, le=24 * 31, description="how many")

    @abstractmethod
    def reduced(self, fields: Float[np.ndarray, "time *any"]) -> Float[np.ndarray, "*any"]:
        """Give the value from the states of these hours."""
