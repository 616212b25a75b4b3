"""Cycled streams of analyses over a training period, with cross-fitted statistics."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.field_step import GriddedWindow, grid_window
from vardax_core.analysis.variational.window_interpolation import window_gain
from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import LinearInverseModel, modes_of
from vardax_core.observations.operators import PointSampling
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.slots import gap_filled, slot_anomalies
from vardax_core.training.statistics import WindowStatistics, fit_window_statistics
from vardax_core.types import Observations

PAIRS_PER_MODE = 10
"""Pairs of states one interval apart for each mode of the forecast model."""


class ObservingNetwork(NamedTuple):
    """What a training has to know of the stations that its analysis will be given.

    Attributes:
        stations: how many there are.
        error_sd: smallest and largest standard deviation of their errors, unit of the state.
    """

    stations: int
    error_sd: tuple[float, float]


class FieldTrainingSettings(eqx.Module):
    """How the field analysis is trained.

    Attributes:
        blocks: parts of the period; each is analysed with statistics of the others.
        streams: parallel cycles in each block.
        draws: times that every stream gets a new network of stations and a new start.
        cycles: cycles of a stream between two draws; one gradient step each.
        densities: sizes of the random networks, relative to the observing network and taken in
            turn; none is larger than the grid.
        errors: smallest and largest factor on the error standard deviation of the network.
        amplitude: smallest and largest factor on the anomalies of a stream, so that the network
            meets weather calmer and rougher than that of the period.
        members: members that carry the background of a stream.
        window: observation times in a window, `lag_interval` minutes apart.
        lag_interval: minutes.
        interval: minutes between two cycles.
        modes: most of the linear inverse model; a short period or a small grid gives fewer.
        shrinkage: of the linear inverse model.
        hidden, dilations: of the network.
        learning_rate, weight_decay, clip: of AdamW with warm-up over a tenth of the steps and
            cosine decay.
        crps_weight: weight of the CRPS, in climatological standard deviations, beside the
            negative log-likelihood.
    """

    blocks: int = eqx.field(static=True, default=4)
    streams: int = eqx.field(static=True, default=3)
    draws: int = eqx.field(static=True, default=30)
    cycles: int = eqx.field(static=True, default=10)
    densities: tuple[float, ...] = eqx.field(static=True, default=(1.0, 0.25, 1.0, 2.0, 0.5, 4.0))
    errors: tuple[float, float] = eqx.field(static=True, default=(0.8, 1.2))
    amplitude: tuple[float, float] = eqx.field(static=True, default=(0.7, 1.5))
    members: int = eqx.field(static=True, default=8)
    window: int = eqx.field(static=True, default=3)
    lag_interval: int = eqx.field(static=True, default=60)
    interval: int = eqx.field(static=True, default=180)
    modes: int = eqx.field(static=True, default=20)
    shrinkage: float = eqx.field(static=True, default=0.0)
    hidden: int = eqx.field(static=True, default=24)
    dilations: tuple[int, ...] = eqx.field(static=True, default=(1, 2, 4))
    learning_rate: float = eqx.field(static=True, default=2e-3)
    weight_decay: float = eqx.field(static=True, default=1e-3)
    clip: float = eqx.field(static=True, default=1.0)
    crps_weight: float = eqx.field(static=True, default=0.0)

    @property
    def n_steps(self) -> int:
        """Gradient steps of the whole training."""
        return self.draws * self.cycles

    @property
    def row_interval(self) -> int:
        """Minutes between two states of a stream, analysed or observed."""
        return math.gcd(self.interval, self.lag_interval)

    @property
    def rows_per_cycle(self) -> int:
        """States from one analysis to the next."""
        return self.interval // self.row_interval

    @property
    def window_rows(self) -> tuple[int, ...]:
        """The states of a window, counted from its first."""
        return tuple(k * self.lag_interval // self.row_interval for k in range(self.window))

    @property
    def needed_rows(self) -> int:
        """States that one stream spans."""
        return (self.cycles - 1) * self.rows_per_cycle + self.window_rows[-1] + 1

    def stations(self, network: ObservingNetwork, points: int, draw: int) -> int:
        """Stations of the streams of one draw, on a grid of so many points."""
        wanted = round(self.densities[draw % len(self.densities)] * network.stations)
        return min(max(wanted, 1), points)


class Streams(eqx.Module):
    """What the network needs of some cycles of a stream, before the background is known.

    Attributes:
        first_mean, truth: as anomalies from the climatology.
        first_spread: zero where nothing is known of the point.
        gridded: windows.
        known: where there is a truth.
        times: analysis times in minutes.
    """

    first_mean: Float[Array, "cycle y x"]
    first_spread: Float[Array, "cycle y x"]
    gridded: GriddedWindow
    truth: Float[Array, "cycle y x"]
    known: Bool[Array, "cycle y x"]
    times: Int[Array, " cycle"]


class Fold(eqx.Module):
    """One block of the period with the statistics of the others.

    Attributes:
        statistics, model: fitted on the other blocks.
        anomalies: of the block's states, from that climatology; zero where missing.
        known: where they are not missing; None if none is.
        times: of the block's states, in minutes and one `row_interval` apart.
    """

    statistics: WindowStatistics
    model: LinearInverseModel
    anomalies: Float[Array, "time y x"]
    known: Bool[Array, "time y x"] | None
    times: Int[Array, " time"]


def regular_rows(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    spacing: int,
    phase: int,
) -> tuple[Float[np.ndarray, "row y x"], Int[np.ndarray, " row"]]:
    """States that follow each other every `spacing` minutes, NaN where there is none.

    Arguments:
        fields, times: states of any cadence, with gaps.
        spacing: minutes.
        phase: a minute at which there is a row, in the period or not.
    """
    first = int(times[0]) + (phase - int(times[0])) % spacing
    rows = np.arange(first, int(times[-1]) + 1, spacing, dtype=np.int64)
    place = np.searchsorted(times, rows).clip(max=len(times) - 1)
    there = times[place] == rows
    if there.all():
        return fields[place], rows
    return np.where(there[:, None, None], fields[place], np.nan), rows


def fit_model(
    climatology: Climatology,
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    settings: FieldTrainingSettings,
    modes: int,
) -> LinearInverseModel:
    """The forecast model of a period whose climatology is known; see `LinearInverseModel.fit`."""
    mean = np.asarray(climatology.mean, np.float64)
    anomalies = gap_filled(slot_anomalies(fields, times, mean))
    varying = np.any(np.asarray(climatology.square_root) != 0, axis=-1)
    return LinearInverseModel.fit(
        climatology,
        np.where(varying[None], anomalies, 0.0),
        times,
        interval=settings.interval,
        modes=modes,
        shrinkage=settings.shrinkage,
    )


def usable_modes(
    climatology: Climatology, times: Int[np.ndarray, " time"], settings: FieldTrainingSettings
) -> int:
    """How many modes of the forecast model the states of a period tell anything about."""
    pairs = int(np.isin(times, times + settings.interval).sum())
    known = min(modes_of(climatology), pairs // PAIRS_PER_MODE)
    return min(settings.modes, max(known, 1))


def fit_period(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    grid: AbstractGrid,
    settings: FieldTrainingSettings,
    **options: Any,
) -> WindowStatistics:
    """The statistics of a period; see `fit_window_statistics` for the arguments and options."""
    return fit_window_statistics(
        fields,
        times,
        grid,
        interval=settings.interval,
        lag_interval=settings.lag_interval,
        n_lags=settings.window,
        **options,
    )


def fit_folds(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    grid: AbstractGrid,
    settings: FieldTrainingSettings,
    *,
    phase: int | None = None,
    **options: Any,
) -> Fold:
    """One fold for each block of a period, stacked along a leading axis.

    Arguments:
        fields, times: states of any cadence, with gaps, NaN where missing.
        grid: of the states.
        settings: of the training.
        phase: a minute at which a state can be analysed; by default that of the first state.
        **options: of `fit_window_statistics`.
    """
    states, rows = regular_rows(
        fields, times, settings.row_interval, int(times[0]) if phase is None else phase
    )
    length = len(rows) // settings.blocks
    blocks = [slice(k * length, (k + 1) * length) for k in range(settings.blocks)]
    outside = [(times < rows[block][0]) | (times > rows[block][-1]) for block in blocks]
    found = [fit_period(fields[rest], times[rest], grid, settings, **options) for rest in outside]
    modes = min(
        usable_modes(statistics.climatology, times[rest], settings)
        for statistics, rest in zip(found, outside, strict=True)
    )
    known = None if np.isfinite(states).all() else np.isfinite(states)
    folds = []
    for statistics, rest, block in zip(found, outside, blocks, strict=True):
        mean = np.asarray(statistics.climatology.mean, np.float64)
        anomalies = slot_anomalies(states[block], rows[block], mean)
        folds.append(
            Fold(
                statistics=statistics,
                model=fit_model(statistics.climatology, fields[rest], times[rest], settings, modes),
                anomalies=jnp.asarray(np.nan_to_num(anomalies), jnp.float32),
                known=None if known is None else jnp.asarray(known[block]),
                times=jnp.asarray(rows[block], jnp.int32),
            )
        )
    # EOFs beyond the shortest fold's hold next to no variance.
    rank = min(modes_of(fold.model.climatology) for fold in folds)
    cut = [
        eqx.tree_at(
            lambda f: (f.statistics.climatology.square_root, f.model.climatology.square_root),
            f,
            replace_fn=lambda root: root[..., :rank],
        )
        for f in folds
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *cut)


def draw_stream(
    fold: Fold,
    settings: FieldTrainingSettings,
    stations: int,
    error_sd: Float[Array, "2"],
    *,
    key: PRNGKeyArray,
) -> Streams:
    """A stream with random stations, start, observation error and amplitude.

    Arguments:
        fold: where its truth and statistics come from.
        settings: of the training.
        stations: how many.
        error_sd: smallest and largest error standard deviation of the network.
        key: of all that is drawn.
    """
    shape, dtype = fold.anomalies.shape[1:], fold.anomalies.dtype
    place_key, start_key, error_key, noise_key, weather_key = jax.random.split(key, 5)
    points = jax.random.permutation(place_key, fold.statistics.covariances.shape[-1])[:stations]
    operator = PointSampling(indices=points, state_shape=shape)
    smallest, largest = (f * sd for f, sd in zip(settings.errors, error_sd, strict=True))
    share = jax.random.uniform(error_key, (), dtype)
    error = (smallest + share * (largest - smallest)).astype(dtype)
    anomalies = fold.anomalies * jax.random.uniform(weather_key, (), dtype, *settings.amplitude)
    first_row = jax.random.randint(start_key, (), 0, fold.times.shape[0] - settings.needed_rows + 1)
    rows = (
        first_row
        + settings.rows_per_cycle * jnp.arange(settings.cycles)[:, None]
        + jnp.asarray(settings.window_rows)[None, :]
    )
    window_times = fold.times[rows]
    exact = jax.vmap(jax.vmap(operator))(anomalies[rows])
    departures = exact + error * jax.random.normal(noise_key, exact.shape, exact.dtype)
    errors = jnp.broadcast_to(error, exact.shape[1:])
    statistics = fold.statistics
    variance = jnp.diagonal(statistics.covariances[0])
    deviation = jnp.sqrt(variance).reshape(shape)

    def gain_of(seen, row_times):
        return window_gain(
            operator, statistics.covariances, statistics.lag_interval, seen, errors, row_times
        )

    def first_guess(seen, row_departures, row_times):
        gain = gain_of(seen, row_times)
        return gain.increment(row_departures), gain.spread(variance)

    if fold.known is None:
        known, seen = jnp.ones(fold.anomalies.shape, bool), jnp.ones(exact.shape, bool)
        gain = gain_of(seen[0], window_times[0])
        first_mean = jax.vmap(gain.increment)(departures)
        first_spread = jnp.broadcast_to(gain.spread(variance), first_mean.shape)
    else:
        known = fold.known
        seen = known[rows].reshape(*rows.shape, -1)[:, :, points]
        first_mean, first_spread = jax.lax.map(
            lambda one: first_guess(*one), (seen, departures, window_times)
        )

    def gridded(row_departures, row_seen, row_times):
        observations = Observations(row_departures, row_seen, errors, row_times)
        return grid_window(operator, row_departures, observations, deviation)

    return Streams(
        first_mean=first_mean.reshape(-1, *shape),
        first_spread=first_spread.reshape(-1, *shape),
        gridded=jax.vmap(gridded)(departures, seen, window_times),
        truth=anomalies[rows[:, -1]],
        known=known[rows[:, -1]],
        times=window_times[:, -1],
    )
