"""The sections of a recipe that say where its stations stand, each at points of the grid."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int
from pydantic import Field

from vardax_core.data.scalars import Integer, Seed
from vardax_core.data.section import Section
from vardax_core.words import counted


class Draw(NamedTuple):
    """A random choice of stations.

    Attributes:
        stations: number of them.
        seed: of the choice.
    """

    stations: int
    seed: int


class AbstractObservingNetwork(Section):
    """Stations at points of a grid, fixed in time."""

    @property
    @abstractmethod
    def draw(self) -> Draw | None:
        """Give the random choice of the stations; None where nothing is drawn."""

    @abstractmethod
    def places(self, shape: tuple[int, ...]) -> Int[np.ndarray, " station"]:
        """Give the flat (row-major) grid index of every station, ascending, without repetition.

        Arguments:
            shape: of the grid.

        Raises:
            ValueError: if they do not fit on that grid; says what to change.
        """

    @abstractmethod
    def usual_count(self, points: int, dimensions: int) -> int:
        """Estimate the number of stations on a grid of so many points and dimensions."""


class EveryPoint(AbstractObservingNetwork):
    """A station at every point of the grid."""

    kind: Literal["every_point"]

    @property
    def draw(self) -> None:
        return None

    def places(self, shape: tuple[int, ...]) -> Int[np.ndarray, " station"]:
        return np.arange(math.prod(shape), dtype=np.int32)

    def usual_count(self, points: int, dimensions: int) -> int:
        return points


class Regular(AbstractObservingNetwork):
    """A station at every so many points along each dimension of the grid.

    On a ring whose size is no multiple of `every`, the last gap is shorter than the others.
    """

    kind: Literal["regular"]
    every: Integer = Field(ge=1, description="grid points from one station to the next")
    start: Integer = Field(
        default=0, ge=0, description="number of the first station's point along each dimension"
    )

    @property
    def draw(self) -> None:
        return None

    def _faults(self) -> Iterator[str]:
        if self.start >= self.every:
            yield (
                f"start {self.start} must be below every {self.every}, so that no station is left "
                "out at the beginning; lower start"
            )

    def places(self, shape: tuple[int, ...]) -> Int[np.ndarray, " station"]:
        if self.every > min(shape):
            raise ValueError(
                f"a station at every {self.every} points does not fit on the grid {shape}, whose "
                f"shortest dimension has {counted(min(shape), 'point')}; lower network.every."
            )
        axes = [np.arange(self.start, size, self.every) for size in shape]
        index = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), shape)
        return index.ravel().astype(np.int32)

    def usual_count(self, points: int, dimensions: int) -> int:
        return max(1, round(points / self.every**dimensions))


class RandomPoints(AbstractObservingNetwork):
    """Stations at grid points drawn without replacement and fixed in time."""

    kind: Literal["random_points"]
    count: Integer = Field(ge=1, description="number of stations")
    seed: Seed = Field(description="of the draw of the stations")

    @property
    def draw(self) -> Draw:
        return Draw(self.count, self.seed)

    def places(self, shape: tuple[int, ...]) -> Int[np.ndarray, " station"]:
        size = math.prod(shape)
        if self.count > size:
            raise ValueError(
                f"{self.count} stations do not fit on the {size} points of the grid {shape}; "
                "lower network.count."
            )
        drawn = np.random.default_rng(self.seed).choice(size, self.count, replace=False)
        return np.sort(drawn).astype(np.int32)

    def usual_count(self, points: int, dimensions: int) -> int:
        return self.count


class Reported(AbstractObservingNetwork):
    """Wherever real observations come from; another place each time."""

    kind: Literal["reported"] = "reported"

    @property
    def draw(self) -> None:
        return None

    def places(self, shape: tuple[int, ...]) -> Int[np.ndarray, " station"]:
        raise ValueError("real observations are not at points that a recipe says.")

    def usual_count(self, points: int, dimensions: int) -> int:
        return points
