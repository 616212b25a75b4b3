"""The local interpolation of the records of a window, as an analysis of the cycle."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractPointwiseStep, Support
from vardax_core.analysis.local.cells import Cells
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    LocalRecords,
    LocalTargets,
    degrees_of_freedom_for_signal,
    interpolate,
)
from vardax_core.analysis.local.simulation import conditional_members
from vardax_core.models.climatology import Climatology
from vardax_core.observations.placement import AbstractPlaced, PlacedPoints, Placement, Search
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)

WAVES = 128
"""Of each component of the covariance, of which members are made."""
GROSS = 6.0
"""An innovation of more standard deviations is left out, whatever time it is of."""


class Interpolated(NamedTuple):
    """What a local interpolation is made of.

    Attributes:
        first: what the innovations are about.
        targets: the points of the state.
        records: of the window.
        indices, near: of the records around each target.
    """

    first: Float[Array, "*state"]
    targets: LocalTargets
    records: LocalRecords
    indices: Int[Array, "inside near"]
    near: Bool[Array, "inside near"]


class LocalInterpolation(AbstractPointwiseStep, AbstractPlaced):
    """Optimal interpolation, at every point, of the records nearest to it in space and time.

    All records of the window are interpolated, each with its own time, about the climatology of
    that time; or, where `about_background`, those of the analysis time about the background.
    Members are conditional simulations, with exactly the mean and the spread of the
    interpolation. A point with no record in reach keeps what it is interpolated about, with the
    spread of the covariance. With `cells`, all this is done at the nodes of a lattice, in units of
    the local standard deviation, and interpolated bilinearly between them.

    Attributes:
        operator: of the records of the window.
        climatology: whose mean the innovations are about.
        covariance: of the state's departures from it.
        scale: local standard deviation of these over the covariance's own.
        shared_sd: standard deviation of the error that all records of a platform have in common.
        points: flat index of the points that belong to the state, or of the nodes.
        targets: straight coordinates of these.
        records: straight coordinates of the records.
        minutes: of the records, from the analysis time.
        platforms: of the records.
        nearest: records around each point, -1 for none.
        wanted: the search that finds them.
        about_background: whether innovations are from the background, given from outside.
        cells: the points between nodes; None where every point is a target.

    Source: Bretherton et al. (1976), doi:10.1016/0011-7471(76)90001-2
    """

    operator: PlacedPoints
    climatology: Climatology
    covariance: SpaceTimeCovariance
    scale: Float[Array, "*state"]
    shared_sd: Float[Array, ""]
    points: Int[Array, " inside"]
    targets: Float[Array, "inside straight"]
    records: Float[Array, "obs straight"]
    minutes: Float[Array, " obs"]
    platforms: Int[Array, " obs"]
    nearest: Int[Array, "point near"]
    wanted: Search = eqx.field(static=True)
    about_background: bool = eqx.field(static=True, default=False)
    cells: Cells | None = None

    @property
    def search(self) -> Search:
        return self.wanted

    def placed(self, placement: Placement) -> "LocalInterpolation":
        return eqx.tree_at(
            lambda s: (s.operator, s.records, s.minutes, s.platforms, s.nearest),
            self,
            (
                self.operator.placed(placement),
                placement.straight,
                placement.minutes,
                placement.platforms,
                placement.nearest,
            ),
        )

    def at(self, point: int) -> "LocalInterpolation":
        if self.cells is not None:
            return self
        only = jnp.flatnonzero(self.points == point)
        return eqx.tree_at(
            lambda s: (s.points, s.targets), self, (self.points[only], self.targets[only])
        )

    def innovations(
        self, mean: Float[Array, "*state"], observations: Observations
    ) -> tuple[Float[Array, " obs"], Bool[Array, " obs"]]:
        """Departures of the records from what is expected at their row's time, and which are there.

        Each column has a value in one row at most.
        """
        if self.about_background:
            observations = observations.at_analysis_time()
            expected = self.operator(mean)[None]
        else:
            expected = jax.vmap(lambda time: self.operator(self.climatology.mean_at(time)))(
                observations.times
            )
        departures = jnp.where(observations.mask, observations.values - expected, 0.0)
        return jnp.sum(departures, axis=0), jnp.any(observations.mask, axis=0)

    def interpolated(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Interpolated:
        """What an analysis is made of: the records of the window and the points around which they
        are looked for."""
        dtype = background.dtype
        first = self.climatology.mean_at(observations.times[-1])
        if self.about_background:
            first = ensemble_mean(background)
        departures, used = self.innovations(first, observations)
        scale = self.operator(self.scale)
        error = jnp.max(jnp.where(observations.mask, observations.error_sd, 0.0), axis=0)
        expected = self.covariance.variance() * scale**2 + error**2 + self.shared_sd**2
        used &= jnp.abs(departures) <= GROSS * jnp.sqrt(expected)
        records = LocalRecords.of(
            departures.astype(dtype),
            error.astype(dtype),
            self.records,
            minutes=self.minutes,
            platform=self.platforms,
            shared_sd=jnp.broadcast_to(self.shared_sd, error.shape).astype(dtype),
            scale=scale,
            mask=used,
        )
        if self.cells is None:
            targets = LocalTargets.at(self.targets, scale=self.scale.reshape(-1)[self.points])
            nearest = self.nearest[self.points]
        else:
            targets, nearest = LocalTargets.at(self.targets), self.nearest
        return Interpolated(first, targets, records, jnp.maximum(nearest, 0), nearest >= 0)

    def at_targets(self, field: Float[Array, "*state"]) -> Float[Array, " target"]:
        """Values of a field at the targets."""
        return field.reshape(-1)[self.points]

    def on_grid(
        self, values: Float[Array, " target"], shape: tuple[int, ...]
    ) -> Float[Array, "*state"]:
        """Values of the targets, in the unit that they are interpolated in, on the grid in that of
        the state; 0 where the state has no point."""
        found = self.spread_out(values, shape)
        return found if self.cells is None else found * self.scale.astype(found.dtype)

    def spread_out(
        self, values: Float[Array, " target"], shape: tuple[int, ...]
    ) -> Float[Array, "*state"]:
        """Values of the targets on the grid in their own unit; 0 where the state has no point."""
        if self.cells is not None:
            return self.cells.between(values).reshape(shape)
        nothing = jnp.zeros(math.prod(shape), values.dtype)
        return nothing.at[self.points].set(values).reshape(shape)

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        _, targets, records, indices, near = self.interpolated(background, observations)
        used = (near & records.mask[indices]).astype(background.dtype)
        signal = degrees_of_freedom_for_signal(targets, records, indices, near, self.covariance)
        count, signal = (
            self.spread_out(x, background.shape[1:]).reshape(-1)
            for x in (jnp.sum(used, axis=1), signal.astype(background.dtype))
        )
        return Support(count, count, jnp.ones_like(count), signal)

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        shape, dtype = background.shape[1:], background.dtype
        first, targets, records, indices, near = self.interpolated(background, observations)
        found = interpolate(targets, records, indices, near, self.covariance)
        increments = conditional_members(
            found,
            targets,
            records,
            indices,
            self.covariance,
            background.shape[0],
            count=WAVES,
            key=key,
        )
        increment = self.on_grid(found.increment, shape)
        spread = self.on_grid(jnp.sqrt(found.variance), shape)
        members = jax.vmap(lambda values: self.on_grid(values, shape))(increments)
        if self.cells is not None:
            members = with_moments(members, increment, spread)
        return Analysis(
            ensemble=first[None] + members,
            mean=first + increment,
            spread=spread,
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"interpolated_records": jnp.sum(records.mask.astype(dtype))},
        )


def with_moments(
    members: Float[Array, "member *state"],
    mean: Float[Array, "*state"],
    spread: Float[Array, "*state"],
) -> Float[Array, "member *state"]:
    """Members moved and stretched at every point so that they have a mean and a spread.

    Between nodes an average of members varies less than they do. A single member stays.
    """
    if members.shape[0] == 1:
        return members
    own = ensemble_spread(members)
    factor = jnp.where(own > 0, spread / jnp.where(own > 0, own, 1.0), 1.0)
    return mean[None] + factor[None] * (members - ensemble_mean(members)[None])
