"""Every so many points of a grid, and the cells between them."""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vardax_core.state.grids import AbstractGrid, GridError


class Lattice(NamedTuple):
    """Nodes on a grid, and the points of the cells between them as weighted means of their corners.

    A masked point may be a node: what is known of a place by the observations around it does not
    depend on whether the state has a point there. So no point on a coast lacks a corner. Cells
    without an unmasked point, and nodes of no other cell, are left out.

    Attributes:
        nodes: flat (row-major) index on the grid of every node.
        corners: of each cell, as numbers of nodes.
        points: flat index on the grid of the points in each cell, each in one; the grid's size
            where there is none, and at masked ones.
        weights: of the corners of each cell at its points, bilinear; they sum to one.
        size: number of points of the grid.
    """

    nodes: Int[np.ndarray, " node"]
    corners: Int[np.ndarray, "cell corner"]
    points: Int[np.ndarray, "cell inside"]
    weights: Float[np.ndarray, "cell corner inside"]
    size: int


class Block(NamedTuple):
    """The part of a lattice that one tile has, with numbers of its own.

    Attributes:
        lattice: nodes and points counted on the grid, corners among these nodes.
        inside: flat index of the tile's unmasked points, ascending.
    """

    lattice: Lattice
    inside: Int[np.ndarray, " point"]


def _line(length: int, wraps: bool, spacing: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of one axis; the two of each interval, by number; and where an interval is long."""
    nodes = np.arange(0, length, spacing)
    if not wraps and nodes[-1] != length - 1:
        nodes = np.append(nodes, length - 1)
    after = np.arange(1, len(nodes) + 1)
    ends = np.append(nodes[1:], length) - nodes
    after[-1] = 0 if wraps else len(nodes) - 1
    return nodes, np.stack([np.arange(len(nodes)), after], axis=1), ends


def lattice_of(grid: AbstractGrid, spacing: int) -> Lattice:
    """Take every `spacing`-th point in each direction, and the last where the grid ends.

    Raises:
        GridError: if the spacing is less than 2 points.
    """
    if spacing < 2:
        raise GridError(f"lattice: expected a spacing of 2 points or more, got {spacing}.")
    lines = [_line(n, w, spacing) for n, w in zip(grid.shape, grid.wraps, strict=True)]
    shape = [len(nodes) for nodes, _, _ in lines]
    steps = np.arange(spacing)
    flat = np.zeros((1, 1), np.int64)
    corners, weights = np.zeros((1, 1), np.int64), np.ones((1, 1, 1))
    there = np.ones((1, 1), bool)
    for (nodes, pairs, ends), length, count in zip(lines, grid.shape, shape, strict=True):
        inside = steps[None] < ends[:, None]
        share = np.where(inside, steps / ends[:, None], 0.0)
        both = np.stack([1 - share, share], axis=1)
        flat = _outer(flat * length, nodes[:, None] + np.where(inside, steps, 0), np.add)
        corners = _outer(corners * count, pairs, np.add)
        there = _outer(there, inside, np.logical_and)
        weights = weights[:, None, :, None, :, None] * both[None, :, None, :, None, :]
        weights = weights.reshape(corners.shape[0], corners.shape[1], -1)
    if grid.mask is not None:
        there &= np.asarray(grid.mask).reshape(-1)[flat]
    grid_nodes = np.zeros((), np.int64)
    for (nodes, _, _), length in zip(lines, grid.shape, strict=True):
        grid_nodes = grid_nodes[..., None] * length + nodes
    whole = Lattice(
        nodes=grid_nodes.reshape(-1),
        corners=corners,
        points=np.where(there, flat, grid.size),
        weights=weights,
        size=grid.size,
    )
    return _kept(whole, np.any(there, axis=1))


def _outer(first: np.ndarray, second: np.ndarray, join: np.ufunc) -> np.ndarray:
    """Join every row with every row and, within, every column with every column."""
    rows = join(first[:, None, :, None], second[None, :, None, :])
    return rows.reshape(len(first) * len(second), -1)


def _kept(lattice: Lattice, cells: np.ndarray) -> Lattice:
    """Give the lattice of some cells, with the nodes at their corners that bear weight."""
    corners, weights, points = (
        x[cells] for x in (lattice.corners, lattice.weights, lattice.points)
    )
    bears = np.any((weights > 0) & (points < lattice.size)[:, None], axis=2)
    # A corner without weight is any node that the cell has, so that it costs none.
    spare = np.take_along_axis(corners, np.argmax(bears, axis=1)[:, None], axis=1)
    used, numbers = np.unique(np.where(bears, corners, spare), return_inverse=True)
    return Lattice(
        lattice.nodes[used], numbers.reshape(corners.shape), points, weights, lattice.size
    )


def blocks_of(grid: AbstractGrid, lattice: Lattice | None, parts: tuple[int, ...]) -> list[Block]:
    """Cut a grid into boxes.

    A cell belongs to the box that its first node is in. Boxes without an unmasked point are left
    out.

    Arguments:
        lattice: of the grid; None for a node at every unmasked point.
        parts: into how many boxes each direction is cut.

    Raises:
        GridError: if there is not one number of at least 1 for each direction.
    """
    if len(parts) != len(grid.shape) or min(parts) < 1:
        raise GridError(
            f"blocks: expected a number of parts for each of {len(grid.shape)} directions, got "
            f"{parts}."
        )
    if lattice is None:
        inside = np.flatnonzero(np.ones(grid.size, bool) if grid.mask is None else grid.mask)
        order = inside[:, None]
        lattice = Lattice(
            inside, np.arange(inside.size)[:, None], order, np.ones((inside.size, 1, 1)), grid.size
        )
    first = np.unravel_index(lattice.nodes[lattice.corners[:, 0]], grid.shape)
    return [
        Block(part, np.sort(part.points[part.points < part.size]))
        for chosen in _boxes(first, grid.shape, parts)
        if (part := _kept(lattice, chosen)).corners.size
    ]


def bands_of(lattice: Lattice, most: int) -> list[Lattice]:
    """Cut a lattice into parts of so many cells, in their order; neighbours share nodes."""
    cells = np.arange(lattice.corners.shape[0])
    return [_kept(lattice, cells[begin : begin + most]) for begin in range(0, cells.size, most)]


def _boxes(first: tuple[np.ndarray, ...], shape: tuple[int, ...], parts: tuple[int, ...]):
    numbers = [i * part // n for i, n, part in zip(first, shape, parts, strict=True)]
    for box in itertools.product(*map(range, parts)):
        yield np.flatnonzero(
            np.logical_and.reduce([n == k for n, k in zip(numbers, box, strict=True)])
        )
