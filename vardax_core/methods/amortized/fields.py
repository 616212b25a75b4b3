"""The amortized analysis where fields of the past are known: a network on maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.field_step import FieldFeatures
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes
from vardax_core.methods.base import Assembly, Problem, Trained, TrainingSettings
from vardax_core.methods.field_inputs import notes_on, observing_network
from vardax_core.methods.field_references import climatology_like, inverse_model_like
from vardax_core.methods.fields_prior import FIT, FIT_LAG, FieldsPrior
from vardax_core.methods.priors import Learned, Progress
from vardax_core.training.convergence import judged
from vardax_core.training.field_streams import FieldTrainingSettings
from vardax_core.training.field_training import FieldAnalysis, train_field_analysis
from vardax_core.training.slots import UnfitPeriodError
from vardax_core.training.statistics import WindowStatistics

FACTORY = "field-analysis"
USUAL_STEPS = 300
NUMBER = 4
"""Bytes of a number in single precision, in which tables are kept."""


def learn(prior: FieldsPrior, training: TrainingSettings, progress: Progress) -> Learned:
    """Fit statistics and forecast model to the training period, and train the network on it.

    Raises:
        UnfitPeriodError: if nothing can be learned from the period.
    """
    recipe = prior.recipe
    plan = FieldTrainingSettings(
        draws=max(1, training.steps // FieldTrainingSettings().cycles),
        window=recipe.window.times,
        lag_interval=duration_to_minutes(recipe.window.spacing),
        interval=duration_to_minutes(recipe.cycle_interval),
    )
    losses: list[list[float]] = []

    def on_step(done: int, loss: float) -> None:
        if not np.isfinite(loss):
            raise UnfitPeriodError(
                f"{recipe.name}: the loss of the training is {loss} after {done} steps; look for "
                "impossible values in the training period, which narrower bounds of the variable "
                "leave out, and for an error_sd that is next to nothing."
            )
        losses.append([done, loss])
        progress(min(done, plan.n_steps), plan.n_steps, {"loss": loss})

    assert prior.nature_run is not None, "what is learned from fields has them"
    model = train_field_analysis(
        prior.fields,
        prior.times,
        prior.grid,
        observing_network(recipe, prior.nature_run),
        plan,
        key=cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING),
        phase=instant_to_minutes(recipe.period.start),
        on_step=on_step,
    )
    verdict = judged([int(step) for step, _ in losses], [loss for _, loss in losses])
    varying = np.asarray(model.statistics.variance) > 0
    return Learned(
        model,
        FACTORY,
        {
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
        },
        {
            "notes": notes_on(recipe, prior.nature_run, varying),
            "loss_curve": losses,
            "convergence": verdict.numbers(),
        },
    )


def build(problem: Problem, trained: Trained) -> Assembly:
    """Assemble the trained analysis for a network of stations."""
    model = trained.module
    assert isinstance(model, FieldAnalysis), "what `learn` gave"
    return Assembly(
        model.model,
        model.step(problem.operator),
        model.statistics.climatology,
        np.asarray(model.statistics.variance) > 0,
        adaptation=SpreadAdaptation(),
    )


def memory(recipe: Recipe, points: int) -> float:
    """Bytes at the worst moment of learning about a grid of so many points, about.

    Covariances between all points are held for each lag of the window, those of every block twice
    while they are put together; then those between the departures of the windows of all streams
    are factored at once.
    """
    plan = FieldTrainingSettings(window=recipe.window.times)
    usual = recipe.network.usual_count(points, len(recipe.state_dims))
    departures = plan.window * float(min(points, max(plan.densities) * usual))
    tables = FIT + FIT_LAG * plan.window + 2 * plan.blocks * plan.window * NUMBER
    gains = plan.blocks * plan.streams * NUMBER * (6 * departures + 4 * points) * departures
    return tables * float(points) ** 2 + gains


def analysis_like(
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
) -> eqx.Module:
    """The factory that the model registry calls: an analysis of zeros."""
    size = int(np.prod(shape))
    climatology = climatology_like(tuple(shape), slots, rank, interval)
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
        model=inverse_model_like(climatology, modes, interval),
        features=features,
        network=FieldNetwork(
            features.n_channels(window),
            2,
            hidden=hidden,
            dilations=tuple(dilations),
            key=jax.random.key(0),
        ),
    )
