"""A lattice covers its grid once, and blocks cover the lattice."""

import numpy as np
import pytest

from vardax_core.state.grids import GridError, LatLon, Plane, Ring
from vardax_core.state.lattice import bands_of, blocks_of, lattice_of

RNG = np.random.default_rng(2)
GRIDS = {
    "ring": Ring(n=11),
    "plane": Plane.from_axes(np.arange(7.0), np.arange(9.0)),
    "sphere": LatLon.from_degrees(
        np.linspace(-80, 80, 8), np.arange(0, 360, 36.0), mask=RNG.uniform(size=(8, 10)) < 0.5
    ),
}
EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def inside_of(grid):
    return np.arange(grid.size) if grid.mask is None else np.flatnonzero(grid.mask)


@EVERY_GRID
@pytest.mark.parametrize("spacing", [2, 3, 4, 20])
def test_every_point_is_in_one_cell_and_its_weights_sum_to_one(grid, spacing):
    lattice = lattice_of(grid, spacing)
    there = lattice.points < grid.size
    np.testing.assert_array_equal(np.sort(lattice.points[there]), inside_of(grid))
    weights = lattice.weights.transpose(0, 2, 1)[there]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    assert np.all(weights >= 0)
    corners = np.broadcast_to(lattice.corners[:, None], (*there.shape, weights.shape[1]))[there]
    assert set(corners[weights > 0]) == set(range(lattice.nodes.size))
    # A node that is a point is its own transform.
    own = np.isin(lattice.points[there], lattice.nodes)
    chosen = lattice.nodes[np.take_along_axis(corners, weights.argmax(1)[:, None], axis=1)[:, 0]]
    np.testing.assert_array_equal(chosen[own], lattice.points[there][own])
    np.testing.assert_allclose(weights.max(axis=1)[own], 1)


def test_what_is_linear_on_the_grid_is_so_between_the_nodes():
    grid = GRIDS["plane"]
    lattice = lattice_of(grid, 4)
    values = grid.points() @ np.array([2.0, -3.0])
    found = np.einsum("cki,ck->ci", lattice.weights, values[lattice.nodes][lattice.corners])
    there = lattice.points < grid.size
    np.testing.assert_allclose(found[there], values[lattice.points[there]], atol=1e-12)


@EVERY_GRID
@pytest.mark.parametrize("spacing", [1, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_blocks_and_bands_share_the_points_out(grid, spacing, count):
    lattice = None if spacing == 1 else lattice_of(grid, spacing)
    blocks = blocks_of(grid, lattice, (count,) * len(grid.shape))
    np.testing.assert_array_equal(
        np.sort(np.concatenate([block.inside for block in blocks])), inside_of(grid)
    )
    for block in blocks:
        parts = bands_of(block.lattice, 2)
        points = np.concatenate([part.points.ravel() for part in parts])
        np.testing.assert_array_equal(np.sort(points[points < grid.size]), block.inside)
        for part in parts:
            assert set(part.nodes) <= set(block.lattice.nodes)


def test_a_lattice_or_a_cut_that_cannot_be_is_refused():
    with pytest.raises(GridError, match="spacing of 2 points or more, got 1"):
        lattice_of(GRIDS["ring"], 1)
    with pytest.raises(GridError, match="each of 2 directions"):
        blocks_of(GRIDS["plane"], None, (2,))
