"""The amortized field analysis: what holds before, and whatever, it has learned."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.field_network import FieldNetwork, PatchConvolution
from vardax_core.analysis.amortized.field_step import (
    LOG_SPREAD_LIMIT,
    MEAN_LIMIT,
    FieldFeatures,
    FieldStep,
    grid_window,
    recentre_and_rescale,
)
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation
from vardax_core.models.climatology import Climatology
from vardax_core.observations.base import NonlinearOperatorError
from vardax_core.observations.linear import LinearMatrix
from vardax_core.observations.nonlinear import square
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations, ResultCode, ensemble_mean, ensemble_spread

SHAPE = (4, 5)
STATIONS = np.array([1, 7, 13, 19])


@eqx.filter_jit
def analyse(step, background, observations, *, key):
    return step(background, observations, key=key)


def climatology():
    mean = 280 + jnp.arange(24.0)[:, None, None] + jnp.zeros(SHAPE)[None]
    return Climatology(
        mean=mean, square_root=jnp.zeros((*SHAPE, 1)), interval=180, state_shape=SHAPE
    )


def build(stations=STATIONS, trained=True):
    place = np.arange(20)
    b0 = 4 * np.exp(-np.abs(np.subtract.outer(place, place)) / 4.0)
    tables = jnp.asarray(np.stack([b0, 0.9 * b0, 0.81 * b0]))
    operator = PointSampling(indices=jnp.asarray(stations), state_shape=SHAPE)
    features = FieldFeatures(
        scale=jnp.full(SHAPE, 2.0), static=jax.random.normal(jax.random.key(1), (4, *SHAPE))
    )
    network = FieldNetwork(
        features.n_channels(3), 2, hidden=6, dilations=(1, 2), dtype=float, key=jax.random.key(2)
    )
    if trained:
        weight = jax.random.normal(jax.random.key(3), network.head.weight.shape)
        network = eqx.tree_at(lambda n: n.head.weight, network, weight)
    return FieldStep(
        operator=operator,
        first_guess=WindowInterpolation.from_covariances(operator, climatology(), tables, 60),
        features=features,
        network=network,
    )


def window(stations=STATIONS, error=0.5):
    rng = np.random.default_rng(0)
    values = 285 + 2 * rng.standard_normal((3, len(stations)))
    times = jnp.asarray([240, 300, 360], jnp.int32)
    return Observations.from_values(
        jnp.asarray(values), jnp.full(values.shape, float(error)), times
    )


def background():
    return 284 + jax.random.normal(jax.random.key(5), (6, *SHAPE))


def test_convolution_equals_the_primitive(key):
    convolution = PatchConvolution(3, 4, 2, dtype=float, key=key)
    field = jax.random.normal(key, (3, 6, 7))
    expected = jax.lax.conv_general_dilated(
        field[None],
        convolution.weight.reshape(4, 3, 3, 3),
        (1, 1),
        ((2, 2), (2, 2)),
        rhs_dilation=(2, 2),
    )[0]
    np.testing.assert_allclose(convolution(field), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (8, 5)])
def test_network_takes_any_grid_and_starts_at_zero(key, shape):
    network = FieldNetwork(5, 2, hidden=4, dilations=(1, 4), key=key)
    output = network(jnp.ones((5, *shape), jnp.float32))
    np.testing.assert_array_equal(output, np.zeros((2, *shape)))


def test_untrained_step_is_the_first_guess(key):
    step = build(trained=False)
    analysis = analyse(step, background(), window(), key=key)
    first = analyse(step.first_guess, background(), window(), key=key)
    np.testing.assert_allclose(analysis.mean, first.mean, rtol=1e-12)
    np.testing.assert_allclose(analysis.spread, first.spread, rtol=1e-12)
    np.testing.assert_allclose(analysis.ensemble, first.ensemble, rtol=1e-12)


def test_correction_is_bounded_whatever_the_weights(key):
    step = build()
    wild = eqx.tree_at(lambda s: s.network.head.weight, step, 1e6 * step.network.head.weight)
    analysis = analyse(wild, background(), window(), key=key)
    first = analyse(wild.first_guess, background(), window(), key=key)
    shift = jnp.abs(analysis.mean - first.mean) / first.spread
    change = jnp.abs(jnp.log(analysis.spread / first.spread))
    assert float(shift.max()) <= MEAN_LIMIT + 1e-9
    assert float(change.max()) <= LOG_SPREAD_LIMIT + 1e-9
    # The weights are extreme, so the bound is reached where the observations explain much.
    assert float(shift.max()) > 0.8 * MEAN_LIMIT
    assert float(change.max()) > 0.8 * LOG_SPREAD_LIMIT


def test_worthless_observations_leave_the_background(key):
    analysis = analyse(build(), background(), window(error=1e7), key=key)
    np.testing.assert_allclose(analysis.mean, ensemble_mean(background()), atol=1e-9)
    np.testing.assert_allclose(analysis.spread, ensemble_spread(background()), rtol=1e-9)
    np.testing.assert_allclose(analysis.ensemble, background(), atol=1e-9)


@pytest.mark.parametrize("error", [0.5, 60.0, 300.0])
def test_the_way_to_the_background_is_continuous(key, error):
    """A little more error moves mean, spread and members little."""
    one, two = (
        analyse(build(), background(), window(error=e), key=key) for e in (error, 1.001 * error)
    )
    np.testing.assert_allclose(ensemble_mean(one.ensemble), one.mean, rtol=1e-9)
    # Departures are of order 5 and the share of the analysis changes by 0.2 % of itself.
    for name in ("mean", "spread", "ensemble"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=0.05)


def test_members_have_the_mean_of_the_analysis(key):
    analysis = analyse(build(), background(), window(), key=key)
    np.testing.assert_allclose(ensemble_mean(analysis.ensemble), analysis.mean, rtol=1e-9)


def test_background_changes_the_analysis(key):
    step = build()
    one = analyse(step, background(), window(), key=key)
    two = analyse(step, background() + 2.0, window(), key=key)
    assert float(jnp.abs(one.mean - two.mean).max()) > 1e-3


def test_order_of_stations_does_not_matter(key):
    order = np.array([2, 0, 3, 1])
    observations = window()
    shuffled = Observations(
        observations.values[:, order],
        observations.mask[:, order],
        observations.error_sd[:, order],
        observations.times,
    )
    one = analyse(build(), background(), observations, key=key)
    two = analyse(build(STATIONS[order]), background(), shuffled, key=key)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-10)
    np.testing.assert_allclose(one.spread, two.spread, rtol=1e-8)


def test_an_unused_station_is_as_if_absent(key):
    observations = window()
    masked = eqx.tree_at(lambda o: o.mask, observations, observations.mask.at[:, 3].set(False))
    fewer = Observations(
        observations.values[:, :3],
        observations.mask[:, :3],
        observations.error_sd[:, :3],
        observations.times,
    )
    one = analyse(build(), background(), masked, key=key)
    two = analyse(build(STATIONS[:3]), background(), fewer, key=key)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-10)


def test_no_observation_gives_the_background_bit_for_bit(key):
    none = eqx.tree_at(lambda o: o.mask, window(), jnp.zeros((3, 4), bool))
    analysis = analyse(build(), background(), none, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(analysis.ensemble, background())
    np.testing.assert_array_equal(analysis.mean, ensemble_mean(background()))


def test_gridding_averages_stations_at_one_point():
    operator = PointSampling(indices=jnp.asarray([2, 2, 4]), state_shape=(2, 3))
    observations = Observations(
        values=jnp.zeros((1, 3)),
        mask=jnp.asarray([[True, True, False]]),
        error_sd=jnp.asarray([[0.5, 1.5, 9.0]]),
        times=jnp.asarray([0]),
    )
    gridded = grid_window(operator, jnp.asarray([[1.0, 4.0, 7.0]]), observations, jnp.ones((2, 3)))
    np.testing.assert_allclose(gridded.departures[0], [[0, 0, 2.5], [0, 0, 0]])
    np.testing.assert_allclose(gridded.counts[0], [[0, 0, 2], [0, 0, 0]])
    np.testing.assert_allclose(gridded.error_sd[0], [[0, 0, 1.0], [0, 0, 0]])


def test_gridding_is_in_the_unit_of_the_state():
    """A channel that reads -10 times a point says of it what the point itself would."""
    plain = LinearMatrix(jnp.eye(6)[jnp.asarray([2, 4])], (2, 3))
    scaled = LinearMatrix(-10.0 * plain.matrix, (2, 3))
    departures, errors = jnp.asarray([[1.0, 4.0]]), jnp.asarray([[0.5, 1.5]])
    seen = Observations.from_values(departures, errors, jnp.asarray([0]))
    scaled_errors = eqx.tree_at(lambda o: o.error_sd, seen, 10.0 * errors)
    one = grid_window(plain, departures, seen, jnp.ones((2, 3)))
    other = grid_window(scaled, -10.0 * departures, scaled_errors, jnp.ones((2, 3)))
    np.testing.assert_allclose(one.departures[0], [[0, 0, 1.0], [0, 4.0, 0]], atol=1e-12)
    np.testing.assert_allclose(other.departures, one.departures, atol=1e-12)
    np.testing.assert_allclose(other.error_sd, one.error_sd, atol=1e-12)
    np.testing.assert_array_equal(other.counts > 0, one.counts > 0)


def test_a_nonlinear_operator_is_refused_by_name():
    """The interpolation knows H by its derivative at zero alone."""
    step = build()
    curved = square((4,)) @ step.operator
    with pytest.raises(NonlinearOperatorError, match=r"WindowInterpolation.*nonlinear Composition"):
        dataclasses.replace(step.first_guess, operator=curved)
    with pytest.raises(NonlinearOperatorError, match=r"FieldStep.*nonlinear Composition"):
        dataclasses.replace(step, operator=curved)


def test_recentring_and_rescaling_by_hand():
    ensemble = jnp.asarray([[0.0, 1.0], [2.0, 1.0]])
    result = recentre_and_rescale(
        ensemble,
        jnp.asarray([1.0, 1.0]),
        jnp.asarray([2.0, 0.0]),
        jnp.asarray([10.0, 20.0]),
        jnp.asarray([4.0, 3.0]),
    )
    # No anomaly can be scaled to a spread where there is none.
    np.testing.assert_allclose(result, [[8.0, 20.0], [12.0, 20.0]])


def test_operators_of_two_networks_are_refused():
    step = build()
    other = PointSampling(indices=jnp.asarray([0]), state_shape=SHAPE)
    with pytest.raises(ValueError, match="one network"):
        FieldStep(other, step.first_guess, step.features, step.network)
