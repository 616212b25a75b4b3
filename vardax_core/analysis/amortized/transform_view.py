"""Where the records are that a local transform sees from the points of any grid."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.ensemble.localization import LocalizationError
from vardax_core.observations.placement import AbstractPlaced, Placement, Search
from vardax_core.state.grids import AbstractGrid


class TransformView(AbstractPlaced):
    """The records in reach of every point of a grid.

    Attributes:
        indices: of the records around each point, arbitrary where there is none.
        distances: of these, in the grid's unit; infinite where there is none.
        at: coordinates of the points in the embedding of the grid, see `AbstractGrid.embedded`.
        straight: of the records, the same.
        channels: that each record is of, the first axis of the state.
        reach: distance from which on no record is seen.
    """

    indices: Int[Array, "point local"]
    distances: Float[Array, "point local"]
    at: Float[Array, "point straight"]
    straight: Float[Array, "obs straight"]
    channels: Int[Array, " obs"]
    reach: float = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        grid: AbstractGrid,
        stations: Int[np.ndarray, " obs"],
        reach: float,
        most: int,
        dtype: str = "float32",
    ) -> "TransformView":
        """Look at records that are at points of the grid and stay there.

        Arguments:
            grid: of each channel of a state.
            stations: flat index in a state of each record.
            reach: in the grid's unit.
            most: so many of the nearest records at a point.

        Raises:
            LocalizationError: if there is no record, or no reach.
        """
        if not len(stations) or not reach > 0:
            raise LocalizationError(
                f"TransformView: expected records and a positive reach, got {len(stations)} and "
                f"{reach}; observe something, or analyse with BackgroundOnly."
            )
        places = grid.points()[stations % grid.size]
        near = grid.neighbours(places, reach, most=most)
        return cls(
            jnp.asarray(near.indices, jnp.int32),
            jnp.asarray(near.distances, dtype),
            jnp.asarray(grid.embedded(grid.points()), dtype),
            jnp.asarray(grid.embedded(places), dtype),
            jnp.asarray(stations // grid.size, jnp.int32),
            reach,
        )

    @classmethod
    def nowhere(
        cls, grid: AbstractGrid, reach: float, most: int, dtype: str = "float32"
    ) -> "TransformView":
        """The view of records that bring their places, before there are any."""
        at = grid.embedded(grid.points())
        return cls(
            jnp.zeros((grid.size, most), jnp.int32),
            jnp.full((grid.size, most), jnp.inf, dtype),
            jnp.asarray(at, dtype),
            jnp.zeros((0, at.shape[1]), dtype),
            jnp.zeros((0,), jnp.int32),
            reach,
        )

    @property
    def search(self) -> Search | None:
        return Search(self.reach, self.indices.shape[1])

    def placed(self, placement: Placement) -> "TransformView":
        near = placement.nearest >= 0
        return TransformView(
            jnp.where(near, placement.nearest, 0),
            jnp.where(near, placement.distances, jnp.inf),
            self.at,
            jnp.asarray(placement.straight),
            jnp.asarray(placement.points)[:, 0] // self.at.shape[0],
            self.reach,
        )
