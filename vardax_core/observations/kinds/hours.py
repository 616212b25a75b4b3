"""Means and extremes over hours."""

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from vardax_core.observations.settings import AbstractTimeStatistic


class Maximum(AbstractTimeStatistic):
    """The largest value of some hours, such as the maximum temperature of a day."""

    name: ClassVar[str] = "maximum"
    title: ClassVar[str] = "the largest value of the hours before"
    source: ClassVar[str] = "maximum"

    def reduced(self, fields: Float[np.ndarray, "time *any"]) -> Float[np.ndarray, "*any"]:
        return np.max(fields, axis=0)


class Minimum(AbstractTimeStatistic):
    """The smallest value of some hours, such as the minimum temperature of a day."""

    name: ClassVar[str] = "minimum"
    title: ClassVar[str] = "the smallest value of the hours before"
    source: ClassVar[str] = "minimum"

    def reduced(self, fields: Float[np.ndarray, "time *any"]) -> Float[np.ndarray, "*any"]:
        return np.min(fields, axis=0)


class Mean(AbstractTimeStatistic):
    """The mean of some hours."""

    name: ClassVar[str] = "mean"
    title: ClassVar[str] = "the mean of the hours before"
    source: ClassVar[str] = "arithmetic mean"

    def reduced(self, fields: Float[np.ndarray, "time *any"]) -> Float[np.ndarray, "*any"]:
        return np.mean(fields, axis=0)
