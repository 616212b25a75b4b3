"""Training of the field network on streams that go on from its own analyses."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.field_step import (
    FieldFeatures,
    corrected_moments,
    recentre_and_rescale,
)
from vardax_core.calibration.statistics import gaussian_crps
from vardax_core.training.field_streams import (
    FieldTrainingSettings,
    Fold,
    ObservingNetwork,
    Streams,
    draw_stream,
)
from vardax_core.training.loop import Look, LoopSettings, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.optimizer import OptimizerSettings
from vardax_core.types import ensemble_mean, ensemble_spread

WARM_UP = 10
"""The rate rises over this fraction of a training."""


class Moment(NamedTuple):
    """One cycle of every stream of every fold, all with leading axes (fold, stream).

    Attributes:
        stream: one cycle of `Streams`.
        climate: mean of the fold's climatology.
        ensemble: the background.
        keys: of the forecasts.
    """

    stream: Streams
    climate: Float[Array, "fold stream y x"]
    ensemble: Float[Array, "fold stream member y x"]
    keys: Shaped[Array, "fold stream *key"]


class FieldScore(AbstractObjective):
    """The negative log-likelihood of the truth at every point, and its CRPS if that has a weight.

    Attributes:
        static: the network without its weights.
        features: fixed inputs of the network.
        crps_weight: weight of the CRPS, in climatological standard deviations.
    """

    static: Any
    features: FieldFeatures
    crps_weight: float = eqx.field(static=True)
    name: ClassVar[str] = "The field analysis"
    repair: ClassVar[str] = "look for impossible values in the training period"
    measures: ClassVar[tuple[str, ...]] = ()

    def loss(self, weights: Any, given: Moment) -> tuple[Float[Array, ""], Found]:
        network = eqx.combine(weights, self.static)

        def analyse(
            stream: Streams, climate: Array, ensemble: Array
        ) -> tuple[Float[Array, ""], Float[Array, "member y x"]]:
            return self._analyse(network, stream, climate, ensemble)

        losses, analyses = jax.vmap(jax.vmap(analyse))(given.stream, given.climate, given.ensemble)
        return jnp.mean(losses), Found(losses.reshape(-1), analyses)

    def _analyse(
        self, network: FieldNetwork, stream: Streams, climate: Array, ensemble: Array
    ) -> tuple[Float[Array, ""], Float[Array, "member y x"]]:
        """Loss of one analysis against the truth, and its ensemble.

        The loss is a mean over the points that vary and whose truth is known; zero if there is
        none.
        """
        scale = self.features.scale
        mean, spread = ensemble_mean(ensemble), ensemble_spread(ensemble)
        new_mean, new_spread = corrected_moments(
            network,
            self.features,
            stream.first_mean,
            stream.first_spread,
            mean - climate,
            spread,
            stream.gridded,
            stream.times,
        )
        scored = stream.known & (stream.first_spread > 0)
        sd = jnp.where(scored, new_spread, scale)
        loss = jnp.log(sd / scale) + ((stream.truth - new_mean) / sd) ** 2 / 2
        if self.crps_weight > 0:
            crps = gaussian_crps(stream.truth, new_mean, sd) / scale
            loss = loss + self.crps_weight * crps
        count = jnp.maximum(jnp.sum(scored), 1).astype(loss.dtype)
        mean_loss = jnp.sum(jnp.where(scored, loss, 0.0)) / count
        analysis = recentre_and_rescale(ensemble, mean, spread, climate + new_mean, new_spread)
        return mean_loss, jax.lax.stop_gradient(analysis)


class FieldCycles(AbstractPairs):
    """Cycled streams of every fold, drawn anew for every chunk; what is carried are backgrounds.

    Attributes:
        folds: stacked.
        settings: of the training.
        observed: the observing network about which stations and errors are drawn.
        key: folded with the number of the chunk.
    """

    folds: Fold
    settings: FieldTrainingSettings
    observed: ObservingNetwork
    key: PRNGKeyArray

    def deal(
        self, state: Array | None, first: int, count: int
    ) -> tuple[Float[Array, "fold stream member y x"], tuple[Streams, Array]]:
        number = first // self.settings.cycles
        draw_key, cycle_key = jax.random.split(jax.random.fold_in(self.key, number))
        points = self.folds.anomalies[0, 0].size
        streams, backgrounds = draw_streams(
            self.folds,
            self.settings,
            self.settings.stations(self.observed, points, number),
            jnp.asarray(self.observed.error_sd, self.folds.anomalies.dtype),
            key=draw_key,
        )
        keys = jax.vmap(
            lambda cycle: jax.random.split(
                jax.random.fold_in(cycle_key, cycle), (self.settings.blocks, self.settings.streams)
            )
        )(jnp.arange(count))
        return backgrounds, (jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), streams), keys)

    def given(self, state: Array, row: tuple[Streams, Array]) -> Moment:
        stream, keys = row
        climate = over_streams(lambda m, t: m.climatology.mean_at(t), self.folds, stream.times)
        return Moment(stream, climate, state, keys)

    def follow(self, given: Moment, outcome: Array) -> Array:
        def forecast(model: Any, time: Array, ensemble: Array, key: PRNGKeyArray) -> Array:
            return model.forecast(ensemble, time, key=key)

        return over_streams(forecast, self.folds, given.stream.times, outcome, given.keys)


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
    weights, static = eqx.partition(network, eqx.is_array)
    optimizer = OptimizerSettings(
        steps=settings.n_steps,
        learning_rate=settings.learning_rate,
        warm_up=min(max(settings.n_steps // WARM_UP, 1), settings.n_steps - 1),
        clip=settings.clip,
        weight_decay=settings.weight_decay,
        decay_vectors=True,
        skip=settings.n_steps,
    )

    def on_look(look: Look) -> None:
        on_step(look.done, look.loss)

    trained = train(
        weights,
        FieldScore(static, features, settings.crps_weight),
        FieldCycles(folds, settings, observed, stream_key),
        LoopSettings(optimizer, chunk=settings.cycles),
        on_look=on_look,
    )
    return eqx.combine(trained.weights, static)
