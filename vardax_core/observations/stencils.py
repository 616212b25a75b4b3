"""The points of the grid behind records of several streams, each with an operator of its own."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from vardax_core.observations.settings import AbstractMeanSettings
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.grids.base import Stencil


@dataclasses.dataclass(frozen=True)
class StreamStencils:
    """Finds the points behind records, as many for each, so that programs need one shape.

    Attributes:
        grid: of the state.
        operators: of every stream, in their order.
    """

    grid: AbstractGrid
    operators: Sequence[AbstractMeanSettings]

    @functools.cached_property
    def corners(self) -> int:
        """Points of a record, those without a weight among them."""
        different = set(self.operators)
        return max((one.corners(self.grid) for one in different), default=0)

    def of(
        self, places: Float[np.ndarray, "obs coordinate"], streams: Int[np.ndarray, " obs"]
    ) -> Stencil:
        """Find the points and weights of records.

        Arguments:
            places: of each, NaN for padding, which has no weight.
            streams: number of each record's stream.

        Raises:
            OutsideDomainError: if a place lies outside the grid, or among masked points.
        """
        indices = np.zeros((len(places), self.corners), np.int32)
        weights = np.zeros(indices.shape)
        there = np.isfinite(places).all(axis=1)
        for number, operator in enumerate(self.operators):
            of = there & (streams == number)
            if of.any():
                found = operator.stencil(self.grid, places[of])
                width = found.indices.shape[1]
                indices[of, :width], weights[of, :width] = found
        return Stencil(indices, weights)
