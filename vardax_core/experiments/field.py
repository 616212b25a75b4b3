"""Experiments on a gridded data set: what is learned comes from its training period."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.field_step import FieldFeatures
from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes, to_minutes
from vardax_core.experiments.capacity import require_memory
from vardax_core.experiments.field_inputs import notes_on, observing_network
from vardax_core.experiments.prepared import (
    Factories,
    Prepared,
    Progress,
    experiment_key,
    load_trained,
)
from vardax_core.experiments.settings import ExperimentSettings, Method, training_digest
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.training.convergence import judged
from vardax_core.training.field_streams import FieldTrainingSettings
from vardax_core.training.field_training import FieldAnalysis, train_field_analysis
from vardax_core.training.registry import ModelRegistry, ModelVersion
from vardax_core.training.slots import UnfitPeriodError
from vardax_core.training.statistics import WindowStatistics, fit_window_statistics

REFERENCE = "field-reference"
ANALYSIS = "field-analysis"
TAPER = 0.95
"""Of the covariance of optimal interpolation, in correlation lengths of the field."""


class FieldReference(eqx.Module):
    """What the methods without a network learn from the training period.

    Attributes:
        climatology: means of the slots of the day, and EOFs of the anomalies.
        covariance: sample covariance of the anomalies under a Gaussian taper of `TAPER`.
    """

    climatology: Climatology
    covariance: Float[Array, "n n"]


def model_name(recipe: Recipe, method: Method) -> str:
    """Name under which the registry holds what a method learned."""
    return f"{recipe.name}-{'amortized' if method is Method.AMORTIZED else 'reference'}"


def find(
    recipe: Recipe, settings: ExperimentSettings, registry: ModelRegistry, data: str
) -> ModelVersion | None:
    """What was learned with these settings from the file with sha256 `data`, or None."""
    digest = training_digest(recipe, settings, data)
    return registry.find(model_name(recipe, settings.method), training_digest=digest)


def train(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    nature_run: xr.Dataset,
    progress: Progress,
) -> ModelVersion:
    """Learn what a method needs from the training period, and store it in the registry.

    Arguments:
        nature_run: states of the training period; its `source_sha256` is part of the digest.
        progress: called after every few gradient steps.

    Raises:
        GridTooLargeError: if the memory does not hold what is learned.
        UnfitPeriodError: if nothing can be learned from the period.
    """
    data = str(nature_run.attrs["source_sha256"])
    require_memory(recipe, settings, tuple(nature_run.sizes[dim] for dim in recipe.state_dims))
    fields = nature_run[recipe.variable.name].transpose("time", *recipe.state_dims).to_numpy()
    times = to_minutes(nature_run["time"].values)
    grid = state_grid(nature_run, recipe)
    interval = duration_to_minutes(recipe.cycle_interval)
    spacing = duration_to_minutes(recipe.window.spacing)
    model: eqx.Module
    if settings.method is Method.AMORTIZED:
        plan = FieldTrainingSettings(
            draws=max(1, settings.training.steps // FieldTrainingSettings().cycles),
            window=recipe.window.times,
            lag_interval=spacing,
            interval=interval,
        )
        losses = []

        def on_step(done: int, loss: float) -> None:
            if not np.isfinite(loss):
                raise UnfitPeriodError(
                    f"{recipe.name}: the loss of the training is {loss} after {done} steps; look "
                    "for impossible values in the training period, which narrower bounds of the "
                    "variable leave out, and for an error_sd that is next to nothing."
                )
            losses.append([done, loss])
            progress(min(done, plan.n_steps), plan.n_steps, {"loss": loss})

        key = cycle_key(experiment_key(settings.training.seed), 0, Purpose.TRAINING)
        model = train_field_analysis(
            fields,
            times,
            grid,
            observing_network(recipe, nature_run),
            plan,
            key=key,
            phase=instant_to_minutes(recipe.period.start),
            on_step=on_step,
        )
        varying = np.asarray(model.statistics.variance) > 0
        factory, hyperparameters = ANALYSIS, _analysis_hyperparameters(model, plan)
        verdict = judged([step for step, _ in losses], [loss for _, loss in losses])
        metrics = {"loss_curve": losses, "convergence": verdict.numbers()}
    else:
        statistics = fit_window_statistics(
            fields,
            times,
            grid,
            interval=interval,
            lag_interval=spacing,
            n_lags=1,
            harmonics=None,
            taper=TAPER,
            smooth_weight=0.0,
        )
        varying = np.asarray(statistics.variance) > 0
        model = FieldReference(statistics.climatology, statistics.covariances[0])
        factory = REFERENCE
        hyperparameters = {
            "shape": list(model.climatology.state_shape),
            "slots": model.climatology.mean.shape[0],
            "rank": model.climatology.square_root.shape[-1],
            "interval": interval,
        }
        metrics = {}
    return registry.save(
        model_name(recipe, settings.method),
        model,
        factory=factory,
        hyperparameters=hyperparameters,
        metadata={
            "training_digest": training_digest(recipe, settings, data),
            "data_digest": data,
            "settings": settings.training.model_dump(mode="json"),
            "notes": notes_on(recipe, nature_run, varying),
            **metrics,
        },
    )


def prepare(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    operator: AbstractObservationOperator,
    *,
    stations: np.ndarray,
    data: str,
    weights: np.ndarray,
) -> Prepared:
    """Assemble the cycle of one method.

    Arguments:
        stations: flat index of the grid point of each station; these are not scored, unless
            every point is one, nor are points of which nothing could be learned.
        data: sha256 of the file that the method learned from.
        weights: how much each point counts in scores.

    Raises:
        ModelNotFoundError: if the method was not trained.
    """
    name = model_name(recipe, settings.method)
    digest = training_digest(recipe, settings, data)
    model, version = load_trained(registry, name, digest, FACTORIES)
    forecast: AbstractForecastModel
    step: AbstractAnalysisStep
    adaptation = None
    match model:
        case FieldAnalysis():
            climatology, forecast, step = (
                model.statistics.climatology,
                model.model,
                model.step(operator),
            )
            adaptation = SpreadAdaptation()
            variance = model.statistics.variance
        case FieldReference():
            climatology = forecast = model.climatology
            variance = jnp.diagonal(model.covariance).reshape(climatology.state_shape)
            step = BackgroundOnly(operator)
            if settings.method is Method.OPTIMAL_INTERPOLATION:
                covariance = DenseCovariance.from_table(model.covariance, climatology.state_shape)
                step = OptimalInterpolation(operator, covariance)
    weights = np.array(weights, np.float32)
    if stations.size < weights.size:
        weights.reshape(-1)[stations] = 0.0
    weights[np.asarray(variance) == 0] = 0.0
    program = CycleProgram(
        model=forecast,
        step=step,
        adaptation=adaptation,
        score_weights=jnp.asarray(weights),
        spread_scale=recipe.observation.error_sd,
        forecast_steps=duration_to_minutes(recipe.cycle_interval) // forecast.interval,
    )
    return Prepared(program, climatology, settings.members, {settings.method.value: version})


def _analysis_hyperparameters(model: FieldAnalysis, plan: FieldTrainingSettings) -> dict:
    return {
        "shape": list(model.model.state_shape),
        "slots": model.statistics.climatology.mean.shape[0],
        "rank": model.statistics.climatology.square_root.shape[-1],
        "modes": model.model.propagator.shape[0],
        "window": plan.window,
        "interval": plan.interval,
        "lag_interval": plan.lag_interval,
        "static": model.features.static.shape[0],
        "hidden": plan.hidden,
        "dilations": list(plan.dilations),
    }


def _climatology_like(shape: tuple[int, ...], slots: int, rank: int, interval: int) -> Climatology:
    return Climatology(
        mean=jnp.zeros((slots, *shape), jnp.float32),
        square_root=jnp.zeros((*shape, rank), jnp.float32),
        interval=interval,
        state_shape=shape,
    )


def _reference_like(*, shape: list[int], slots: int, rank: int, interval: int) -> FieldReference:
    size = int(np.prod(shape))
    climatology = _climatology_like(tuple(shape), slots, rank, interval)
    return FieldReference(climatology, jnp.zeros((size, size), jnp.float32))


def _analysis_like(
    *,
    shape: list[int],
    slots: int,
    rank: int,
    modes: int,
    window: int,
    interval: int,
    lag_interval: int,
    static: int,
    hidden: int,
    dilations: list[int],
) -> FieldAnalysis:
    size = int(np.prod(shape))
    climatology = _climatology_like(tuple(shape), slots, rank, interval)
    features = FieldFeatures(
        scale=jnp.zeros(tuple(shape), jnp.float32),
        static=jnp.zeros((static, *shape), jnp.float32),
    )
    return FieldAnalysis(
        statistics=WindowStatistics(
            climatology=climatology,
            covariances=jnp.zeros((window, size, size), jnp.float32),
            lag_interval=lag_interval,
        ),
        model=LinearInverseModel(
            climatology=climatology,
            propagator=jnp.zeros((modes, modes), jnp.float32),
            forcing=jnp.zeros((modes, modes), jnp.float32),
            damping=jnp.zeros((), jnp.float32),
            stability_factor=jnp.zeros((), jnp.float32),
            interval=interval,
            state_shape=tuple(shape),
        ),
        features=features,
        network=FieldNetwork(
            features.n_channels(window),
            2,
            hidden=hidden,
            dilations=tuple(dilations),
            key=jax.random.key(0),
        ),
    )


FACTORIES: Factories = {REFERENCE: _reference_like, ANALYSIS: _analysis_like}
"""What a registry builds the models from that were learned from fields."""
