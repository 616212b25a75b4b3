"""A local interpolation at nodes, and between them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.local.cells import cells_of
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.methods.interpolation import usual_spacing
from vardax_core.models.climatology import Climatology
from vardax_core.observations.placement import PlacedPoints, Search, place, with_placement
from vardax_core.state.grids import Plane
from vardax_core.state.lattice import lattice_of
from vardax_core.types import Observations

SIDE, LENGTH, MEAN, MEMBERS = 25, 12.0, 5.0, 9
RNG = np.random.default_rng(0)
PLACES = RNG.uniform(0, SIDE - 1, size=(40, 2))
PLACES = PLACES[(PLACES[:, 0] > 6) | (PLACES[:, 1] < 17)]
Y, X = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
LAND = (X > 17) & (Y < 6)
SCALE = np.where(LAND, 0.0, 1.0 + X / SIDE)


def step(spacing, places=PLACES):
    """The interpolation of some records on a plane of which a corner is land."""
    side = np.arange(SIDE) * 1.0
    grid = Plane.from_axes(side, side, mask=~LAND)
    lattice = None if spacing == 1 else lattice_of(grid, spacing)
    points = np.flatnonzero(~LAND) if lattice is None else lattice.nodes
    nothing = jnp.zeros((0, 2))
    made = LocalInterpolation(
        operator=PlacedPoints.nowhere((SIDE, SIDE)),
        climatology=Climatology(
            mean=jnp.full((1, SIDE, SIDE), MEAN),
            square_root=jnp.asarray(SCALE)[..., None],
            interval=60,
            state_shape=(SIDE, SIDE),
        ),
        covariance=SpaceTimeCovariance.of((1.0, LENGTH, 600.0), space="matern52"),
        scale=jnp.asarray(SCALE),
        shared_sd=jnp.zeros(()),
        points=jnp.asarray(points, jnp.int32),
        targets=jnp.asarray(grid.embedded(grid.points()[points])),
        records=nothing,
        minutes=nothing[:, 0],
        platforms=jnp.zeros(0, jnp.int32),
        nearest=jnp.full((grid.size if lattice is None else points.size, 12), -1, jnp.int32),
        wanted=Search(40.0, 12, LENGTH / 600.0, spacing=spacing),
        cells=cells_of(lattice),
    )
    everywhere = np.ones(len(places), bool)
    numbers = np.arange(len(places))
    where = place(
        *(grid, places, np.zeros(len(places)), numbers, everywhere, everywhere, made.search),
        dtype="float64",
    )
    return with_placement(made, jax.tree.map(jnp.asarray, where))


def window(values):
    times = jnp.zeros(1, jnp.int32)
    return Observations.from_values(values[None], jnp.full((1, values.size), 0.3), times)


@eqx.filter_jit
def analysed(step, values):
    background = jnp.full((MEMBERS, SIDE, SIDE), MEAN)
    return step.analyse(background, window(values), key=jax.random.key(0))


@pytest.fixture(scope="module")
def values():
    signal = 2 * np.sin(PLACES[:, 0] / 8)
    return jnp.asarray(MEAN + signal + 0.3 * RNG.normal(size=len(PLACES)))


@pytest.mark.parametrize(("spacing", "largest"), [(2, 0.03), (3, 0.06)])
def test_between_nodes_it_is_that_of_every_point(values, spacing, largest):
    """The error of linear interpolation between nodes is about (spacing / length)^2 / 8 of a
    field, and changes of the records that are nearest come on top; coasts have no gap."""
    whole, some = analysed(step(1), values), analysed(step(spacing), values)
    increment = np.asarray(whole.mean - MEAN)
    difference = np.asarray(some.mean) - np.asarray(whole.mean)
    assert np.sqrt(np.mean(difference**2)) < largest * np.sqrt(np.mean(increment**2))
    sea = ~LAND
    ratio = np.asarray(some.spread)[sea] / np.asarray(whole.spread)[sea]
    assert np.abs(ratio - 1).mean() < 2 * largest
    np.testing.assert_array_equal(np.asarray(some.mean)[LAND], MEAN)


def test_members_have_its_mean_and_spread(values):
    found = analysed(step(3), values)
    sea = ~LAND
    mean, spread = jnp.mean(found.ensemble, axis=0), jnp.std(found.ensemble, axis=0, ddof=1)
    np.testing.assert_allclose(mean[sea], found.mean[sea], atol=1e-10)
    np.testing.assert_allclose(spread[sea], found.spread[sea], rtol=1e-10)


def test_without_records_it_is_the_climatology():
    found = analysed(step(3), jnp.full(len(PLACES), jnp.nan))
    np.testing.assert_array_equal(found.mean, MEAN)
    np.testing.assert_allclose(found.spread, SCALE, rtol=1e-12)


def test_nodes_cost_a_share_of_the_points():
    assert step(3).nearest.shape[0] < 0.2 * SIDE**2


def test_large_grids_have_nodes_where_the_covariance_is_long_enough():
    """All points of a small grid; of a large one every so many, as the length allows."""
    small, large = (Plane.from_axes(np.arange(n) * 2.0, np.arange(n) * 2.0) for n in (100, 300))
    assert usual_spacing(small, 1e6) == 1
    assert [usual_spacing(large, length) for length in (1.0, 24.0, 36.0, 1e6)] == [1, 2, 3, 4]
