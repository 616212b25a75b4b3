"""Experiments on a simulated truth: the model is known, so learning needs no data."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.amortized.ring_network import RingNetwork
from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.trust import DepartureMonitor
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.data.truth_sources import TwinSource
from vardax_core.data.twin import draw_network
from vardax_core.experiments.fallback import FALLBACK
from vardax_core.experiments.prepared import Prepared, Progress, experiment_key, load_trained
from vardax_core.experiments.settings import (
    FALLBACKS,
    ExperimentSettings,
    Method,
    training_digest,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.settings import AbstractModelSettings
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import sampling
from vardax_core.training.convergence import judged
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.on_policy import OnPolicySettings, train_on_policy
from vardax_core.training.promotion import gate_provenance
from vardax_core.training.registry import ModelRegistry, ModelVersion
from vardax_core.training.spread_calibration import calibrate_spread
from vardax_core.training.trusted_cycles import calibrated_monitor
from vardax_core.training.twin_cycles import TwinPlan, climate_range

FACTORY = "ring-network"
SIMULATED = "simulated"
"""The data digest of what was learned from simulations."""
FREE_RUN_STEPS = 20000
SPIN_UP_STEPS = 1000
SPREAD_PLAN = TwinPlan(streams=32, cycles=120, spin_up=60)
SPREAD_TRIALS, SPREAD_REPEATS = 5, 2
"""Moves tried after training, and measurements of each, if the noise needs them."""


def model_name(recipe: Recipe) -> str:
    """Name under which the registry holds the recipe's trained network."""
    return f"{recipe.name}-amortized"


def twin_source(recipe: Recipe) -> TwinSource:
    """Give the source of a twin.

    Raises:
        ValueError: if the recipe is no twin.
    """
    if recipe.source.kind != "twin":
        raise ValueError(
            f"Recipe '{recipe.name}': expected a source of kind twin, got {recipe.source.kind}; "
            "use the experiments on a data set."
        )
    return recipe.source


def forecast_model(recipe: Recipe) -> AbstractForecastModel:
    """The model that makes a twin's forecasts.

    Raises:
        ValueError: if the recipe is no twin.
    """
    source = twin_source(recipe)
    return source.forecast_settings.build(duration_to_minutes(source.step_interval))


def recipe_climatology(recipe: Recipe) -> Climatology:
    """Find the climatology of the model that makes a twin's forecasts.

    Raises:
        ValueError: if the recipe is no twin.
    """
    source = twin_source(recipe)
    minutes = duration_to_minutes(source.step_interval)
    return free_run_climatology(source.forecast_settings, minutes)


def observed_points(recipe: Recipe) -> AbstractObservationOperator:
    """Make the observation operator of a twin's network."""
    shape = forecast_model(recipe).state_shape
    return sampling(draw_network(recipe, shape), shape)


def free_run_climatology(settings: AbstractModelSettings, interval: int) -> Climatology:
    """Find mean and covariance of a long free run of the forecast model itself.

    The run has its own fixed seed and never meets the nature run.

    Arguments:
        settings: of the model.
        interval: minutes of valid time that one of its steps stands for.

    Raises:
        ValueError: if the run is not finite.
    """
    model = settings.build(interval)
    key = jax.random.key(96)
    start = settings.start("float32", key=key)
    states = jax.jit(
        lambda x: model.trajectory(x, jnp.zeros((), jnp.int32), FREE_RUN_STEPS, key=key)
    )(start)
    run = np.asarray(states[SPIN_UP_STEPS:], np.float64).reshape(-1, math.prod(model.state_shape))
    if not np.isfinite(run).all():
        raise ValueError(
            f"The free run of the model {settings.name} is not finite; shorten its step_size."
        )
    root = _square_root(np.cov(run.T)).reshape(*model.state_shape, -1)
    run = run.reshape(-1, *model.state_shape)
    return Climatology(
        mean=jnp.asarray(run.mean(axis=0)[None], jnp.float32),
        square_root=jnp.asarray(root, jnp.float32),
        interval=model.interval,
        state_shape=model.state_shape,
    )


def _square_root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n rank"]:
    """Take a square root of a covariance, of low rank where some direction never varies."""
    values, vectors = np.linalg.eigh(covariance)
    varies = values > values[-1] * len(values) * np.finfo(np.float32).eps
    if varies.all():
        return np.linalg.cholesky(covariance)
    return vectors[:, varies] * np.sqrt(values[varies])


def ensemble_filter(
    operator: AbstractObservationOperator, inflation: float | None
) -> AbstractAnalysisStep:
    """The ETKF with a fixed inflation, or the one that finds its own and survives a cold start."""
    if inflation is None:
        return FiniteSizeETKF(operator, certainty=2.0)
    return ETKF(operator, inflation)


def _interpolation(
    operator: AbstractObservationOperator, climatology: Climatology
) -> OptimalInterpolation:
    root = climatology.square_root.reshape(-1, climatology.square_root.shape[-1])
    covariance = DenseCovariance.from_matrix(root @ root.T, climatology.state_shape)
    return OptimalInterpolation(operator, covariance)


def amortized_step(
    operator: AbstractObservationOperator, climatology: Climatology, *, key: PRNGKeyArray
) -> LocalTransformStep:
    """The hybrid amortized analysis, untrained: a finite-size ETKF that a network corrects."""
    centre, scale = _climate(climatology)
    return LocalTransformStep.create(
        operator,
        ensemble_filter(operator, None),
        centre=centre,
        scale=scale,
        key=key,
    )


def build_network(channels_in: int, channels_out: int, width: int, depth: int) -> RingNetwork:
    """The factory that the model registry calls; weights are stored in single precision."""
    network = RingNetwork.create(
        channels_in, channels_out, width=width, depth=depth, key=jax.random.key(0)
    )
    return jax.tree.map(lambda w: w.astype(jnp.float32), network)


def find(
    recipe: Recipe, settings: ExperimentSettings, registry: ModelRegistry
) -> ModelVersion | None:
    """What was trained with these settings, or None."""
    digest = training_digest(recipe, settings, SIMULATED)
    return registry.find(model_name(recipe), training_digest=digest)


def train(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    progress: Progress,
) -> ModelVersion:
    """Train the amortized analysis, make its spread its error, and store its network.

    Raises:
        ValueError: if the trained analysis loses its truths.
    """
    model = forecast_model(recipe)
    operator = observed_points(recipe)
    key = cycle_key(experiment_key(settings.training.seed), 0, Purpose.TRAINING)
    network_key, run_key, monitor_key = jax.random.split(key, 3)
    climatology = recipe_climatology(recipe)
    observing = FixedNetwork(recipe.observation.error_sd)
    step = amortized_step(operator, climatology, key=network_key)
    total = settings.training.steps
    plan = OnPolicySettings(steps=total, members=(settings.members,))
    trained, curve = train_on_policy(
        step,
        model,
        observing,
        plan,
        key=run_key,
        progress=lambda done, loss, rmse: progress(done, total, {"loss": loss, "rmse": rmse}),
    )
    trained, spread = calibrate_spread(
        trained,
        model,
        observing,
        climatology.mean[0],
        SPREAD_PLAN._replace(members=settings.members),
        trials=SPREAD_TRIALS,
        repeats=SPREAD_REPEATS,
        key=jax.random.fold_in(monitor_key, 1),
    )
    monitor = calibrated_monitor(
        trained,
        model,
        observing,
        climatology.mean[0],
        TwinPlan(members=settings.members),
        valid_range=(recipe.variable.valid_min, recipe.variable.valid_max),
        key=monitor_key,
    )
    first = trained.network.first
    return registry.save(
        model_name(recipe),
        trained.network,
        factory=FACTORY,
        hyperparameters={
            "channels_in": first.weight.shape[0] // (2 * first.reach + 1),
            "channels_out": trained.network.last.bias.shape[0],
            "width": first.bias.shape[0],
            "depth": 1 + len(trained.network.middle),
        },
        metadata={
            "training_digest": training_digest(recipe, settings, SIMULATED),
            "settings": settings.training.model_dump(mode="json"),
            "data_digest": SIMULATED,
            "spread": spread.numbers(),
            "monitor": monitor.numbers(),
            "convergence": judged(plan.looks, curve[:, 0].tolist()).numbers(),
            "loss_curve": [[float(v) for v in row] for row in np.asarray(curve)],
        },
    )


def prepare(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    operator: AbstractObservationOperator,
) -> Prepared:
    """Assemble the cycle of one method.

    Raises:
        ModelNotFoundError: if the method needs a network that was not trained.
    """
    model = forecast_model(recipe)
    climatology = recipe_climatology(recipe)
    forecast: AbstractForecastModel = model
    step: AbstractAnalysisStep
    guard = None
    versions = {}
    match settings.method:
        case Method.CLIMATOLOGY:
            forecast, step = climatology, BackgroundOnly(operator)
        case Method.OPTIMAL_INTERPOLATION:
            forecast, step = climatology, _interpolation(operator, climatology)
        case Method.ETKF:
            step = ensemble_filter(operator, settings.inflation)
        case Method.AMORTIZED:
            digest = training_digest(recipe, settings, SIMULATED)
            network, version = load_trained(
                registry, model_name(recipe), digest, {FACTORY: build_network}
            )
            untrained = amortized_step(operator, climatology, key=jax.random.key(0))
            step = eqx.tree_at(lambda s: s.network, untrained, network)
            versions["amortized"] = version
            guard = Guard(
                DepartureMonitor.from_numbers(version.manifest["metadata"]["monitor"]),
                (ensemble_filter(operator, None), _interpolation(operator, climatology)),
                chosen_fallbacks(version),
            )
    program = CycleProgram(
        model=forecast,
        step=step,
        adaptation=None,
        score_weights=jnp.ones(model.state_shape, jnp.float32),
        spread_scale=recipe.observation.error_sd,
        guard=guard,
        valid_range=climate_range(*_climate(climatology)),
    )
    return Prepared(program, climatology, settings.members, versions)


def _climate(climatology: Climatology) -> tuple[float, float]:
    """Rough mean and standard deviation of a climate."""
    variance = jnp.mean(jnp.sum(climatology.square_root**2, axis=-1))
    return round(float(jnp.mean(climatology.mean)), 2), round(float(jnp.sqrt(variance)), 2)


def chosen_fallbacks(version: ModelVersion) -> Bool[Array, " fallback"] | None:
    """Which of `FALLBACKS` the gates found better than an analysis that is not trusted; None for
    weights whose gates did not compare them, which fall back on all."""
    chosen = gate_provenance(version).get(FALLBACK)
    if chosen is None:
        return None
    return jnp.asarray([fallback.value == chosen for fallback in FALLBACKS])
