"""The LETKF of a large grid, a tile at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vardax_core.analysis.ensemble.letkf import usual_batch
from vardax_core.analysis.ensemble.localization import gaspari_cohn
from vardax_core.analysis.ensemble.points import (
    NO_INFLATION,
    Inflation,
    LocalRows,
    moved,
    moved_between,
    transforms_at,
)
from vardax_core.analysis.local.tiling import Workers, over_tiles
from vardax_core.analysis.local.view import CHUNK, LocalView, chunks, padded, room
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.lattice import Block, Lattice, bands_of, blocks_of, lattice_of

CELLS = 12288
"""Of a tile, for whose corners transforms are kept at once."""


@dataclass(frozen=True)
class LocalInnovations:
    """The innovations of one analysis time, and where they are.

    Attributes:
        places: coordinates on the grid, finite.
        anomalies: whitened anomalies of the members' equivalents.
        innovations: whitened innovations of the mean.
        half_width: of the taper of each record, in the grid's unit of distance, so that it may
            depend on kind and level.
        channels: channel of each, from 0; None where they count alike for all.
    """

    places: Float[np.ndarray, "obs coordinate"]
    anomalies: Float[np.ndarray, "obs member"]
    innovations: Float[np.ndarray, " obs"]
    half_width: Float[np.ndarray, " obs"]
    channels: Int[np.ndarray, " obs"] | None = None

    def taken(self, chosen: Int[np.ndarray, " chosen"]) -> "LocalInnovations":
        """Give some of them."""
        return LocalInnovations(
            self.places[chosen],
            self.anomalies[chosen],
            self.innovations[chosen],
            self.half_width[chosen],
            None if self.channels is None else self.channels[chosen],
        )


@dataclass(frozen=True)
class TileScheme:
    """How a tile is analysed.

    Attributes:
        spacing: of the nodes at which transforms are made, in points; 1 for every point.
        most: records that a point is analysed from at most; None for all in reach.
        inflation: of the background and of the analysis.
        across: factor on R^-1 of a record for channels that are not its own.
    """

    spacing: int = 1
    most: int | None = None
    inflation: Inflation = NO_INFLATION
    across: float = 1.0


@dataclass(frozen=True)
class TileJob:
    """All that the analysis of one tile needs.

    Attributes:
        grid: without its mask.
        block: points and nodes of the tile.
        places: coordinates of the nodes.
        records: those within reach of its nodes.
        background: members at the tile's points.
        scheme: how it is analysed.
    """

    grid: AbstractGrid
    block: Block
    places: Float[np.ndarray, "node coordinate"]
    records: LocalInnovations
    background: Float[np.ndarray, "member channel point"]
    scheme: TileScheme


@dataclass(frozen=True)
class TileAnalysis:
    """One tile's share of an analysis.

    Attributes:
        ensemble: members at the tile's points.
        signal: sum of the degrees of freedom for signal of its nodes.
        nodes: number of these.
        resolved: whether the precision resolved every update to about 1 %.
    """

    ensemble: Float[np.ndarray, "member channel point"]
    signal: float
    nodes: int
    resolved: bool


def analysed_tile(job: TileJob) -> TileAnalysis:
    """Analyse one tile; the same numbers come out however the grid was cut."""
    background, lattice, scheme = job.background, job.block.lattice, job.scheme
    if not job.records.places.size:
        ensemble = _inflated(background, scheme.inflation.after)
        return TileAnalysis(ensemble, 0.0, lattice.nodes.size, True)
    ensemble = np.empty_like(background)
    seen = _Seen.of(job)
    if scheme.spacing == 1:
        known = [_at_points(seen, job, lattice.nodes, ensemble)]
    else:
        bands = bands_of(lattice, CELLS)
        known = [_between_nodes(seen, job, band, ensemble) for band in bands]
    signals, fine = (np.concatenate(x) for x in zip(*known, strict=True))
    return TileAnalysis(ensemble, float(signals.sum()), signals.size, bool(fine.all()))


def _at_points(
    seen: "_Seen", job: TileJob, points: Int[np.ndarray, " point"], ensemble: np.ndarray
) -> tuple[Float[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
    """Analyse points, each by its own transform, and fill in their members."""
    signals, resolved = np.zeros(points.size), np.ones(points.size, bool)
    for chunk in seen.chunks(points):
        where = np.searchsorted(job.block.inside, points[chunk])
        own = job.background[:, :, where].transpose(2, 1, 0)
        indices, ratios = seen.around(points[chunk])
        turned, signal, fine = _points(seen.rows, indices, ratios, jnp.asarray(own), seen.inflation)
        ensemble[:, :, where] = np.asarray(turned).transpose(2, 1, 0)
        signals[chunk], resolved[chunk] = np.mean(signal, axis=1), np.all(fine, axis=1)
    return signals, resolved


def _between_nodes(
    seen: "_Seen", job: TileJob, band: Lattice, ensemble: np.ndarray
) -> tuple[Float[np.ndarray, " node"], Bool[np.ndarray, " node"]]:
    """Analyse the points of cells by the transforms of the nodes, and fill in their members."""
    nodes, channels = band.nodes, job.background.shape[1]
    signals, resolved = np.zeros(nodes.size), np.ones(nodes.size, bool)
    found: list[Array] = []
    position = np.zeros(nodes.size, np.int32)
    for chunk in seen.chunks(nodes):
        indices, ratios = seen.around(nodes[chunk])
        matrix, signal, fine = _nodes(seen.rows, indices, ratios, channels, seen.inflation)
        position[chunk] = len(found) * CHUNK + np.arange(CHUNK)
        found.append(matrix)
        signals[chunk], resolved[chunk] = np.mean(signal, axis=1), np.all(fine, axis=1)
    matrices = jnp.concatenate(found)
    cells, inside = band.corners.shape[0], job.block.inside
    for begin in range(0, cells, CHUNK):
        chosen = np.minimum(np.arange(begin, begin + CHUNK), cells - 1)
        points = band.points[chosen]
        there = points < band.size
        where = np.searchsorted(inside, np.where(there, points, inside[0]))
        turned = _cells(
            jnp.asarray(job.background[:, :, where].transpose(2, 3, 1, 0)),
            matrices,
            jnp.asarray(position[band.corners[chosen]]),
            jnp.asarray(band.weights[chosen], ensemble.dtype),
        )
        ensemble[:, :, where[there]] = np.asarray(turned)[there].transpose(2, 1, 0)
    return signals, resolved


def tiled_letkf(
    grid: AbstractGrid,
    background: Float[np.ndarray, "member channel *grid"],
    records: LocalInnovations,
    scheme: TileScheme,
    *,
    parts: tuple[int, ...],
    workers: Workers | None = None,
) -> tuple[Float[np.ndarray, "member channel *grid"], dict[str, float]]:
    """Analyse an ensemble on a grid that is cut into tiles.

    Points that are masked keep the background. Memory beside the ensembles is that of a few tiles
    and of the records.

    Arguments:
        grid: of the state; its mask says where the state has points.
        background: members.
        records: all innovations.
        scheme: how a tile is analysed.
        parts: into how many tiles each direction of the grid is cut.
        workers: who share the tiles; None for this process alone.

    Returns:
        The analysis members, and diagnostics: mean local degrees of freedom for signal, and
        whether the precision resolved all updates.
    """
    lattice = None if scheme.spacing == 1 else lattice_of(grid, scheme.spacing)
    bare = grid.unmasked()
    members, channels = background.shape[:2]
    flat = background.reshape(members, channels, -1)
    blocks = blocks_of(grid, lattice, parts)
    tree = bare.tree(records.places) if len(records.places) else None
    reach = 2 * float(np.max(records.half_width, initial=0.0))
    points = bare.points()

    def jobs() -> Iterator[TileJob]:
        for block in blocks:
            places = points[block.lattice.nodes]
            near = np.zeros(0, int) if tree is None else tree.within(places, reach)
            own = flat[:, :, block.inside]
            yield TileJob(bare, block, places, records.taken(near), own, scheme)

    ensemble = flat.copy()
    signal, nodes, resolved = 0.0, 0, True
    for block, found in zip(blocks, over_tiles(analysed_tile, jobs(), workers), strict=True):
        ensemble[:, :, block.inside] = found.ensemble
        signal, nodes = signal + found.signal, nodes + found.nodes
        resolved &= found.resolved
    diagnostics = {
        "mean_local_degrees_of_freedom_for_signal": signal / max(nodes, 1),
        "resolved": float(resolved),
    }
    return ensemble.reshape(background.shape), diagnostics


@dataclass(frozen=True)
class _Seen:
    """A tile's nodes and, on the device, the records that they see."""

    nodes: Int[np.ndarray, " node"]
    places: Float[np.ndarray, "node coordinate"]
    view: LocalView
    rows: LocalRows
    half_width: Float[np.ndarray, " obs"]
    inflation: Inflation

    @classmethod
    def of(cls, job: TileJob) -> "_Seen":
        records, scheme = job.records, job.scheme
        reach = 2 * float(records.half_width.max())
        view = LocalView.of(job.grid, records.places, reach, scheme.most)
        count, dtype = room(len(records.places)), job.background.dtype
        apart = records.channels if scheme.across < 1 else None
        rows = LocalRows(
            jnp.asarray(padded(records.anomalies.astype(dtype), count)),
            jnp.asarray(padded(records.innovations.astype(dtype), count)),
            None if apart is None else jnp.asarray(padded(apart, count)),
            scheme.across,
        )
        nodes = job.block.lattice.nodes
        return cls(nodes, job.places, view, rows, records.half_width, scheme.inflation)

    def chunks(self, nodes: Int[np.ndarray, " point"]) -> Iterator[Int[np.ndarray, " chunk"]]:
        """Give the numbers of some nodes, a chunk of near ones at a time."""
        where = self.view.tree.grid.embedded(self.places[self._numbers(nodes)])
        return chunks(where, self.view.reach)

    def around(
        self, nodes: Int[np.ndarray, " point"]
    ) -> tuple[Int[Array, "point local"], Float[Array, "point local"]]:
        """Find the records around nodes, and how many half-widths away they are."""
        indices, distances = self.view.around(self.places[self._numbers(nodes)])
        ratios = np.where(np.isfinite(distances), distances / self.half_width[indices], 2.0)
        return jnp.asarray(indices), jnp.asarray(ratios, self.rows.anomalies.dtype)

    def _numbers(self, nodes: Int[np.ndarray, " point"]) -> Int[np.ndarray, " point"]:
        return np.searchsorted(self.nodes, nodes)


@eqx.filter_jit
def _points(
    rows: LocalRows,
    indices: Int[Array, "point local"],
    ratios: Float[Array, "point local"],
    own: Float[Array, "point channel member"],
    inflation: Inflation,
) -> tuple[Array, Array, Array]:
    def batch(given):
        *local, own = given
        matrix, *known = _transforms(rows, local, own.shape[1], inflation)
        return moved(own, matrix), *known

    return _batched(batch, (indices, ratios, own))


@eqx.filter_jit
def _nodes(
    rows: LocalRows,
    indices: Int[Array, "point local"],
    ratios: Float[Array, "point local"],
    channels: int,
    inflation: Inflation,
) -> tuple[Array, Array, Array]:
    return _batched(lambda local: _transforms(rows, local, channels, inflation), (indices, ratios))


def _transforms(rows, local, channels, inflation):
    indices, ratios = local
    matrix, found = transforms_at(rows, indices, gaspari_cohn(ratios, 1.0), channels, inflation)
    groups = matrix.shape[:2]
    return matrix, found.signal.reshape(groups), found.resolved.reshape(groups)


@eqx.filter_jit
def _cells(
    own: Float[Array, "cell inside channel member"],
    matrices: Float[Array, "node group member member"],
    corners: Int[Array, "cell corner"],
    weights: Float[Array, "cell corner inside"],
) -> Float[Array, "cell inside channel member"]:
    def batch(given):
        own, corners, weights = given
        return (moved_between(own, matrices[corners], weights),)

    return _batched(batch, (own, corners, weights))[0]


def _batched(function, rows):
    """Apply a function to batches of a chunk, which they divide."""
    size = min(usual_batch(), CHUNK)
    split = tuple(jnp.asarray(x).reshape(-1, size, *x.shape[1:]) for x in rows)
    found = jax.lax.map(function, split)
    return tuple(x.reshape(-1, *x.shape[2:]) for x in found)


def _inflated(
    background: Float[np.ndarray, "member channel point"], factor: float
) -> Float[np.ndarray, "member channel point"]:
    if factor == 1:
        return background.copy()
    mean = background.mean(axis=0, keepdims=True)
    return mean + factor * (background - mean)
