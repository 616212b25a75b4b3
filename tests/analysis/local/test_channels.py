"""A local interpolation of several channels is that of each from its own records."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.local import test_simulation as one
from vardax_core.analysis.local.channels import ChannelInterpolation
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.observations.placement import PlacedPoints, place, with_placement
from vardax_core.types import Observations

SHAPE = (3, 2, 3)
OF = np.array([0, 0, 0, 0, 2, 2, 2, 2])
"""Channel of each record; the second channel is not observed."""
PLACES = np.concatenate([one.PLACES, one.PLACES[::-1]])
VALUES = jnp.array([1.0, 1.5, 3.5, 4.0, -10.0, 20.0, 15.0, 0.0])
WIDE = SpaceTimeCovariance.of((30.0, 1.0, 90.0))


def whole(of=OF):
    """The step of three channels, told where the records are."""
    first = one.step()
    last = eqx.tree_at(lambda s: s.covariance, first, WIDE)
    made = ChannelInterpolation(PlacedPoints.nowhere(SHAPE), (first, None, last))
    everywhere, now = np.ones(len(of), bool), np.zeros(len(of))
    where = place(
        *(one.GRID, PLACES, now, np.arange(len(of)), everywhere, everywhere, made.search),
        dtype="float64",
        channels=of,
    )
    return with_placement(made, jax.tree.map(jnp.asarray, where))


def window(values, error_sd=1.0):
    times = jnp.zeros(1, jnp.int32)
    return Observations.from_values(values[None], jnp.full((1, values.size), error_sd), times)


@pytest.fixture(scope="module")
def ensemble():
    return jnp.asarray(np.random.default_rng(0).normal(size=(6, *SHAPE)))


@pytest.fixture(scope="module")
def analysis(ensemble):
    return one.analysed(whole(), ensemble, window(VALUES), key=jax.random.key(0))


def test_each_channel_is_analysed_as_if_it_were_alone(ensemble, analysis):
    """Of the last one the four stations are given in reverse, which changes nothing."""
    first, last = one.step(), eqx.tree_at(lambda s: s.covariance, one.step(), WIDE)
    for number, step, values in ((0, first, VALUES[:4]), (2, last, VALUES[4:][::-1])):
        alone = one.analysed(step, ensemble[:, number], window(values), key=jax.random.key(1))
        np.testing.assert_allclose(analysis.mean[number], alone.mean, atol=1e-10)
        np.testing.assert_allclose(analysis.spread[number], alone.spread, atol=1e-10)
    members = jnp.mean(analysis.ensemble, axis=0)
    np.testing.assert_allclose(members[::2], analysis.mean[::2], atol=1e-10)


def test_a_channel_without_observations_stays_bit_for_bit(ensemble, analysis):
    np.testing.assert_array_equal(analysis.ensemble[:, 1], ensemble[:, 1])
    assert int(analysis.diagnostics["interpolated_records"]) == OF.size


def test_what_is_observed_of_one_changes_no_other(ensemble, analysis):
    changed = one.analysed(whole(), ensemble, window(VALUES.at[:4].add(2.0)), key=jax.random.key(0))
    np.testing.assert_array_equal(changed.ensemble[:, 1:], analysis.ensemble[:, 1:])
    assert float(jnp.abs(changed.mean[0] - analysis.mean[0]).max()) > 0.5


def test_the_operator_gives_each_record_its_channel():
    state = jnp.arange(18.0).reshape(SHAPE)
    expected = state[OF, PLACES[:, 0].astype(int), PLACES[:, 1].astype(int)]
    np.testing.assert_allclose(whole().operator(state), expected)
