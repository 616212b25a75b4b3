"""Tiles give the analysis of the whole grid, however it is cut and whoever analyses them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.local import problems
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import local_network
from vardax_core.analysis.ensemble.points import Inflation
from vardax_core.analysis.ensemble.tiles import LocalInnovations, TileScheme, tiled_letkf
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.analysis.local.tiles import tiled_interpolation
from vardax_core.analysis.local.tiling import Workers
from vardax_core.observations.linear import WeightedPoints
from vardax_core.observations.placement import Search
from vardax_core.state.grids import LatLon
from vardax_core.types import Observations

RNG = np.random.default_rng(0)
GRID = LatLon.from_degrees(
    np.linspace(-90, 90, 13), np.arange(0, 360, 15.0), mask=RNG.uniform(size=(13, 24)) < 0.7
)
MEMBERS, COUNT, HALF_WIDTH, ERROR = 10, 60, 2500.0, 0.5
PLACES = np.stack([np.rad2deg(np.arcsin(RNG.uniform(-1, 1, COUNT))), RNG.uniform(0, 360, COUNT)], 1)
WAVES = RNG.normal(size=(50, 3)) * 2
BACKGROUND = np.einsum(
    "pw,wk->kp", np.cos(GRID.embedded(GRID.points()) / 6371 @ WAVES.T), RNG.normal(size=(50, 20))
).reshape(MEMBERS, 2, *GRID.shape)
STENCIL = GRID.unmasked().stencil(PLACES)
OPERATOR = WeightedPoints(*(jnp.asarray(x) for x in STENCIL), (2, *GRID.shape))
EQUIVALENTS = np.asarray(OPERATOR.ensemble(jnp.asarray(BACKGROUND))).T
DEPARTURES = RNG.normal(size=COUNT)


def innovations(half_width=HALF_WIDTH, channels=None):
    anomalies = EQUIVALENTS - EQUIVALENTS.mean(axis=1, keepdims=True)
    widths = np.broadcast_to(half_width, COUNT)
    return LocalInnovations(PLACES, anomalies / ERROR, DEPARTURES / ERROR, widths, channels)


def tiled(scheme, parts=(1, 1), given=None, workers=None):
    given = innovations() if given is None else given
    return tiled_letkf(GRID, BACKGROUND, given, scheme, parts=parts, workers=workers)[0]


def direct(**settings):
    spacing = settings.pop("spacing", 1)
    most = settings.pop("most", None)
    network = local_network(GRID, PLACES, HALF_WIDTH, spacing=spacing, max_local=most)
    step = eqx.filter_jit(LETKF(OPERATOR, network, **settings))
    values = EQUIVALENTS.mean(axis=1) + DEPARTURES
    given = Observations.from_values(
        jnp.asarray(values)[None], jnp.full((1, COUNT), ERROR), jnp.zeros(1, jnp.int32)
    )
    return np.asarray(step(jnp.asarray(BACKGROUND), given, key=jax.random.key(0)).ensemble)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [1, 2])
def test_tiles_are_the_filter_of_the_whole_grid(spacing):
    scheme = TileScheme(spacing=spacing, inflation=Inflation(1.1))
    found = tiled(scheme)
    expected = direct(spacing=spacing, inflation=1.1)
    np.testing.assert_allclose(found[..., GRID.mask], expected[..., GRID.mask], atol=1e-9)
    np.testing.assert_array_equal(found[..., ~GRID.mask], BACKGROUND[..., ~GRID.mask])
    for parts in ((2, 2), (4, 3)):
        np.testing.assert_array_equal(tiled(scheme, parts), found)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(tiled(scheme, (2, 2), workers=Workers(pool, 2)), found)


def test_a_point_takes_so_many_of_the_nearest():
    scheme = TileScheme(most=5, inflation=Inflation(1.0, 0.3))
    expected = direct(most=5, uncertainty=0.3)
    np.testing.assert_allclose(
        tiled(scheme, (2, 2))[..., GRID.mask], expected[..., GRID.mask], atol=1e-9
    )


def test_weights_between_nodes_err_little_where_the_taper_is_wide():
    wide = innovations(8000.0)
    exact, near = (tiled(TileScheme(spacing=s), given=wide) for s in (1, 2))
    increments = [(x - BACKGROUND).mean(axis=0)[:, GRID.mask] for x in (exact, near)]
    error = np.std(increments[1] - increments[0]) / np.std(increments[0])
    assert 0 < error < 0.1


def test_an_observation_may_count_for_its_own_channel_alone():
    other = np.zeros(COUNT, int)
    scheme = TileScheme(across=0.0)
    found = tiled(scheme, given=innovations(channels=other))
    np.testing.assert_allclose(found[:, 0], tiled(TileScheme())[:, 0], atol=1e-10)
    np.testing.assert_allclose(found[:, 1], BACKGROUND[:, 1], atol=1e-10)
    step = direct(channels=jnp.asarray(other), across=0.3, spacing=2)
    half = tiled(replace(scheme, across=0.3, spacing=2), given=innovations(channels=other))
    np.testing.assert_allclose(half[..., GRID.mask], step[..., GRID.mask], atol=1e-9)


def test_each_record_has_a_reach_of_its_own():
    widths = np.full(COUNT, 10.0)
    widths[7] = HALF_WIDTH
    changed = np.any(
        np.abs(tiled(TileScheme(), (2, 2), innovations(widths)) - BACKGROUND) > 1e-9, axis=(0, 1)
    )
    apart = np.asarray(GRID.distance(GRID.positions(), PLACES[7]))
    np.testing.assert_array_equal(changed, (apart < 2 * HALF_WIDTH) & GRID.mask)


def test_without_a_record_the_background_stays():
    none = innovations().taken(np.zeros(0, int))
    np.testing.assert_array_equal(tiled(TileScheme(), (2, 2), none), BACKGROUND)


def test_tiles_are_the_interpolation_of_the_whole_grid():
    records = LocalRecords.of(
        jnp.asarray(DEPARTURES),
        jnp.full(COUNT, ERROR),
        jnp.asarray(GRID.embedded(PLACES)),
        minutes=jnp.asarray(RNG.uniform(-600, 600, COUNT)),
    )
    covariance = problems.SpaceTimeCovariance.of((1.0, 1500.0, 900.0), (0.3, 4000.0, 3000.0))
    search = Search(5000.0, 12, 1.5, (800.0,))
    whole = tiled_interpolation(GRID, records, covariance, search, parts=(1, 1), dtype="float64")
    cut = tiled_interpolation(GRID, records, covariance, search, parts=(3, 2), dtype="float64")
    np.testing.assert_array_equal(cut, whole)
    targets = LocalTargets.at(jnp.asarray(GRID.embedded(GRID.points())[GRID.mask.ravel()]))
    indices, near = problems.space_time_neighbours(
        np.asarray(targets.straight),
        np.zeros(GRID.mask.sum()),
        np.asarray(records.straight),
        np.asarray(records.minutes),
        speed=1.5,
        most=12,
        radius=5000.0,
        thinned=(800.0,),
    )
    expected = interpolate(targets, records, jnp.asarray(indices), jnp.asarray(near), covariance)
    np.testing.assert_allclose(whole[0][GRID.mask], expected.increment, atol=1e-9)
    np.testing.assert_allclose(whole[1][GRID.mask], expected.variance, atol=1e-9)
    assert np.all(whole[0][~GRID.mask] == 0)
    assert np.all(np.isnan(whole[1][~GRID.mask]))
