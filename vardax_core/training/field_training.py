"""Training of the field analysis on a single period, cross-fitted and on policy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.field_step import (
    FieldFeatures,
    FieldStep,
    corrected_moments,
    recentre_and_rescale,
)
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation
from vardax_core.calibration.statistics import gaussian_crps
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.field_streams import (
    FieldTrainingSettings,
    Fold,
    ObservingNetwork,
    Streams,
    draw_stream,
    fit_folds,
    fit_model,
    fit_period,
    regular_rows,
    usable_modes,
)
from vardax_core.training.slots import UnfitPeriodError, slots_of_day
from vardax_core.training.statistics import (
    WindowStatistics,
    daily_amplitude,
    typical_deviation,
)
from vardax_core.types import ensemble_mean, ensemble_spread

FEWEST_CYCLES = 2


class FieldAnalysis(eqx.Module):
    """All that a training period leaves behind for cycling.

    Attributes:
        statistics: climatology and lagged covariances of the whole period.
        model: forecast model fitted on the whole period.
        features, network: of the analysis step.
    """

    statistics: WindowStatistics
    model: LinearInverseModel
    features: FieldFeatures
    network: FieldNetwork

    def step(self, operator: AbstractObservationOperator) -> FieldStep:
        """The analysis step for one network of stations."""
        return FieldStep(
            operator=operator,
            first_guess=window_interpolation(self.statistics, operator),
            features=self.features,
            network=self.network,
        )


def window_interpolation(
    statistics: WindowStatistics, operator: AbstractObservationOperator
) -> WindowInterpolation:
    """Space-time optimal interpolation with fitted statistics."""
    return WindowInterpolation.from_covariances(
        operator, statistics.climatology, statistics.covariances, statistics.lag_interval
    )


def field_features(
    statistics: WindowStatistics,
    grid: AbstractGrid,
) -> FieldFeatures:
    """Position, daily amplitude and variance of every point as static inputs of order one.

    Where nothing is known of a point, its variance is that of a typical one, and its surface the
    mean of all.
    """
    scale = np.sqrt(np.asarray(statistics.variance, np.float64))
    varying = scale > 0
    amplitude = daily_amplitude(np.asarray(statistics.climatology.mean, np.float64), scale)
    scale = np.where(varying, scale, typical_deviation(scale))

    def standard(field, among):
        chosen = field[among]
        standardised = (field - chosen.mean()) / max(float(chosen.std()), 1e-6)
        return np.where(among, standardised, 0.0)

    everywhere = np.ones(grid.shape, bool)
    position = (
        standard(axis, everywhere) for axis in np.moveaxis(np.asarray(grid.positions()), -1, 0)
    )
    surface = (standard(np.log(field), varying) for field in (amplitude, scale))
    return FieldFeatures(
        scale=jnp.asarray(scale, jnp.float32),
        static=jnp.asarray(np.stack([*position, *surface]), jnp.float32),
    )


def analyse_cycle(
    network: FieldNetwork,
    features: FieldFeatures,
    model: LinearInverseModel,
    stream: Streams,
    ensemble: Float[Array, "member y x"],
    cycle: Int[Array, ""],
    settings: FieldTrainingSettings,
) -> tuple[Float[Array, ""], Float[Array, "member y x"]]:
    """Loss of one analysis against the truth, and its ensemble.

    The loss is a mean over the points that vary and whose truth is known; zero if there is none.
    """
    time = stream.times[cycle]
    climate = model.climatology.mean_at(time)
    mean, spread = ensemble_mean(ensemble), ensemble_spread(ensemble)
    new_mean, new_spread = corrected_moments(
        network,
        features,
        stream.first_mean[cycle],
        stream.first_spread[cycle],
        mean - climate,
        spread,
        jax.tree.map(lambda x: x[cycle], stream.gridded),
        time,
    )
    truth = stream.truth[cycle]
    scored = stream.known[cycle] & (stream.first_spread[cycle] > 0)
    sd = jnp.where(scored, new_spread, features.scale)
    loss = jnp.log(sd / features.scale) + ((truth - new_mean) / sd) ** 2 / 2
    if settings.crps_weight > 0:
        crps = gaussian_crps(truth, new_mean, sd) / features.scale
        loss = loss + settings.crps_weight * crps
    count = jnp.maximum(jnp.sum(scored), 1).astype(loss.dtype)
    mean_loss = jnp.sum(jnp.where(scored, loss, 0.0)) / count
    analysis = recentre_and_rescale(ensemble, mean, spread, climate + new_mean, new_spread)
    return mean_loss, jax.lax.stop_gradient(analysis)


def optimizer(settings: FieldTrainingSettings) -> optax.GradientTransformation:
    """AdamW with clipping, warm-up and cosine decay; non-finite gradients are skipped."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, max(settings.n_steps // 10, 1), settings.n_steps
    )
    update = optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optax.adamw(schedule, weight_decay=settings.weight_decay),
    )
    return optax.apply_if_finite(update, max_consecutive_errors=settings.n_steps)


def over_streams(function: Callable, folds: Fold, *streams: Any) -> Any:
    """Apply `function(model, *stream)` to every stream of every fold.

    Arguments:
        function: of a fold's forecast model and of one element of each of `streams`.
        folds: stacked.
        *streams: arrays or modules with leading axes (fold, stream).
    """

    def in_fold(fold, *inside):
        return jax.vmap(lambda *one: function(fold.model, *one))(*inside)

    return eqx.filter_vmap(in_fold)(folds, *streams)


@eqx.filter_jit
def draw_streams(
    folds: Fold,
    settings: FieldTrainingSettings,
    stations: int,
    error_sd: Float[Array, "2"],
    *,
    key: PRNGKeyArray,
) -> tuple[Streams, Float[Array, "fold stream member y x"]]:
    """New streams for every fold, and backgrounds drawn from its climatology."""
    stream_key, background_key = jax.random.split(key)
    shape = (settings.blocks, settings.streams)

    def in_fold(fold, keys):
        return jax.vmap(lambda k: draw_stream(fold, settings, stations, error_sd, key=k))(keys)

    def background(model, stream, k):
        none = jnp.zeros((settings.members, *model.state_shape), folds.anomalies.dtype)
        before = stream.times[0] - model.climatology.interval
        return model.climatology.forecast(none, before, key=k)

    streams = eqx.filter_vmap(in_fold)(folds, jax.random.split(stream_key, shape))
    keys = jax.random.split(background_key, shape)
    return streams, over_streams(background, folds, streams, keys)


@eqx.filter_jit
def learn(
    network: FieldNetwork,
    rule_state: optax.OptState,
    folds: Fold,
    features: FieldFeatures,
    settings: FieldTrainingSettings,
    streams: Streams,
    backgrounds: Float[Array, "fold stream member y x"],
    *,
    key: PRNGKeyArray,
) -> tuple[FieldNetwork, optax.OptState, Float[Array, ""]]:
    """Run all streams to their end with one gradient step a cycle.

    Returns:
        The network, the state of the optimizer and the mean loss.
    """
    rule = optimizer(settings)
    arrays, static = eqx.partition(network, eqx.is_array)

    def loss(arrays, ensembles, cycle):
        net = eqx.combine(arrays, static)

        def analyse(model, stream, ensemble):
            return analyse_cycle(net, features, model, stream, ensemble, cycle, settings)

        losses, analyses = over_streams(analyse, folds, streams, ensembles)
        return jnp.mean(losses), analyses

    def body(carry, cycle):
        arrays, rule_state, ensembles = carry
        (value, analyses), gradient = jax.value_and_grad(loss, has_aux=True)(
            arrays, ensembles, cycle
        )
        # Optax mixes step counts with floats and scalars with arrays.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, rule_state = rule.update(gradient, rule_state, arrays)
            arrays = optax.apply_updates(arrays, updates)

        def forecast(model, stream, ensemble, k):
            return model.forecast(ensemble, stream.times[cycle], key=k)

        keys = jax.random.split(jax.random.fold_in(key, cycle), (settings.blocks, settings.streams))
        return (arrays, rule_state, over_streams(forecast, folds, streams, analyses, keys)), value

    (arrays, rule_state, _), losses = jax.lax.scan(
        body, (arrays, rule_state, backgrounds), jnp.arange(settings.cycles)
    )
    return eqx.combine(arrays, static), rule_state, jnp.mean(losses)


def train_network(
    folds: Fold,
    features: FieldFeatures,
    observed: ObservingNetwork,
    settings: FieldTrainingSettings,
    *,
    key: PRNGKeyArray,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> FieldNetwork:
    """Train the network on cycled streams in all folds.

    Every stream goes on from the network's own analysis, forecast by the fold's model; no
    gradient passes through the forecast.

    Arguments:
        folds: as from `fit_folds`.
        features: fixed inputs of the network.
        observed: the observing network about which the streams' stations and errors are drawn.
        settings: of the training.
        key: initial weights, networks of stations, starts, noise and forecasts.
        on_step: called with the number of gradient steps done and the mean loss since the last
            call.
    """
    network_key, stream_key = jax.random.split(key)
    network = FieldNetwork(
        features.n_channels(settings.window),
        2,
        hidden=settings.hidden,
        dilations=settings.dilations,
        dtype=features.scale.dtype,
        key=network_key,
    )
    rule_state = optimizer(settings).init(eqx.filter(network, eqx.is_array))
    error_sd = jnp.asarray(observed.error_sd, features.scale.dtype)
    for number in range(settings.draws):
        draw_key, cycle_key = jax.random.split(jax.random.fold_in(stream_key, number))
        stations = settings.stations(observed, features.scale.size, number)
        streams, backgrounds = draw_streams(folds, settings, stations, error_sd, key=draw_key)
        network, rule_state, loss = learn(
            network, rule_state, folds, features, settings, streams, backgrounds, key=cycle_key
        )
        on_step((number + 1) * settings.cycles, float(loss))
    return network


def plan_for(rows: int, settings: FieldTrainingSettings) -> FieldTrainingSettings:
    """The same training in a period of so many states, `row_interval` apart, with shorter streams
    or fewer blocks where it is short.

    Raises:
        UnfitPeriodError: if a block of half of the period does not hold two cycles.
    """
    one_cycle = dataclasses.replace(settings, cycles=1).needed_rows
    for blocks in range(settings.blocks, 1, -1):
        cycles = min(settings.cycles, (rows // blocks - one_cycle) // settings.rows_per_cycle + 1)
        if cycles >= min(FEWEST_CYCLES, settings.cycles):
            draws = -(-settings.n_steps // cycles)
            return dataclasses.replace(settings, blocks=blocks, cycles=cycles, draws=draws)
    needed = 2 * dataclasses.replace(settings, cycles=FEWEST_CYCLES).needed_rows
    raise UnfitPeriodError(
        f"A training period of {rows} states every {settings.row_interval} minutes is too short: "
        f"each half of it has to hold {FEWEST_CYCLES} cycles every {settings.interval} minutes, "
        f"so it needs {needed} states or more; lengthen it."
    )


def train_field_analysis(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    grid: AbstractGrid,
    observed: ObservingNetwork,
    settings: FieldTrainingSettings,
    *,
    key: PRNGKeyArray,
    phase: int | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    **statistics: Any,
) -> FieldAnalysis:
    """Fit statistics and forecast model to a period, and train the analysis network on it.

    The network is trained on analyses of each block of the period with the statistics of the
    other blocks; what is returned uses the statistics of all of it. A change of unit changes the
    result by nothing but that unit.

    Arguments:
        fields: training states in any unit, NaN where missing.
        times: minutes since `MINUTES_EPOCH`, increasing, of any cadence and with gaps.
        grid: of the states.
        observed: the observing network that the analysis is for.
        settings: of the training; a short period has fewer cycles in a stream.
        key: all randomness; two trainings with one key give the same weights.
        phase: a minute at which a state can be analysed; by default that of the first state.
        on_step: called with the number of gradient steps done and the mean loss since the last.
        **statistics: passed on to `fit_window_statistics`.

    Raises:
        UnfitPeriodError: if the period is too short, no point of it varies, or no two states are
            an interval apart.
    """
    phase = int(times[0]) if phase is None else phase
    states, rows = regular_rows(fields, times, settings.row_interval, phase)
    if not np.isin(times, times + settings.interval).any() or not np.isfinite(states).any():
        raise UnfitPeriodError(
            f"The {len(times)} states of the training period hold no two that are one interval of "
            f"{settings.interval} minutes apart and at times of an analysis; give states at least "
            "that often, or lengthen cycle_interval."
        )
    settings = plan_for(len(rows), settings)
    statistics = {"slots": slots_of_day(times), **statistics}
    full = fit_period(fields, times, grid, settings, **statistics)
    model = fit_model(full, fields, times, settings, usable_modes(full, times, settings))
    features = field_features(full, grid)
    folds = fit_folds(fields, times, grid, settings, phase=phase, **statistics)
    network = train_network(folds, features, observed, settings, key=key, on_step=on_step)
    return FieldAnalysis(statistics=full, model=model, features=features, network=network)
