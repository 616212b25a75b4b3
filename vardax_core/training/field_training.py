"""Training of the field analysis on a single period, cross-fitted and on policy."""

from collections.abc import Callable

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
    GriddedWindow,
    corrected_moments,
    grid_window,
    recentre_and_rescale,
)
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation, window_gain
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import PointSampling
from vardax_core.training.statistics import (
    UnfitPeriodError,
    WindowStatistics,
    fit_window_statistics,
    slot_anomalies,
)
from vardax_core.types import Observations, ensemble_mean, ensemble_spread


class FieldTrainingSettings(eqx.Module):
    """How the field analysis is trained.

    Attributes:
        blocks: parts of the period; each is analysed with statistics of the others.
        streams: parallel cycles in each block.
        draws: times that every stream gets a new network of stations and a new start.
        cycles: cycles of a stream between two draws; one gradient step each.
        station_counts: sizes of the random networks, taken in turn.
        error_sd: smallest and largest observation error standard deviation.
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
    draws: int = eqx.field(static=True, default=60)
    cycles: int = eqx.field(static=True, default=10)
    station_counts: tuple[int, ...] = eqx.field(static=True, default=(80, 20, 80, 160, 40, 320))
    error_sd: tuple[float, float] = eqx.field(static=True, default=(0.4, 0.6))
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


def fit_fold(fields, times, latitude, longitude, inside, settings, **options):
    """Fit statistics and model outside `inside`; keep the anomalies inside it."""
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


def fit_folds(fields, times, latitude, longitude, settings, **options) -> Fold:
    """The folds of a period, stacked along a leading axis."""
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
    """A stream with a random network of `stations` points, start and observation error."""
    shape = fold.anomalies.shape[1:]
    place_key, start_key, error_key, noise_key = jax.random.split(key, 4)
    points = jax.random.permutation(place_key, fold.statistics.covariances.shape[-1])[:stations]
    operator = PointSampling(indices=points, state_shape=shape)
    low, high = settings.error_sd
    error_sd = jax.random.uniform(error_key, (), fold.anomalies.dtype, low, high)
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
    exact = jax.vmap(jax.vmap(operator))(fold.anomalies[rows])
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
        truth=fold.anomalies[rows[:, -1]],
        times=window_times[:, -1],
    )


def needed_rows(settings: FieldTrainingSettings) -> int:
    """States that one stream spans."""
    per_cycle = settings.interval // settings.lag_interval
    return (settings.cycles - 1) * per_cycle + settings.window


def gaussian_crps(
    mean: Float[Array, "*state"], spread: Float[Array, "*state"], truth: Float[Array, "*state"]
) -> Float[Array, "*state"]:
    """Continuous ranked probability score of a Gaussian, in the unit of the state.

    Source: Gneiting et al. (2005), doi:10.1175/MWR2904.1, equation 5.
    """
    z = (truth - mean) / spread
    density = jax.scipy.stats.norm.pdf(z)
    inside = 2 * jax.scipy.stats.norm.cdf(z) - 1
    return spread * (z * inside + 2 * density - jnp.pi**-0.5)


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
        score = gaussian_crps(new_mean, new_spread, truth) / features.scale
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
    rule = optimizer(settings)
    rule_state = rule.init(eqx.filter(network, eqx.is_array))

    @eqx.filter_jit
    def draw(stations, key):
        keys = jax.random.split(key, (settings.blocks, settings.streams))
        return eqx.filter_vmap(
            lambda fold, ks: jax.vmap(lambda k: draw_stream(fold, settings, stations, key=k))(ks)
        )(folds, keys)

    @eqx.filter_jit
    def start(key):
        def members(fold, k):
            root = fold.model.climatology.square_root
            count = settings.streams * settings.members
            noise = jax.random.normal(k, (root.shape[-1], count), root.dtype)
            drawn = jnp.moveaxis(root @ noise, -1, 0)
            return drawn.reshape(settings.streams, settings.members, *drawn.shape[1:])

        return eqx.filter_vmap(members)(folds, jax.random.split(key, settings.blocks))

    @eqx.filter_jit
    def learn(network, rule_state, streams, anomalies, key):
        arrays, static = eqx.partition(network, eqx.is_array)

        def background(fold_model, stream, anomaly):
            return fold_model.climatology.mean_at(stream.times[0])[None] + anomaly

        def over_streams(function, *args):
            """Apply (model, stream, *) to every stream of every fold."""
            return eqx.filter_vmap(
                lambda fold, *rest: jax.vmap(lambda *one: function(fold.model, *one))(*rest)
            )(folds, *args)

        def loss(arrays, ensembles, cycle):
            net = eqx.combine(arrays, static)
            losses, analyses = over_streams(
                lambda model, stream, ensemble: analyse_cycle(
                    net, features, model, stream, ensemble, cycle, settings
                ),
                streams,
                ensembles,
            )
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
            keys = jax.random.split(
                jax.random.fold_in(key, cycle), (settings.blocks, settings.streams)
            )
            ensembles = over_streams(
                lambda model, stream, ensemble, k: model.forecast(
                    ensemble, stream.times[cycle], key=k
                ),
                streams,
                analyses,
                keys,
            )
            return (arrays, rule_state, ensembles), value

        ensembles = over_streams(background, streams, anomalies)
        (arrays, rule_state, _), losses = jax.lax.scan(
            body, (arrays, rule_state, ensembles), jnp.arange(settings.cycles)
        )
        return eqx.combine(arrays, static), rule_state, jnp.mean(losses)

    for number in range(settings.draws):
        draw_key, start_key, cycle_key = jax.random.split(jax.random.fold_in(stream_key, number), 3)
        stations = settings.station_counts[number % len(settings.station_counts)]
        streams = draw(stations, draw_key)
        network, rule_state, loss_value = learn(
            network, rule_state, streams, start(start_key), cycle_key
        )
        on_step((number + 1) * settings.cycles, float(loss_value))
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
    **statistics,
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
