"""Cycled streams of analyses over a training period, with cross-fitted statistics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.field_step import GriddedWindow, grid_window
from vardax_core.analysis.variational.window_interpolation import window_gain
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.observations.operators import PointSampling
from vardax_core.training.statistics import (
    WindowStatistics,
    fit_window_statistics,
    slot_anomalies,
)
from vardax_core.types import Observations


class FieldTrainingSettings(eqx.Module):
    """How the field analysis is trained.

    Attributes:
        blocks: parts of the period; each is analysed with statistics of the others.
        streams: parallel cycles in each block.
        draws: times that every stream gets a new network of stations and a new start.
        cycles: cycles of a stream between two draws; one gradient step each.
        station_counts: sizes of the random networks, taken in turn.
        error_sd: smallest and largest observation error standard deviation.
        amplitude: smallest and largest factor on the anomalies of a stream, so that the network
            meets weather calmer and rougher than that of the period.
        members: members that carry the background of a stream.
        window: observation times in a window, `lag_interval` minutes apart.
        lag_interval: minutes.
        interval: minutes between two cycles.
        modes, shrinkage: of the linear inverse model.
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
    station_counts: tuple[int, ...] = eqx.field(static=True, default=(80, 20, 80, 160, 40, 320))
    error_sd: tuple[float, float] = eqx.field(static=True, default=(0.4, 0.6))
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


class Streams(eqx.Module):
    """What the network needs of some cycles of a stream, before the background is known.

    Attributes:
        first_mean, truth: as anomalies from the climatology.
        first_spread: the same in all cycles.
        gridded: windows.
        times: analysis times in minutes.
    """

    first_mean: Float[Array, "cycle y x"]
    first_spread: Float[Array, "y x"]
    gridded: GriddedWindow
    truth: Float[Array, "cycle y x"]
    times: Int[Array, " cycle"]


class Fold(eqx.Module):
    """One block of the period with the statistics of the others.

    Attributes:
        statistics, model: fitted on the other blocks.
        anomalies: of the block's states, from that climatology.
        times: of the block's states, in minutes.
    """

    statistics: WindowStatistics
    model: LinearInverseModel
    anomalies: Float[Array, "time y x"]
    times: Int[Array, " time"]


def fit_fold(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    latitude: Float[np.ndarray, " y"],
    longitude: Float[np.ndarray, " x"],
    inside: Bool[np.ndarray, " time"],
    settings: FieldTrainingSettings,
    **options: Any,
) -> tuple[WindowStatistics, LinearInverseModel, Float[np.ndarray, "inside y x"]]:
    """Statistics and model fitted outside `inside`, and the anomalies inside it.

    See `fit_window_statistics` for the arguments and options.
    """
    statistics = fit_window_statistics(
        fields,
        times,
        latitude,
        longitude,
        select=~inside,
        interval=settings.interval,
        lag_interval=settings.lag_interval,
        n_lags=settings.window,
        **options,
    )
    mean = np.asarray(statistics.climatology.mean, np.float64)
    anomalies = slot_anomalies(fields, times, mean)
    model = LinearInverseModel.fit(
        statistics.climatology,
        anomalies[~inside],
        times[~inside],
        interval=settings.interval,
        modes=settings.modes,
        shrinkage=settings.shrinkage,
    )
    return statistics, model, anomalies[inside]


def fit_folds(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    latitude: Float[np.ndarray, " y"],
    longitude: Float[np.ndarray, " x"],
    settings: FieldTrainingSettings,
    **options: Any,
) -> Fold:
    """One fold for each block of a period, stacked along a leading axis.

    See `fit_window_statistics` for the arguments and options.
    """
    length = len(times) // settings.blocks
    folds = []
    for block in range(settings.blocks):
        inside = np.zeros(len(times), bool)
        inside[block * length : (block + 1) * length] = True
        statistics, model, anomalies = fit_fold(
            fields, times, latitude, longitude, inside, settings, **options
        )
        folds.append(
            Fold(
                statistics=statistics,
                model=model,
                anomalies=jnp.asarray(anomalies, jnp.float32),
                times=jnp.asarray(times[inside], jnp.int32),
            )
        )
    # EOFs beyond the shortest fold's hold next to no variance.
    rank = min(f.model.climatology.square_root.shape[-1] for f in folds)
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
    fold: Fold, settings: FieldTrainingSettings, stations: int, *, key: PRNGKeyArray
) -> Streams:
    """A stream with random stations, start, observation error and amplitude."""
    shape = fold.anomalies.shape[1:]
    place_key, start_key, error_key, noise_key, weather_key = jax.random.split(key, 5)
    points = jax.random.permutation(place_key, fold.statistics.covariances.shape[-1])[:stations]
    operator = PointSampling(indices=points, state_shape=shape)
    dtype = fold.anomalies.dtype
    error_sd = jax.random.uniform(error_key, (), dtype, *settings.error_sd)
    anomalies = fold.anomalies * jax.random.uniform(weather_key, (), dtype, *settings.amplitude)
    per_cycle = settings.interval // settings.lag_interval
    first_row = jax.random.randint(
        start_key, (), 0, fold.times.shape[0] - needed_rows(settings) + 1
    )
    rows = (
        first_row
        + per_cycle * jnp.arange(settings.cycles)[:, None]
        + jnp.arange(settings.window)[None, :]
    )
    window_times = fold.times[rows]
    exact = jax.vmap(jax.vmap(operator))(anomalies[rows])
    noise = jax.random.normal(noise_key, exact.shape, exact.dtype)
    departures = exact + error_sd * noise
    seen = jnp.ones((settings.window, stations), bool)
    errors = jnp.broadcast_to(error_sd, seen.shape)
    statistics = fold.statistics
    gain = window_gain(
        operator, statistics.covariances, statistics.lag_interval, seen, errors, window_times[0]
    )
    explained = jnp.sum(gain.whitened() ** 2, axis=0).reshape(shape)

    def gridded(row_departures, row_times):
        observations = Observations(row_departures, seen, errors, row_times)
        return grid_window(operator, row_departures, observations)

    return Streams(
        first_mean=jax.vmap(gain.increment)(departures).reshape(-1, *shape),
        first_spread=jnp.sqrt(jnp.maximum(statistics.variance - explained, 0.0)),
        gridded=jax.vmap(gridded)(departures, window_times),
        truth=anomalies[rows[:, -1]],
        times=window_times[:, -1],
    )


def needed_rows(settings: FieldTrainingSettings) -> int:
    """States that one stream spans."""
    per_cycle = settings.interval // settings.lag_interval
    return (settings.cycles - 1) * per_cycle + settings.window
