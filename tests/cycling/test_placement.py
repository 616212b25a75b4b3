"""Observations that bring their places are analysed as those of an observing network that stays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import local_network, unplaced_network
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.scan import run_segment
from vardax_core.models.climatology import Climatology
from vardax_core.observations.linear import interpolation
from vardax_core.observations.placement import (
    PlacedPoints,
    Search,
    place,
    search_of,
)
from vardax_core.state.grids import LatLon
from vardax_core.types import Observations

GRID = LatLon.from_degrees(np.arange(50.0, 54.0), np.arange(-5.0, 1.0))
RNG = np.random.default_rng(5)
PLACES = np.stack([RNG.uniform(50, 53, 7), RNG.uniform(-5, 0, 7)], axis=1)
MEMBERS, CYCLES, HALF_WIDTH = 6, 3, 200.0
MODEL = Climatology(
    mean=jnp.zeros((1, *GRID.shape), jnp.float32),
    square_root=jnp.asarray(RNG.normal(size=(*GRID.shape, 5)), jnp.float32),
    interval=60,
    state_shape=GRID.shape,
)
KEY = jax.random.key(2)


def program(step):
    return CycleProgram(
        model=MODEL,
        step=step,
        adaptation=None,
        score_weights=jnp.ones(GRID.shape, jnp.float32),
        spread_scale=1.0,
    )


def run(step, values, placement=None):
    made, shape = program(step), values.shape
    times = jnp.arange(1, CYCLES + 1, dtype=jnp.int32)[:, None] * 60
    observations = jax.vmap(Observations.from_values)(
        jnp.asarray(values[:, None], jnp.float32),
        jnp.full((shape[0], 1, shape[1]), 0.5, jnp.float32),
        times,
    )
    given = jax.vmap(CycleInput)(
        observations,
        jnp.where(jnp.isfinite(values), 0, 8).astype(jnp.int8),
        jnp.full((CYCLES, *GRID.shape), jnp.nan, jnp.float32),
        jnp.ones(CYCLES, bool),
        None,
        placement,
    )
    start = jnp.zeros((MEMBERS, *GRID.shape), jnp.float32)
    state = made.initial_state(start, jnp.zeros((), jnp.int32))
    return run_segment(made, state, given, key=KEY)[1]


def placement(orders, search=None, pad=0):
    """One placement a cycle, the stations in another order each time."""
    made = []
    for order in orders:
        coordinates = np.concatenate([PLACES[order], np.full((pad, 2), np.nan)])
        size = len(coordinates)
        usable = np.ones(size, bool)
        zeros = np.zeros(size)
        made.append(place(GRID, coordinates, zeros, zeros.astype(int), usable, usable, search))
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *made)


STEPS = {
    "etkf": (
        ETKF(interpolation(GRID, PLACES)),
        ETKF(PlacedPoints.nowhere(GRID.shape)),
    ),
    "letkf": (
        LETKF(interpolation(GRID, PLACES), local_network(GRID, PLACES, HALF_WIDTH)),
        LETKF(PlacedPoints.nowhere(GRID.shape), unplaced_network(GRID, HALF_WIDTH, 7)),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "etkf" else n for n in STEPS]
)
def test_the_order_and_the_padding_of_records_do_not_matter(name):
    fixed, placed = STEPS[name]
    values = RNG.normal(size=(CYCLES, 7))
    values[1, 2] = np.nan
    expected = run(fixed, values)
    orders = [RNG.permutation(7) for _ in range(CYCLES)]
    shuffled = np.stack([v[o] for v, o in zip(values, orders, strict=True)])
    padded = np.concatenate([shuffled, np.full((CYCLES, 3), np.nan)], axis=1)
    found = run(placed, padded, placement(orders, search_of(placed), pad=3))
    # Sums over the observations in another order.
    np.testing.assert_allclose(found.analysis.mean, expected.analysis.mean, atol=2e-5)
    np.testing.assert_allclose(found.analysis.spread, expected.analysis.spread, atol=2e-5)
    for k, order in enumerate(orders):
        np.testing.assert_allclose(
            found.departures.innovation[k, :7], expected.departures.innovation[k][order], atol=2e-5
        )
    assert not np.asarray(found.departures.used)[:, 7:].any()


def test_records_of_other_times_are_found_by_a_search_that_counts_minutes():
    coordinates, minutes = np.repeat(PLACES[:1], 3, axis=0), np.array([0.0, -600.0, -60.0])
    everywhere = np.ones(3, bool)
    search = Search(radius=400.0, most=3, pace=1.0)
    current = np.array([True, False, False])
    found = place(GRID, coordinates, minutes, np.zeros(3, int), everywhere, current, search)
    near = np.asarray(found.nearest)
    point = int(np.argmin(GRID.distance(GRID.points(), PLACES[:1])))
    assert near[point].tolist() == [0, 2, -1]
    own = np.asarray(GRID.distance(GRID.points()[[point]], PLACES[:1]))[0]
    # The straight line is shorter than the way along the ground.
    np.testing.assert_allclose(found.distances[point, :2], own, rtol=1e-3)
    now = place(GRID, coordinates, minutes, np.zeros(3, int), everywhere, current, Search(400.0, 3))
    assert set(np.unique(now.nearest)) == {-1, 0}


def test_only_what_is_placed_has_a_search():
    _fixed, placed = STEPS["letkf"]
    assert search_of(placed) == Search(2 * HALF_WIDTH, 7)
    assert search_of(ETKF(interpolation(GRID, PLACES))) is None
    other = dataclasses.replace(placed.network, half_width=1.0)
    with pytest.raises(ValueError, match="searches its observations once"):
        search_of((placed, other))
