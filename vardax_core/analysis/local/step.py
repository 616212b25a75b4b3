"""Local interpolation of a window of observations as an analysis step."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    BLOCK,
    LocalRecords,
    LocalTargets,
    contributions,
    interpolate,
)
from vardax_core.analysis.local.simulation import conditional_members, in_reach
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.neighbours import space_time_neighbours
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    WindowShapeError,
    ensemble_mean,
)


class LocalInterpolation(AbstractAnalysisStep):
    """Optimal interpolation of every grid point from the nearest observations of a window.

    The background is the mean of the ensemble at the analysis time, for every row of the window;
    its covariance is a function of distance and time, whatever the members' spread. Members are
    conditional simulations about the analysis. A point with no observation in reach keeps the
    background bit for bit and has the spread of the covariance.

    Diagnostics: `mean_weight_sum`, the mean over points in reach of the sum of their weights, and
    `points_in_reach`.

    Attributes:
        operator: observation operator H.
        covariance: of the background's error.
        targets: the grid points, at the analysis time.
        places: of each observation, in the embedding of the targets.
        platform: of each observation.
        shared_sd: standard deviation of the error that a platform's observations have in common.
        scale: local standard deviation at each observation over the covariance's own.
        indices, near: neighbours of each point among the rows of the window, one after the other.
        interval: minutes between two rows, for which the neighbours were found.
        block: points that are solved for at once.

    Raises:
        ValueError: if the targets are not the points of one field of the operator's states, or
            the places not its observations.
        WindowShapeError: if a window has other rows than the neighbours were found for.

    Source: Bretherton et al. (1976), doi:10.1016/0011-7471(76)90001-2
    """

    operator: AbstractObservationOperator
    covariance: SpaceTimeCovariance
    targets: LocalTargets
    places: Float[Array, "obs straight"]
    platform: Int[Array, " obs"]
    shared_sd: Float[Array, " obs"]
    scale: Float[Array, " obs"]
    indices: Int[Array, "target near"]
    near: Bool[Array, "target near"]
    rows: int = eqx.field(static=True)
    interval: int = eqx.field(static=True)
    block: int = eqx.field(static=True, default=BLOCK)

    @classmethod
    def on_grid(
        cls,
        operator: AbstractObservationOperator,
        covariance: SpaceTimeCovariance,
        grid: AbstractGrid,
        places: Float[np.ndarray, "obs coordinate"],
        *,
        speed: float,
        most: int,
        radius: float = np.inf,
        rows: int = 1,
        interval: int = 0,
        platform: Int[np.ndarray, " obs"] | None = None,
        shared_sd: float = 0.0,
        scale: Float[np.ndarray, "*state"] | None = None,
        dtype: jnp.dtype | None = None,
    ) -> "LocalInterpolation":
        """Find the neighbours of every point of a grid in windows of `rows` rows.

        Arguments:
            operator, covariance: see the attributes.
            grid: of the state.
            places: of each observation, in the order of the grid's axes.
            speed, most, radius: see `space_time_neighbours`.
            rows: of a window.
            interval: minutes between two rows.
            platform: of each observation; each is one of its own by default.
            shared_sd: of the error that a platform's observations have in common.
            scale: local standard deviation at every point over the covariance's own, taken to the
                observations by linear interpolation; one everywhere by default.
            dtype: of the arrays; that of the covariance by default.

        Raises:
            NeighbourError: if speed, most or radius cannot be.
            OutsideDomainError: if there is a scale and a place outside of the grid.
        """
        dtype = covariance.variances.dtype if dtype is None else dtype
        points, own = grid.embedded(grid.points()), grid.embedded(np.asarray(places, np.float64))
        count = len(own)
        centre = points.mean(axis=0)
        points, own = points - centre, own - centre
        minutes = np.repeat(np.arange(1.0 - rows, 1.0) * interval, count)
        found = space_time_neighbours(
            points,
            np.zeros(len(points)),
            np.tile(own, (rows, 1)),
            minutes,
            speed=speed,
            most=most,
            radius=radius,
        )
        number = np.arange(count) if platform is None else platform
        there, here = np.ones(len(points)), np.ones(count)
        if scale is not None:
            there = np.asarray(scale, np.float64).reshape(-1)
            stencil = grid.stencil(np.asarray(places, np.float64))
            here = np.sum(stencil.weights * there[stencil.indices], axis=1)
        return cls(
            operator=operator,
            covariance=covariance,
            targets=LocalTargets.at(jnp.asarray(points, dtype), scale=jnp.asarray(there, dtype)),
            places=jnp.asarray(own, dtype),
            platform=jnp.asarray(number, jnp.int32),
            shared_sd=jnp.full(count, shared_sd, dtype),
            scale=jnp.asarray(here, dtype),
            indices=jnp.asarray(found.indices),
            near=jnp.asarray(found.near),
            rows=rows,
            interval=interval,
        )

    def __check_init__(self):
        shape, points = self.operator.state_shape, self.targets.straight.shape[0]
        if math.prod(shape) != points:
            raise ValueError(
                f"LocalInterpolation: the operator acts on states {shape}, but there are {points} "
                "targets; build the step for the grid of a state of one channel."
            )
        if self.places.shape[0] != self.operator.obs_size:
            raise ValueError(
                f"LocalInterpolation: the operator gives {self.operator.obs_size} observations, "
                f"but there are places of {self.places.shape[0]}; give the place of each."
            )

    def records(
        self, background: Float[Array, "*state"], observations: Observations
    ) -> LocalRecords:
        """The innovations of a window about one background, row by row."""
        rows, count = observations.values.shape
        dtype = self.places.dtype
        expected = self.operator(background)
        minutes = (observations.times - observations.times[-1]).astype(dtype)
        return LocalRecords.of(
            (observations.values - expected[None]).astype(dtype).reshape(-1),
            observations.error_sd.astype(dtype).reshape(-1),
            jnp.tile(self.places, (rows, 1)),
            minutes=jnp.repeat(minutes, count),
            platform=jnp.tile(self.platform, rows),
            shared_sd=jnp.tile(self.shared_sd, rows),
            scale=jnp.tile(self.scale, rows),
            mask=observations.mask.reshape(-1),
        )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        if observations.values.shape[0] != self.rows:
            raise WindowShapeError(
                f"LocalInterpolation: the window has {observations.values.shape[0]} rows, but its "
                f"neighbours were found for {self.rows}; build the step for windows of that length."
            )
        mean, shape = ensemble_mean(background), self.operator.state_shape
        records = self.records(mean, observations)
        found = interpolate(
            self.targets, records, self.indices, self.near, self.covariance, block=self.block
        )
        increments = conditional_members(
            found,
            self.targets,
            records,
            self.indices,
            self.covariance,
            background.shape[0],
            key=key,
        )
        reached = in_reach(records, self.indices, self.near)
        ones = jnp.ones_like(records.innovations)
        sums = jnp.sum(contributions(found.weights, self.indices, ones), axis=1)
        count = jnp.sum(reached, dtype=jnp.int32)
        dtype = background.dtype
        return Analysis(
            ensemble=mean[None] + increments.astype(dtype).reshape(-1, *shape),
            mean=mean + found.increment.astype(dtype).reshape(shape),
            spread=jnp.sqrt(found.variance).astype(dtype).reshape(shape),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={
                "mean_weight_sum": jnp.sum(sums) / jnp.maximum(count, 1).astype(sums.dtype),
                "points_in_reach": count,
            },
        )
