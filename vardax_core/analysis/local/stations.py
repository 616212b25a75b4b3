"""A local analysis of what stations at points of the grid see in a window."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractPointwiseStep, Support
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.placement import place
from vardax_core.state.grids import AbstractGrid
from vardax_core.types import Analysis, Observations


class StationInterpolation(AbstractPointwiseStep):
    """A `LocalInterpolation`, or what corrects it, whose records are the stations at every time of
    a window.

    Which of them are near a point is found once, for all cycles; one that is missing in a window
    is left out, and its place stays empty.

    Attributes:
        operator: of the stations.
        inner: placed for every station at every time, row by row.
        error_factor: on the standard deviations of the observations' errors.
    """

    operator: AbstractObservationOperator
    inner: AbstractPointwiseStep
    error_factor: Float[Array, ""]

    @classmethod
    def of(
        cls,
        operator: AbstractObservationOperator,
        unplaced: LocalInterpolation,
        grid: AbstractGrid,
        stations: Int[np.ndarray, " obs"],
        offsets: Int[np.ndarray, " window"],
        error_factor: Float[Array, ""],
    ) -> "StationInterpolation":
        """Place an interpolation.

        Arguments:
            operator: of the stations.
            unplaced: the interpolation, before it has any record.
            grid: of the state.
            stations: flat index of the point of each.
            offsets: minutes of the times of a window from the analysis, which is the last.
            error_factor: on the standard deviations of the observations' errors.
        """
        rows, count = len(offsets), len(stations)
        placement = place(
            grid,
            np.tile(grid.points()[stations], (rows, 1)),
            np.repeat(offsets, count).astype(float),
            np.tile(np.arange(count), rows),
            np.ones(rows * count, bool),
            np.repeat(offsets == 0, count),
            unplaced.search,
        )
        on_device = jax.tree.map(jnp.asarray, placement)
        return cls(operator, unplaced.placed(on_device), error_factor)

    def at(self, point: int) -> "StationInterpolation":
        return StationInterpolation(self.operator, self.inner.at(point), self.error_factor)

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        return self.inner.support(background, self.as_records(observations))

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        return self.inner.analyse(background, self.as_records(observations), key=key)

    def as_records(self, observations: Observations) -> Observations:
        """Every observation of the window as a column, with a value in the row of its time."""
        rows, count = observations.values.shape

        def spread(given: Array) -> Array:
            return jnp.broadcast_to(given.reshape(1, -1), (rows, rows * count))

        own = jnp.repeat(jnp.eye(rows, dtype=bool), count, axis=1)
        factor = self.error_factor.astype(observations.error_sd.dtype)
        return Observations(
            values=spread(observations.values),
            mask=own & spread(observations.mask),
            error_sd=factor * spread(observations.error_sd),
            times=observations.times,
        )
