"""The correction of an interpolation of records: what it is shown, and what must not move it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.local import problems, test_simulation
from vardax_core.analysis.amortized import record_step
from vardax_core.analysis.amortized.local_views import INPUTS, KNOWN, RIVALS, local_views, reshaped
from vardax_core.analysis.amortized.record_network import (
    LOG_SPREAD_LIMIT,
    MEAN_LIMIT,
    RecordNetwork,
    correction,
)
from vardax_core.analysis.local.interpolation import LocalTargets, interpolate

viewed = eqx.filter_jit(local_views)
corrected = eqx.filter_jit(correction)
NOWHERE = jnp.zeros(25)


def lively(seed=1, size=0.7):
    """A network whose last layer says something."""
    network = RecordNetwork(key=jax.random.key(seed))
    matrix, _ = network.layers[-1]
    drawn = size * jax.random.normal(jax.random.key(seed + 1), matrix.shape, matrix.dtype)
    return eqx.tree_at(lambda n: n.layers[-1][0], network, drawn)


@pytest.fixture(scope="module")
def looked():
    targets, records = problems.problem()
    near = problems.neighbours(targets, records, most=12)
    return targets, records, near, viewed(targets, records, *near, problems.COVARIANCE)


def test_the_first_view_is_the_interpolation(looked):
    targets, records, near, views = looked
    found = interpolate(targets, records, *near, problems.COVARIANCE)
    np.testing.assert_allclose(views.increment, found.increment, atol=1e-9)
    np.testing.assert_allclose(views.variance, found.variance, atol=1e-9)
    assert views.known.shape == (25, KNOWN)
    assert views.rivals.shape == (25, RIVALS)


def test_a_rival_is_the_interpolation_by_another_covariance(looked):
    targets, records, near, views = looked
    other = reshaped(problems.COVARIANCE, (1.0, 0.6, 1.0))
    found = interpolate(targets, records, *near, other)
    np.testing.assert_allclose(views.increment + views.rivals[:, 1], found.increment, atol=1e-9)


@pytest.mark.slow
def test_neighbours_are_compared_with_what_all_others_say_of_them(looked):
    targets, records, (index, near), _ = looked
    apart = eqx.tree_at(lambda r: r.platform, records, jnp.arange(40, dtype=jnp.int32))
    views, number = viewed(targets, apart, index, near, problems.COVARIANCE), 3
    squares = []
    for left_out in np.asarray(index[number]):
        place = LocalTargets(
            *(x[left_out][None] for x in (records.straight, records.minutes, records.scale))
        )
        others = near[number] & (index[number] != left_out)
        found = interpolate(place, apart, index[number][None], others[None], problems.COVARIANCE)
        error = records.error_sd[left_out] ** 2 + records.shared_sd[left_out] ** 2
        departure = records.innovations[left_out] - found.increment[0]
        squares.append(float(departure**2 / (found.variance[0] + error)))
    np.testing.assert_allclose(jnp.exp(views.known[number, 2]) - 0.05, np.mean(squares), rtol=1e-6)


def test_a_network_that_says_nothing_corrects_nothing(looked):
    views = looked[-1]
    found = corrected(RecordNetwork(key=jax.random.key(0)), views, NOWHERE)
    np.testing.assert_array_equal(found.shift, 0.0)
    np.testing.assert_array_equal(found.factor, 1.0)


def test_where_a_network_says_nothing_the_interpolation_alone_is_computed():
    first, place = test_simulation.step(), jnp.zeros(test_simulation.GRID.shape)
    silent = jax.tree.map(jnp.zeros_like, lively())
    assert record_step.corrected(first, silent, place) is first
    made = record_step.corrected(first, lively(), place)
    assert isinstance(made, record_step.CorrectedInterpolation)


def test_where_no_record_is_in_reach_nothing_is_corrected(looked):
    targets, records, (index, near), _ = looked
    alone = near.at[:10].set(False)
    views = viewed(targets, records, index, alone, problems.COVARIANCE)
    found = corrected(lively(), views, NOWHERE)
    np.testing.assert_array_equal(found.shift[:10], 0.0)
    np.testing.assert_array_equal(found.factor[:10], 1.0)
    assert np.all(np.asarray(found.shift[10:]) != 0)


def test_corrections_are_bounded_and_finite(looked):
    views = looked[-1]
    found = corrected(lively(size=1e3), views, NOWHERE)
    spread = np.sqrt(np.asarray(views.variance))
    assert np.all(np.abs(found.shift) <= MEAN_LIMIT * spread * (1 + 1e-6))
    assert np.all(np.abs(np.log(found.factor)) <= LOG_SPREAD_LIMIT * (1 + 1e-6))
    assert np.max(np.abs(found.shift) / spread) > 0.3


def test_the_other_sign_gives_the_other_correction(looked):
    targets, records, near, views = looked
    mirrored = eqx.tree_at(lambda r: r.innovations, records, -records.innovations)
    there = corrected(lively(), views, NOWHERE)
    back = corrected(lively(), viewed(targets, mirrored, *near, problems.COVARIANCE), NOWHERE)
    np.testing.assert_allclose(back.shift, -there.shift, atol=1e-7)
    np.testing.assert_allclose(back.factor, there.factor, atol=1e-6)


def test_neither_a_shift_nor_the_order_nor_the_unit_matters(looked):
    targets, records, (index, near), views = looked
    there = corrected(lively(), views, NOWHERE)
    off = jnp.asarray([130.0, -40.0, 7.0])
    moved = eqx.tree_at(lambda r: r.straight, records, records.straight + off[None])
    at = eqx.tree_at(lambda t: t.straight, targets, targets.straight + off[None])
    shifted = corrected(lively(), viewed(at, moved, index, near, problems.COVARIANCE), NOWHERE)
    np.testing.assert_allclose(shifted.shift, there.shift, atol=1e-6)
    order = jax.random.permutation(jax.random.key(2), index.shape[1])
    turned = viewed(targets, records, index[:, order], near[:, order], problems.COVARIANCE)
    np.testing.assert_allclose(corrected(lively(), turned, NOWHERE).shift, there.shift, atol=1e-6)
    large = eqx.tree_at(
        lambda r: (r.innovations, r.error_sd, r.shared_sd),
        records,
        (1000 * records.innovations, 1000 * records.error_sd, 1000 * records.shared_sd),
    )
    other = viewed(targets, large, index, near, problems.COVARIANCE.scaled(1000.0))
    again = corrected(lively(), other, NOWHERE)
    np.testing.assert_allclose(again.shift, 1000 * there.shift, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(again.factor, there.factor, rtol=1e-5)


def test_a_masked_record_is_one_that_is_not_there(looked):
    targets, records, (index, near), _ = looked
    hidden = jnp.arange(40) % 3 == 0
    masked = eqx.tree_at(
        lambda r: (r.mask, r.innovations),
        records,
        (records.mask & ~hidden, jnp.where(hidden, 1e6, records.innovations)),
    )
    one = viewed(targets, masked, index, near, problems.COVARIANCE)
    other = viewed(targets, records, index, near & ~hidden[index], problems.COVARIANCE)
    np.testing.assert_array_equal(one.known, other.known)
    np.testing.assert_array_equal(one.rivals, other.rivals)


def test_without_any_record_there_is_a_view_of_nothing():
    targets, records = problems.problem(count=8)
    nothing = jax.tree.map(lambda x: x[:0], records)
    views = viewed(
        targets,
        nothing,
        jnp.zeros((25, 4), jnp.int32),
        jnp.zeros((25, 4), bool),
        problems.COVARIANCE,
    )
    assert views.inputs(NOWHERE).shape == (25, INPUTS)
    np.testing.assert_array_equal(corrected(lively(), views, NOWHERE).shift, 0.0)
