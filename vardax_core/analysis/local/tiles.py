"""The local interpolation of a large grid, a tile at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import cKDTree

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.analysis.local.tiling import Workers, over_tiles
from vardax_core.analysis.local.view import CHUNK, chunks, padded, room, rounded_up
from vardax_core.observations.placement import Search
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.lattice import blocks_of
from vardax_core.state.neighbours import space_time_neighbours


@dataclass(frozen=True)
class InterpolationJob:
    """All that the interpolation of one tile needs.

    Attributes:
        targets: straight coordinates of the tile's points.
        scale: of the state there, see `LocalTargets`.
        records: in reach of them, as numpy arrays.
        covariance: of the state's departures from the background.
        search: for the records of each point, with a pace.
    """

    targets: Float[np.ndarray, "target straight"]
    scale: Float[np.ndarray, " target"]
    records: LocalRecords
    covariance: SpaceTimeCovariance
    search: Search


def interpolated_tile(
    job: InterpolationJob,
) -> tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]]:
    """Give the increment and the variance of every point of a tile; see `interpolate`."""
    records, search = job.records, job.search
    dtype, count = job.scale.dtype, len(job.targets)
    variance = float(job.covariance.variance()) * job.scale**2
    increment = np.zeros(count, dtype)
    if not records.mask.any():
        return increment, variance
    size = room(len(records.mask))
    on_device = jax.tree.map(lambda x: jnp.asarray(padded(x, size)), records)
    on_device = eqx.tree_at(lambda r: r.error_sd, on_device, jnp.maximum(on_device.error_sd, 1e-30))
    # Each chunk has a search tree of its own, over all records of the tile.
    width = min(rounded_up(count, CHUNK), 8 * CHUNK)
    for chunk in chunks(job.targets, _side(job), width):
        indices, near = space_time_neighbours(
            job.targets[chunk],
            np.zeros(len(chunk)),
            np.asarray(records.straight, np.float64),
            np.asarray(records.minutes, np.float64),
            speed=search.pace or 0.0,
            most=search.most,
            radius=search.radius,
            usable=np.asarray(records.mask),
            thinned=search.thinned,
        )
        increment[chunk], variance[chunk] = _chunk(
            jnp.asarray(job.targets[chunk], dtype),
            jnp.asarray(job.scale[chunk]),
            on_device,
            jnp.asarray(indices),
            jnp.asarray(near),
            job.covariance,
        )
    return increment, variance


def tiled_interpolation(
    grid: AbstractGrid,
    records: LocalRecords,
    covariance: SpaceTimeCovariance,
    search: Search,
    *,
    parts: tuple[int, ...],
    scale: Float[np.ndarray, "*grid"] | None = None,
    workers: Workers | None = None,
    dtype: str = "float32",
) -> tuple[Float[np.ndarray, "*grid"], Float[np.ndarray, "*grid"]]:
    """Interpolate innovations at the analysis time on a grid that is cut into tiles.

    Arguments:
        grid: of the state; its mask says where the state has points.
        records: the innovations, in the grid's embedding.
        covariance: of the state's departures from the background.
        search: for the records of each point, with a pace.
        parts: into how many tiles each direction of the grid is cut.
        scale: local standard deviation of the state over the covariance's own; by default one.
        workers: who share the tiles; None for this process alone.
        dtype: of the results.

    Returns:
        The increments, zero at masked points, and the variance of the state given the records,
        there not a number.
    """
    records = jax.tree.map(np.asarray, records)
    reach = search.radius + max(search.thinned, default=0.0) * records.straight.shape[1] ** 0.5
    straight = grid.embedded(grid.points())
    scales = (np.ones(grid.size) if scale is None else scale.reshape(-1)).astype(dtype)
    blocks = blocks_of(grid, None, parts)

    def jobs() -> Iterator[InterpolationJob]:
        for block in blocks:
            targets = straight[block.inside]
            apart, _ = cKDTree(targets).query(records.straight, distance_upper_bound=reach)
            near = np.flatnonzero(np.isfinite(apart))
            own = jax.tree.map(lambda x, near=near: x[near], records)
            yield InterpolationJob(targets, scales[block.inside], own, covariance, search)

    increment = np.zeros(grid.size, dtype)
    variance = np.full(grid.size, np.nan, dtype)
    for block, found in zip(blocks, over_tiles(interpolated_tile, jobs(), workers), strict=True):
        increment[block.inside], variance[block.inside] = found
    return increment.reshape(grid.shape), variance.reshape(grid.shape)


def _side(job: InterpolationJob) -> float:
    """Of boxes by which points are ordered: with about as many points as a chunk has."""
    extent = np.ptp(job.targets, axis=0).max(initial=0.0)
    return max(extent * min(1.0, (CHUNK / len(job.targets)) ** 0.5), 1e-9)


@eqx.filter_jit
def _chunk(
    places: Float[Array, "target straight"],
    scale: Float[Array, " target"],
    records: LocalRecords,
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
) -> tuple[Float[Array, " target"], Float[Array, " target"]]:
    targets = LocalTargets.at(places, scale=scale)
    found = interpolate(targets, records, indices, near, covariance)
    return found.increment, found.variance
