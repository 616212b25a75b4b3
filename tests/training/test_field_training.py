"""Training of the field analysis on a small synthetic field."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.observations.operators import PointSampling
from vardax_core.state.grids import LatLon
from vardax_core.training.field_streams import (
    FieldTrainingSettings,
    ObservingNetwork,
    draw_stream,
    fit_folds,
    regular_rows,
)
from vardax_core.training.field_training import plan_for, train_field_analysis
from vardax_core.training.slots import UnfitPeriodError
from vardax_core.types import Observations, ResultCode

GRID = LatLon.from_degrees(np.linspace(52.0, 50.0, 5), np.linspace(0.0, 3.0, 6))
SETTINGS = FieldTrainingSettings(
    blocks=2,
    streams=2,
    draws=3,
    cycles=3,
    densities=(1.0, 2.0),
    amplitude=(1.0, 1.0),
    members=4,
    modes=3,
    hidden=6,
    dilations=(1,),
)
NETWORK = ObservingNetwork(stations=6, error_sd=(0.5, 0.5))
ERROR = jnp.asarray(NETWORK.error_sd, jnp.float32)


@pytest.fixture(scope="module")
def period():
    """Twelve days of a smooth field that forgets itself in a few hours, with a daily cycle."""
    rng = np.random.default_rng(0)
    hours = np.arange(24 * 12)
    place = GRID.points()
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart) + 1e-9 * np.eye(30))
    states = np.zeros((len(hours), 30))
    for k in range(1, len(hours)):
        states[k] = 0.95 * states[k - 1] + 0.3 * root @ rng.standard_normal(30)
    amplitude = np.linspace(1.0, 4.0, 30)
    states = states + 280 + amplitude * np.sin(2 * np.pi * hours / 24)[:, None]
    return states.reshape(-1, 5, 6), 60 * hours


@pytest.fixture(scope="module")
def trained(period):
    progress = []
    analysis = train_field_analysis(
        *period,
        GRID,
        NETWORK,
        SETTINGS,
        key=jax.random.key(0),
        on_step=lambda step, loss: progress.append((step, loss)),
    )
    return analysis, progress


def test_progress_counts_every_step_with_a_finite_loss(trained):
    _, progress = trained
    assert [step for step, _ in progress] == [3, 6, 9]
    assert np.isfinite([loss for _, loss in progress]).all()


def test_training_moves_the_network_and_is_repeatable(period, trained):
    analysis, _ = trained
    again = train_field_analysis(*period, GRID, NETWORK, SETTINGS, key=jax.random.key(0))
    assert float(jnp.abs(analysis.network.head.weight).max()) > 0
    for one, two in zip(jax.tree.leaves(analysis), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, two)


def test_another_unit_trains_the_same_network_bit_for_bit(period, trained):
    fields, times = period
    unit = 2.0**-9
    analysis = train_field_analysis(
        unit * fields,
        times,
        GRID,
        ObservingNetwork(NETWORK.stations, tuple(unit * sd for sd in NETWORK.error_sd)),
        SETTINGS,
        key=jax.random.key(0),
    )
    networks = (jax.tree.leaves(each.network) for each in (analysis, trained[0]))
    for one, two in zip(*networks, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(analysis.features.static, trained[0].features.static)
    np.testing.assert_array_equal(analysis.features.scale, unit * trained[0].features.scale)
    np.testing.assert_array_equal(analysis.model.propagator, trained[0].model.propagator)


def test_weights_serve_any_number_of_stations(period, trained, key):
    analysis, _ = trained
    fields, times = period
    ensemble = analysis.model.climatology.forecast(
        jnp.zeros((4, 5, 6), jnp.float32), jnp.asarray(int(times[99]) - 180), key=key
    )
    for stations in (1, 9):
        operator = PointSampling(indices=jnp.arange(stations), state_shape=(5, 6))
        values = fields[97:100].reshape(3, -1)[:, :stations].astype(np.float32)
        window = Observations.from_values(
            jnp.asarray(values),
            jnp.full(values.shape, 0.5, jnp.float32),
            jnp.asarray(times[97:100], jnp.int32),
        )
        step = analysis.step(operator)
        result = eqx.filter_jit(lambda s, w: s(ensemble, w, key=key))(step, window)
        assert int(result.result) == ResultCode.OK
        observed = np.asarray(result.spread).reshape(-1)[:stations]
        climate = np.sqrt(np.asarray(analysis.statistics.variance)).reshape(-1)[:stations]
        assert (observed < climate).all()


def test_a_fold_is_not_fitted_on_its_own_block(period):
    fields, times = period
    spoiled = fields.copy()
    half = len(times) // 2
    spoiled[:half] += np.random.default_rng(1).standard_normal((half, 5, 6))
    folds = fit_folds(fields, times, GRID, SETTINGS)
    other = fit_folds(spoiled, times, GRID, SETTINGS)
    np.testing.assert_array_equal(folds.statistics.covariances[0], other.statistics.covariances[0])
    assert not np.allclose(folds.statistics.covariances[1], other.statistics.covariances[1])


@pytest.mark.slow
def test_a_stream_holds_the_truth_of_its_times(period, key):
    fields, times = period
    folds = fit_folds(fields, times, GRID, SETTINGS)
    fold = jax.tree.map(lambda x: x[1], folds)
    stream = draw_stream(fold, SETTINGS, 6, ERROR, key=key)
    np.testing.assert_array_equal(np.diff(stream.times), 180)
    rows = np.asarray(stream.times) // 60
    climate = jax.vmap(fold.statistics.climatology.mean_at)(stream.times)
    np.testing.assert_allclose(stream.truth + climate, fields[rows], rtol=1e-5)
    assert float(stream.gridded.counts.sum(axis=(2, 3)).min()) == 6
    # Stations are seen with an error of 0.4 to 0.6: six of them, three cycles, within 2 K.
    seen = np.asarray(stream.gridded.counts[:, -1]) > 0
    error = (np.asarray(stream.gridded.departures[:, -1]) - np.asarray(stream.truth))[seen]
    assert 0 < np.abs(error).max() < 2.5
    assert (np.asarray(stream.first_spread) > 0).all()


def test_a_stream_sees_nothing_of_what_is_missing(period, key):
    fields, times = period
    gappy = fields.copy()
    gappy[:, 2, :3] = np.nan
    gappy[::7, 4] = np.nan
    folds = fit_folds(gappy, times, GRID, SETTINGS)
    fold = jax.tree.map(lambda x: x[0], folds)
    stream = draw_stream(fold, SETTINGS, 30, ERROR, key=key)
    rows = np.asarray(stream.times) // 60
    missing = np.isnan(gappy[rows])
    assert missing.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(np.asarray(stream.known), ~missing)
    np.testing.assert_array_equal(np.asarray(stream.gridded.counts[:, -1]), ~missing)
    assert not np.asarray(stream.gridded.departures[:, -1])[missing].any()
    # Nothing is known of three points, and they are tied to no other.
    spread = np.asarray(stream.first_spread)
    assert not spread[:, 2, :3].any()
    assert (np.delete(spread.reshape(-1, 30), [12, 13, 14], axis=1) > 0).all()


def test_stations_are_those_of_the_observing_network_and_fit_the_grid():
    usual = FieldTrainingSettings()
    network = ObservingNetwork(81, (0.5, 0.5))
    assert [usual.stations(network, 1617, k) for k in range(6)] == [81, 20, 81, 162, 40, 324]
    assert [usual.stations(network, 108, k) for k in range(6)] == [81, 20, 81, 108, 40, 108]
    assert usual.stations(ObservingNetwork(1, (0.5, 0.5)), 9, 1) == 1


def test_rows_are_those_of_analyses_and_windows():
    made = FieldTrainingSettings(interval=180, lag_interval=120, window=1, cycles=3)
    assert made.row_interval == 60
    assert made.needed_rows == 7
    fields, rows = regular_rows(np.arange(5.0).reshape(-1, 1, 1), 30 * np.arange(5), 60, 600)
    np.testing.assert_array_equal(rows, [0, 60, 120])
    np.testing.assert_array_equal(fields.ravel(), [0, 2, 4])
    late = np.array([0, 120, 180])
    fields, rows = regular_rows(np.arange(3.0).reshape(-1, 1, 1), late, 60, 0)
    np.testing.assert_array_equal(fields.ravel(), [0, np.nan, 1, 2])


def test_a_short_period_has_shorter_streams_and_no_fewer_steps():
    hourly = FieldTrainingSettings()
    assert plan_for(480, hourly) == hourly
    daily = FieldTrainingSettings(window=1, lag_interval=1440, interval=1440)
    short = plan_for(20, daily)
    assert (short.blocks, short.cycles, short.n_steps) == (4, 5, 300)
    shortest = plan_for(5, daily)
    assert (shortest.blocks, shortest.cycles, shortest.n_steps) == (2, 2, 300)


def test_a_period_that_is_too_short_is_refused_with_what_it_needs(period):
    fields, times = period
    # Two halves of two cycles each: the window of three hours and one interval of three.
    with pytest.raises(UnfitPeriodError, match="needs 12 states"):
        train_field_analysis(
            fields[:11], times[:11], GRID, NETWORK, SETTINGS, key=jax.random.key(0)
        )
