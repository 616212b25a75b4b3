"""Training of the field analysis on a single period, cross-fitted and on policy."""

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
from vardax_core.training.field_streams import (
    FieldTrainingSettings,
    Fold,
    Streams,
    draw_stream,
    fit_fold,
    fit_folds,
    needed_rows,
)
from vardax_core.training.statistics import UnfitPeriodError, WindowStatistics
from vardax_core.types import ensemble_mean, ensemble_spread


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
    latitude: Float[np.ndarray, " y"],
    longitude: Float[np.ndarray, " x"],
) -> FieldFeatures:
    """Position, daily amplitude and variance of every point as static inputs of order one."""

    def standard(field):
        return (field - field.mean()) / max(float(field.std()), 1e-6)

    scale = np.sqrt(np.asarray(statistics.variance, np.float64))
    amplitude = np.ptp(np.asarray(statistics.climatology.mean, np.float64), axis=0)
    position = np.meshgrid(standard(latitude), standard(longitude), indexing="ij")
    static = [*position, standard(np.log(amplitude)), standard(np.log(scale))]
    return FieldFeatures(
        scale=jnp.asarray(scale, jnp.float32),
        static=jnp.asarray(np.stack(static), jnp.float32),
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
    """Loss of one analysis against the truth, and its ensemble."""
    time = stream.times[cycle]
    climate = model.climatology.mean_at(time)
    mean, spread = ensemble_mean(ensemble), ensemble_spread(ensemble)
    new_mean, new_spread = corrected_moments(
        network,
        features,
        stream.first_mean[cycle],
        stream.first_spread,
        mean - climate,
        spread,
        jax.tree.map(lambda x: x[cycle], stream.gridded),
        time,
    )
    truth = stream.truth[cycle]
    departure = (truth - new_mean) / new_spread
    loss = jnp.mean(jnp.log(new_spread / features.scale) + departure**2 / 2)
    if settings.crps_weight > 0:
        score = gaussian_crps(truth, new_mean, new_spread) / features.scale
        loss = loss + settings.crps_weight * jnp.mean(score)
    analysis = recentre_and_rescale(ensemble, mean, spread, climate + new_mean, new_spread)
    return loss, jax.lax.stop_gradient(analysis)


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
    folds: Fold, settings: FieldTrainingSettings, stations: int, *, key: PRNGKeyArray
) -> tuple[Streams, Float[Array, "fold stream member y x"]]:
    """New streams for every fold, and backgrounds drawn from its climatology."""
    stream_key, background_key = jax.random.split(key)
    shape = (settings.blocks, settings.streams)

    def in_fold(fold, keys):
        return jax.vmap(lambda k: draw_stream(fold, settings, stations, key=k))(keys)

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
    for number in range(settings.draws):
        draw_key, cycle_key = jax.random.split(jax.random.fold_in(stream_key, number))
        stations = settings.station_counts[number % len(settings.station_counts)]
        streams, backgrounds = draw_streams(folds, settings, stations, key=draw_key)
        network, rule_state, loss = learn(
            network, rule_state, folds, features, settings, streams, backgrounds, key=cycle_key
        )
        on_step((number + 1) * settings.cycles, float(loss))
    return network


def train_field_analysis(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    latitude: Float[np.ndarray, " y"],
    longitude: Float[np.ndarray, " x"],
    settings: FieldTrainingSettings,
    *,
    key: PRNGKeyArray,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    **statistics: Any,
) -> FieldAnalysis:
    """Fit statistics and forecast model to a period, and train the analysis network on it.

    The network is trained on analyses of each block of the period with the statistics of the
    other blocks; what is returned uses the statistics of all of it.

    Arguments:
        fields: training states, `settings.lag_interval` minutes apart, in K or any unit.
        times: minutes since `MINUTES_EPOCH`.
        latitude, longitude: degrees.
        settings: of the training.
        key: all randomness; two trainings with one key give the same weights.
        on_step: called with the number of gradient steps done and the mean loss since the last.
        **statistics: passed on to `fit_window_statistics`.

    Raises:
        UnfitPeriodError: if the period is not regular in time or too short for the blocks.
    """
    if np.any(np.diff(times) != settings.lag_interval):
        raise UnfitPeriodError(
            f"train_field_analysis: states must follow each other every {settings.lag_interval} "
            "minutes without gaps; fill or cut the period."
        )
    if len(times) // settings.blocks < needed_rows(settings):
        raise UnfitPeriodError(
            f"train_field_analysis: {len(times)} states in {settings.blocks} blocks, but a "
            f"stream spans {needed_rows(settings)}; give a longer period or fewer cycles."
        )
    none = np.zeros(len(times), bool)
    full, model, _ = fit_fold(fields, times, latitude, longitude, none, settings, **statistics)
    features = field_features(full, latitude, longitude)
    folds = fit_folds(fields, times, latitude, longitude, settings, **statistics)
    network = train_network(folds, features, settings, key=key, on_step=on_step)
    return FieldAnalysis(statistics=full, model=model, features=features, network=network)
