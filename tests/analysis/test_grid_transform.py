"""Laws of the local transform on any grid, whatever its weights are."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.grid_transform import REACH, GridTransformStep
from vardax_core.analysis.amortized.transform_network import RELAXATION, TransformNetwork
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import LocalizationError, local_network
from vardax_core.observations.operators import sampling
from vardax_core.observations.placement import PlacedPoints, place, with_placement
from vardax_core.state.grids import LatLon, Plane, Ring
from vardax_core.types import Observations, ensemble_mean, ensemble_spread

HALF_WIDTH, MEMBERS, OBS, CHANNELS = 1.2, 8, 9, 2
SIDE = 9
PERIODS = (float(SIDE), float(SIDE))
TORUS = Plane.from_axes(np.arange(SIDE) * 1.0, np.arange(SIDE) * 1.0, periods=PERIODS)
LAND = np.ones((5, 6), bool)
LAND[:, 3] = False
GRIDS = {
    "plane": TORUS,
    "ring": Ring(n=20),
    "sphere": LatLon.from_degrees(np.linspace(-2, 2, 5), np.arange(6) * 1.0, mask=LAND),
}
WIDTHS = {"plane": HALF_WIDTH, "ring": HALF_WIDTH, "sphere": 100.0}


def network(key, trained=True):
    made = TransformNetwork.create(jnp.asarray([0.8, 1.2]), key=key)
    if not trained:
        return made
    return jax.tree.map(
        lambda w: w + 0.3 * jnp.sin(jnp.arange(w.size, dtype=w.dtype)).reshape(w.shape), made
    )


def stations(grid):
    """In the upper channel, and one in the lower."""
    upper = np.linspace(0, grid.size // 2, OBS - 1).astype(int)
    return np.append(upper, grid.size + 2)


def step_on(grid, half_width, made):
    shape = (CHANNELS, *grid.shape)
    view = TransformView.of(grid, stations(grid), REACH * half_width, 60, "float64")
    return GridTransformStep(sampling(stations(grid), shape), view, made, half_width)


def case(step, members=MEMBERS, seed=0):
    rng = np.random.default_rng(seed)
    background = jnp.asarray(rng.normal(size=(members, *step.operator.state_shape)))
    values = jnp.asarray(rng.normal(size=(1, step.operator.obs_size)))
    errors = jnp.full_like(values, 0.5)
    return background, Observations.from_values(values, errors, jnp.zeros(1, jnp.int32))


@pytest.fixture(scope="module", params=GRIDS)
def step(request):
    name = request.param
    return step_on(GRIDS[name], WIDTHS[name], network(jax.random.key(1)))


@pytest.mark.slow
def test_with_no_climatological_share_and_nothing_learned_it_is_the_letkf(key):
    made = network(key, trained=False)
    last = made.layers[-1][1].at[2].set(-60.0).at[3].set(-60.0 - RELAXATION)
    made = eqx.tree_at(lambda n: n.layers[-1], made, (made.layers[-1][0], last))
    step = step_on(TORUS, HALF_WIDTH, made)
    background, window = case(step)
    places = TORUS.points()[stations(TORUS) % TORUS.size]
    letkf = LETKF(step.operator, local_network(TORUS, places, HALF_WIDTH))
    expected = letkf(background, window, key=key)
    found = eqx.filter_jit(step)(background, window, key=key)
    np.testing.assert_allclose(found.ensemble, expected.ensemble, atol=1e-8)


def test_what_training_sees_is_what_the_analysis_does(step, key):
    background, window = case(step)
    numbers, own = jnp.arange(step.view.at.shape[0]), step.columns(background)
    update = eqx.filter_jit(step.update)(step.rows(background, window), numbers, own)
    analysis = eqx.filter_jit(step)(background, window, key=key)
    mean = (jnp.mean(own, axis=2) + update.increment).T.reshape(analysis.mean.shape)
    spread = jnp.sqrt(update.variance) * update.factor(update.variance)
    np.testing.assert_allclose(analysis.mean, mean, atol=1e-6)
    np.testing.assert_allclose(analysis.spread, spread.T.reshape(mean.shape), rtol=1e-5)


def test_out_of_reach_the_members_stay_bit_for_bit(step, key):
    background, window = case(step)
    alone = dataclasses.replace(window, mask=window.mask.at[0, 1:].set(False))
    analysis = eqx.filter_jit(step)(background, alone, key=key)
    reached = np.isfinite(step.view.distances) & (np.asarray(step.view.indices) == 0)
    far = ~reached.any(axis=1)
    assert far.any()
    changed = np.asarray(analysis.ensemble != background).reshape(MEMBERS, CHANNELS, -1)
    assert not changed[..., far].any()
    assert changed[..., ~far].any()


@pytest.mark.ladder
@pytest.mark.parametrize("members", [2, 5, 40])
def test_one_set_of_weights_serves_any_number_of_members(step, members, key):
    background, window = case(step, members)
    analysis = eqx.filter_jit(step)(background, window, key=key)
    assert int(analysis.result) == 0
    assert np.isfinite(analysis.ensemble).all()


def test_opposite_innovations_give_opposite_increments(step, key):
    background, window = case(step)
    mean = ensemble_mean(background)
    other = 2 * step.operator(mean)[None] - window.values
    mirrored = dataclasses.replace(window, values=other)
    run = eqx.filter_jit(step)
    first, second = (run(background, w, key=key) for w in (window, mirrored))
    np.testing.assert_allclose(first.mean - mean, mean - second.mean, atol=1e-8)
    np.testing.assert_allclose(first.spread, second.spread, rtol=1e-8)


def test_a_plane_that_is_turned_around_gives_the_analysis_turned_around(key):
    step = step_on(TORUS, HALF_WIDTH, network(key))
    background, window = case(step)
    moved = stations(TORUS)
    rows, columns = np.divmod(moved % TORUS.size, SIDE)
    moved = moved // TORUS.size * TORUS.size + (rows + 2) % SIDE * SIDE + columns
    view = TransformView.of(TORUS, moved, step.view.reach, 60, "float64")
    shape = step.operator.state_shape
    other = GridTransformStep(sampling(moved, shape), view, step.network, HALF_WIDTH)
    expected = step(background, window, key=key).ensemble
    found = other(jnp.roll(background, 2, axis=2), window, key=key).ensemble
    np.testing.assert_allclose(found, jnp.roll(expected, 2, axis=2), atol=1e-6)


def test_records_that_bring_their_places_are_seen_alike(key):
    made, grid = network(key), TORUS
    fixed, shape = step_on(grid, HALF_WIDTH, made), (CHANNELS, *TORUS.shape)
    view = TransformView.nowhere(grid, REACH * HALF_WIDTH, 60)
    step = GridTransformStep(PlacedPoints.nowhere(shape), view, made, HALF_WIDTH)
    numbers = stations(grid)
    every, none = np.ones(OBS, bool), np.zeros(OBS)
    channels, places = numbers // grid.size, grid.points()[numbers % grid.size]
    placement = place(
        grid, places, none, np.arange(OBS), every, every, view.search, channels=channels
    )
    background, window = case(fixed)
    found = with_placement(step, placement)(background, window, key=key)
    expected = fixed(background, window, key=key)
    np.testing.assert_allclose(found.ensemble, expected.ensemble, atol=1e-5)


def test_gradients_are_finite_where_records_are_missing_or_very_accurate(step):
    background, window = case(step)
    mask = window.mask.at[0, 2:].set(False)
    errors = window.error_sd.at[0, 0].set(1e-3)
    window = dataclasses.replace(window, mask=mask, error_sd=errors)
    numbers, own = jnp.arange(step.view.at.shape[0]), step.columns(background)

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(made):
        told = eqx.tree_at(lambda s: s.network, step, made)
        update = told.update(told.rows(background, window), numbers, own)
        spread = update.variance * update.factor(update.variance)
        return jnp.sum(update.increment**2) + jnp.sum(spread)

    found = slope(step.network)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.any(found.layers[-1][1] != 0)
    assert np.all(found.spread == 0)


def test_a_view_without_records_and_a_network_of_other_channels_are_refused(key):
    with pytest.raises(LocalizationError, match="observe something"):
        TransformView.of(TORUS, np.zeros(0, int), 3.0, 60)
    step = step_on(TORUS, HALF_WIDTH, network(key))
    one = TransformNetwork.create(jnp.ones(1), key=key)
    with pytest.raises(ValueError, match="1 channels"):
        GridTransformStep(step.operator, step.view, one, HALF_WIDTH)


def test_the_spread_is_that_of_the_members(step, key):
    analysis = step(*case(step), key=key)
    np.testing.assert_allclose(analysis.spread, ensemble_spread(analysis.ensemble), rtol=1e-6)
