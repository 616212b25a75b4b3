"""Local interpolation equals conditioning, and what must not change it does not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.analysis.local import problems
from vardax_core.analysis.local.covariance import CORRELATIONS, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    LocalRecords,
    LocalTargets,
    contributions,
    degrees_of_freedom_for_signal,
    interpolate,
)
from vardax_core.analysis.variational.covariance import CovarianceError
from vardax_core.state.grids import LatLon, Plane, Ring
from vardax_core.state.neighbours import NeighbourError, space_time_neighbours

solved = eqx.filter_jit(interpolate)


def test_with_all_records_it_is_gaussian_conditioning():
    targets, records = problems.problem()
    found = solved(targets, records, *problems.neighbours(targets, records), problems.COVARIANCE)
    mean, variance = problems.dense(problems.COVARIANCE, targets, records)
    np.testing.assert_allclose(found.increment, mean, atol=1e-10)
    np.testing.assert_allclose(found.variance, variance, atol=1e-10)


def test_with_few_neighbours_it_conditions_on_those():
    targets, records = problems.problem()
    indices, near = problems.neighbours(targets, records, most=5)
    found = solved(targets, records, indices, near, problems.COVARIANCE)
    only = jnp.zeros(40, bool).at[indices[3]].set(True)
    one = jax.tree.map(lambda x: x[3:4], targets)
    some = eqx.tree_at(lambda r: r.mask, records, only)
    mean, variance = problems.dense(problems.COVARIANCE, one, some)
    np.testing.assert_allclose(found.increment[3], mean[0], atol=1e-10)
    np.testing.assert_allclose(found.variance[3], variance[0], atol=1e-10)


def test_the_weights_say_why():
    targets, records = problems.problem()
    indices, near = problems.neighbours(targets, records, most=7)
    found = solved(targets, records, indices, near, problems.COVARIANCE)
    parts = contributions(found.weights, indices, records.innovations)
    np.testing.assert_array_equal(jnp.sum(parts, axis=1), found.increment)
    np.testing.assert_allclose(
        parts[2, 4], found.weights[2, 4] * records.innovations[indices[2, 4]], rtol=1e-14
    )


def test_degrees_of_freedom_for_signal_are_what_observations_do_in_their_own_places():
    """The slopes of the analysed values there by the observations sum to them."""
    targets, records = problems.problem()
    there = LocalTargets(records.straight, records.minutes, records.scale)

    def analysed(innovations):
        seen = eqx.tree_at(lambda r: r.innovations, records, innovations)
        around = problems.neighbours(there, records)
        return interpolate(there, seen, *around, problems.COVARIANCE).increment

    slopes = jnp.diagonal(jax.jacfwd(analysed)(records.innovations))
    found = degrees_of_freedom_for_signal(
        targets, records, *problems.neighbours(targets, records), problems.COVARIANCE
    )
    np.testing.assert_allclose(found, jnp.sum(jnp.where(records.mask, slopes, 0.0)), rtol=1e-8)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_other_units_give_the_same_analysis(factor):
    targets, records = problems.problem(dtype=jnp.float32)
    around = problems.neighbours(targets, records, most=12)
    before = solved(targets, records, *around, problems.COVARIANCE)
    scaled = eqx.tree_at(
        lambda r: (r.innovations, r.error_sd, r.shared_sd),
        records,
        [
            x * jnp.float32(factor)
            for x in (records.innovations, records.error_sd, records.shared_sd)
        ],
    )
    after = solved(targets, scaled, *around, problems.COVARIANCE.scaled(factor))
    np.testing.assert_allclose(after.increment / factor, before.increment, atol=1e-5)
    np.testing.assert_allclose(after.variance / factor**2, before.variance, rtol=1e-5)


def test_the_order_of_the_records_does_not_matter():
    targets, records = problems.problem()
    before = solved(
        targets, records, *problems.neighbours(targets, records, most=9), problems.COVARIANCE
    )
    order = np.random.default_rng(3).permutation(40)
    shuffled = jax.tree.map(lambda x: x[order], records)
    after = solved(
        targets, shuffled, *problems.neighbours(targets, shuffled, most=9), problems.COVARIANCE
    )
    np.testing.assert_allclose(after.increment, before.increment, atol=1e-12)
    np.testing.assert_allclose(after.variance, before.variance, atol=1e-12)


def test_masked_records_change_nothing():
    targets, records = problems.problem()
    mask = jnp.arange(40) % 3 != 0
    indices, near = problems.neighbours(targets, records, most=12)
    some = eqx.tree_at(lambda r: r.mask, records, mask)
    before = solved(targets, some, indices, near, problems.COVARIANCE)
    wild = jax.tree.map(
        lambda x: jnp.where(mask if x.ndim == 1 else mask[:, None], x, jnp.asarray(77, x.dtype)),
        some,
    )
    wild = eqx.tree_at(lambda r: r.mask, wild, mask)
    after = solved(targets, wild, indices, near, problems.COVARIANCE)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(x, y)
    mean, _ = problems.dense(problems.COVARIANCE, targets, some)
    whole = solved(targets, some, *problems.neighbours(targets, some), problems.COVARIANCE)
    np.testing.assert_allclose(whole.increment, mean, atol=1e-10)


def test_unusable_numbers_mean_missing():
    _, records = problems.problem()
    values = records.innovations.at[0].set(jnp.nan)
    errors = records.error_sd.at[1].set(0.0).at[2].set(-1.0)
    places = records.straight.at[3, 1].set(jnp.inf)
    made = LocalRecords.of(values, errors, places)
    np.testing.assert_array_equal(made.mask[:5], [False, False, False, False, True])
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(made))


def test_out_of_reach_nothing_changes_bit_for_bit():
    targets, records = problems.problem()
    far = eqx.tree_at(lambda t: t.straight, targets, targets.straight.at[:3].add(1e5))
    indices, near = problems.neighbours(far, records, radius=3000.0)
    assert not bool(near[:3].any())
    found = solved(far, records, indices, near, problems.COVARIANCE)
    background = jnp.linspace(270.0, 290.0, 25)
    np.testing.assert_array_equal((background + found.increment)[:3], background[:3])
    np.testing.assert_array_equal(found.variance[:3], (2.0 * far.scale**2)[:3])
    assert float(jnp.abs(found.increment[3:]).min()) > 0


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    places=arrays(np.float32, (30, 3), elements=st.floats(-50, 50, width=32)),
    error=st.sampled_from([1e-12, 1e-4, 1.0, 1e6]),
    twice=st.booleans(),
)
def test_in_single_precision_no_place_gives_nan(places, error, twice):
    """Duplicates at one place included, and errors that single precision cannot resolve."""
    rng = np.random.default_rng(0)
    if twice:
        places[10:25] = places[0]
    records = LocalRecords.of(
        jnp.asarray(rng.normal(size=30), jnp.float32),
        jnp.full(30, error, jnp.float32),
        jnp.asarray(places),
    )
    at = np.concatenate([places, rng.uniform(-60, 60, (19_970, 3)).astype(np.float32)])
    targets = LocalTargets.at(jnp.asarray(at))
    around = problems.neighbours(targets, records, most=16)
    found = solved(targets, records, *around, problems.COVARIANCE)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(found))
    assert found.increment.dtype == jnp.float32
    assert float(jnp.max(found.variance)) <= 2.0 * (1 + 1e-6)
    assert float(jnp.min(found.variance)) > 0


@pytest.mark.parametrize("space", CORRELATIONS)
def test_covariances_are_positive_on_every_grid(space):
    grids = (
        Ring(24),
        Plane.from_axes(np.arange(5.0), np.arange(6.0), periods=(5.0, None)),
        LatLon.from_degrees(np.linspace(-90, 90, 7), np.arange(0, 360, 45.0)),
    )
    for grid in grids:
        straight = jnp.asarray(grid.embedded(grid.points()))
        apart = jnp.linalg.norm(straight[:, None] - straight[None], axis=-1)
        size = float(jnp.max(apart))
        covariance = SpaceTimeCovariance.of((1.0, size / 2, 60.0), (0.5, jnp.inf, 9.0), space=space)
        values = np.linalg.eigvalsh(covariance(apart, jnp.zeros_like(apart)))
        assert values.min() > -1e-10 * values.max()
        np.testing.assert_allclose(covariance(apart, 0 * apart).diagonal(), 1.5, rtol=1e-6)


def test_an_embedding_measures_as_the_grid_does():
    for grid in (Ring(40), Plane.from_axes(np.arange(30.0), np.arange(40.0), periods=(30.0, None))):
        points = grid.points()[:3]
        straight = grid.embedded(points)
        near = np.linalg.norm(straight[0] - straight[1])
        np.testing.assert_allclose(near, grid.distance(points[:1], points[1:2])[0], rtol=2e-3)


def test_impossible_components_are_refused():
    for wrong in ((-1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -2.0), (np.nan, 1.0, 1.0)):
        with pytest.raises(CovarianceError, match="component 0"):
            SpaceTimeCovariance.of(wrong)
    with pytest.raises(CovarianceError, match="at least one"):
        SpaceTimeCovariance.of()
    with pytest.raises(NeighbourError, match="most"):
        space_time_neighbours(
            np.zeros((1, 2)), np.zeros(1), np.zeros((1, 2)), np.zeros(1), speed=1.0, most=0
        )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), most=st.integers(1, 12), thinned=st.booleans())
def test_neighbours_are_the_nearest_and_none_is_there_twice(seed, most, thinned):
    rng = np.random.default_rng(seed)
    targets, places = rng.uniform(0, 10, (6, 2)), rng.uniform(0, 10, (50, 2))
    minutes, groups = rng.uniform(-50, 0, 50), rng.integers(0, 5, 50)
    own = rng.integers(0, 5, 6)
    found = space_time_neighbours(
        targets,
        np.zeros(6),
        places,
        minutes,
        speed=0.2,
        most=most,
        apart=(own, groups),
        thinned=(1.0, 3.0) if thinned else (),
    )
    metric = np.hypot(np.linalg.norm(targets[:, None] - places[None], axis=-1), 0.2 * minutes)
    assert found.indices.shape == (6, most)
    for row in range(6):
        chosen = found.indices[row][found.near[row]]
        assert len(set(chosen)) == len(chosen)
        assert not np.any(groups[chosen] == own[row])
        assert np.all(np.diff(metric[row][chosen]) >= 0)
        if not thinned:
            others = np.flatnonzero(groups != own[row])
            nearest = others[np.argsort(metric[row][others])][:most]
            np.testing.assert_array_equal(chosen, nearest)
