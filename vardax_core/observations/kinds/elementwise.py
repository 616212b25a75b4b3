"""Functions of the value at a point."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from vardax_core.observations import nonlinear
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import sampling
from vardax_core.observations.settings import AbstractOperatorSettings, Sites


class AbstractFunctionSettings(AbstractOperatorSettings):
    """The settings of a function of the value at a point."""

    @abstractmethod
    def function(self, state_shape: tuple[int, ...]) -> nonlinear.Elementwise:
        """Make the function of the values at the points."""

    def build(self, sites: Sites) -> AbstractObservationOperator:
        inner = sampling(sites.points, sites.state_shape)
        return self.function((inner.obs_size,)) @ inner


class AbsoluteSettings(AbstractFunctionSettings):
    """Settings of `nonlinear.absolute`."""

    name: ClassVar[str] = "absolute"
    title: ClassVar[str] = "the magnitude |x|, which is blind to the sign"
    source: ClassVar[str] = "absolute value"

    def function(self, state_shape: tuple[int, ...]) -> nonlinear.Elementwise:
        return nonlinear.absolute(state_shape)

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        return max(low, -high, 0.0), max(abs(low), abs(high))

    def units_of(self, units: str) -> str:
        return units


class SquareSettings(AbstractFunctionSettings):
    """Settings of `nonlinear.square`."""

    name: ClassVar[str] = "square"
    title: ClassVar[str] = "the power x^2"
    source: ClassVar[str] = "square"

    def function(self, state_shape: tuple[int, ...]) -> nonlinear.Elementwise:
        return nonlinear.square(state_shape)

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        return max(low, -high, 0.0) ** 2, max(low**2, high**2)

    def units_of(self, units: str) -> str:
        return "1" if units == "1" else f"({units})2"


class LogarithmSettings(AbstractFunctionSettings):
    """Settings of `nonlinear.logarithm`."""

    name: ClassVar[str] = "logarithm"
    title: ClassVar[str] = "log(max(x, floor)), for positive quantities such as concentrations"
    source: ClassVar[str] = "natural logarithm"

    floor: float = Field(default=1e-6, gt=0, description="smallest value that is told apart")

    def function(self, state_shape: tuple[int, ...]) -> nonlinear.Elementwise:
        return nonlinear.logarithm(state_shape, floor=self.floor)

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        first, last = np.log(np.maximum([low, high], self.floor)).tolist()
        return first - 1e-6, last

    def units_of(self, units: str) -> str:
        return "1"


class ClippedSettings(AbstractFunctionSettings):
    """Settings of `nonlinear.clipped`."""

    name: ClassVar[str] = "clipped"
    title: ClassVar[str] = "an instrument that saturates below and above some values"
    source: ClassVar[str] = "limits of a detector"

    lower: float = Field(description="smallest value that it shows")
    upper: float = Field(description="largest value that it shows")

    @model_validator(mode="after")
    def _ordered(self) -> "ClippedSettings":
        nonlinear.clipped((1,), lower=self.lower, upper=self.upper)
        return self

    def function(self, state_shape: tuple[int, ...]) -> nonlinear.Elementwise:
        return nonlinear.clipped(state_shape, lower=self.lower, upper=self.upper)

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        return low, high

    def units_of(self, units: str) -> str:
        return units
