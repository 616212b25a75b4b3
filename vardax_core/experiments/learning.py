"""What a method learns on a recipe: its name in the registry, its training, and what comes of it
in the cycle."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.increments import IncrementGuard
from vardax_core.data.errors import RecipeError, SourceFormatError
from vardax_core.data.ingest import SIMULATED, source_digest
from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import simulated_grid, state_grid
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments.capacity import require_memory
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.problem import Learnable, prior_of, problem_of
from vardax_core.experiments.settings import ExperimentSettings, training_digest
from vardax_core.methods.base import AbstractLearningMethod, Problem, Trained
from vardax_core.methods.priors import Progress
from vardax_core.models.base import AbstractBalancedModel, AbstractForecastModel
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.promotion import champion, gate_provenance
from vardax_core.training.registry import ModelNotFoundError, ModelRegistry, ModelVersion

KEY = "training_digest"
"""Metadata key of what was learned: digest of settings and data."""
RECORDS = "records_digest"
"""Metadata key of what was learned: digest of the real observations."""


def learned_as(recipe: Recipe, settings: ExperimentSettings) -> tuple[str, ...]:
    """What the registry calls what the method may be built from on the recipe; none if it learns
    nothing."""
    names = settings.analysis.learned_as(prior_of(recipe))
    return tuple(f"{recipe.name}-{name}" for name in names)


def find_trained(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    data: str,
    records: str | None = None,
) -> ModelVersion | None:
    """What was learned last with these settings, or None.

    Arguments:
        data: sha256 of the file that it was learned from, or `SIMULATED`.
        records: digest of the real observations that it was learned from; by default any, the
            champion before others: cycles go on with what is proven while observations grow.
    """
    for name in learned_as(recipe, settings):
        found = _version_of(name, recipe, settings, registry, data, records)
        if found is not None:
            return found
    return None


def _version_of(
    name: str,
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    data: str,
    records: str | None,
) -> ModelVersion | None:
    key = {KEY: training_digest(recipe, settings, data)}
    if records is not None:
        return registry.find(name, **key, **{RECORDS: records})
    proven = champion(registry, name) if recipe.reported else None
    if proven is not None:
        for version in registry.versions(name):
            own = version.manifest["metadata"].get(KEY)
            if version.path.name == proven.version and own == key[KEY]:
                return version
    return registry.find(name, **key)


def train_method(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    training_run: Learnable | None,
    progress: Progress,
) -> ModelVersion:
    """Learn what a method needs, and store it in the registry.

    Arguments:
        training_run: states of the recipe's training period; None where the truth is simulated.
        progress: called while training.

    Raises:
        ModelNotFoundError: if the method learns nothing.
        GridTooLargeError: if the memory does not hold what is learned.
        ValueError: if nothing can be learned.
    """
    names = learned_as(recipe, settings)
    if not names:
        raise ModelNotFoundError(
            f"{recipe.name}: the method {settings.method} learns nothing; run it without training."
        )
    prior = prior_of(recipe, training_run)
    if training_run is None:
        data, grid = SIMULATED, simulated_grid(recipe)
    else:
        data = source_digest(training_run.attrs)
        require_memory(recipe, settings, tuple(training_run.sizes[d] for d in recipe.state_dims))
        frame = training_run.frame if isinstance(training_run, ObservedPeriod) else training_run
        grid = state_grid(frame, recipe)
    method, name = settings.analysis, names[0]
    if isinstance(method, AbstractLearningMethod):
        problem = problem_of(recipe, prior, grid, settings.members)
        learned = method.learn(problem, settings.training, progress)
    elif method.learns_locally(prior, grid.size):
        name, learned = names[-1], prior.learn_locally(progress)
    else:
        learned = prior.learn(progress)
    return registry.save(
        name,
        learned.module,
        factory=learned.factory,
        hyperparameters=learned.hyperparameters,
        metadata={
            KEY: training_digest(recipe, settings, data),
            "settings": settings.training.model_dump(mode="json"),
            "data_digest": data,
            **({RECORDS: training_run.digest} if isinstance(training_run, ObservedPeriod) else {}),
            **learned.metadata,
        },
    )


def prepare_method(
    recipe: Recipe,
    settings: ExperimentSettings,
    registry: ModelRegistry,
    grid: AbstractGrid,
    *,
    data: str,
    stations: Int[np.ndarray, " obs"] | None = None,
    weights: Float[np.ndarray, "*state"] | None = None,
    platforms: Sequence[str] = (),
) -> Prepared:
    """Assemble the cycle of a method.

    Arguments:
        grid: of a state.
        data: sha256 of the file that the method learned from, or `SIMULATED`.
        stations: flat index of the grid point of each; by default those that the recipe draws.
        weights: how much each point counts in scores; by default all alike. Points of which
            nothing is known count nothing.
        platforms: of real observations, by number.

    Raises:
        ModelNotFoundError: if the method was not trained.
    """
    problem = problem_of(recipe, prior_of(recipe), grid, settings.members, stations)
    problem, trained, version = _with_what_was_learned(problem, settings, registry, data)
    made = settings.analysis.build(problem, trained)
    known, shape = made.climatology.state_shape, recipe.state_shape(grid.shape)
    if not problem.prior.simulates and known != shape:
        raise SourceFormatError(
            f"Recipe '{recipe.name}': what is known of the states is of {known} points, and the "
            f"states have {shape}; name fields and forecasts on the grid of the states."
        )
    counted = np.ones(made.varying.shape) if weights is None else weights
    interval = duration_to_minutes(recipe.cycle_interval)
    program = CycleProgram(
        model=made.forecast,
        step=made.step,
        adaptation=made.adaptation,
        score_weights=jnp.asarray(np.where(made.varying, counted, 0.0), jnp.float32),
        spread_scale=recipe.error_sd,
        forecast_steps=interval // made.forecast.interval,
        guard=made.guard,
        valid_range=problem.prior.possible_range,
        channels=bool(recipe.channels),
        reported=recipe.reported,
        errors=problem.prior.reported_errors,
        bias=problem.prior.bias_correction(platforms) if platforms else None,
        increments=increment_guard(recipe, made.forecast, grid),
    )
    versions = {} if version is None else {settings.method: version}
    hosted = recipe.host is not None and not made.own_forecast
    prepared = Prepared(program, made.climatology, settings.members, versions, hosted)
    prepared = prepared.within(*recipe.valid_range)
    return prepared.with_lag(settings.lag).in_precision(settings.precision)


def increment_guard(
    recipe: Recipe, model: AbstractForecastModel, grid: AbstractGrid
) -> IncrementGuard:
    """What judges the increments of a recipe's cycles.

    Raises:
        RecipeError: if the recipe names a balance that the forecast model does not have.
    """
    known = model.balance if isinstance(model, AbstractBalancedModel) else None
    if recipe.balance not in (None, known):
        raise RecipeError(
            f"Recipe '{recipe.name}', cycle.balance: expected "
            f"{'no balance' if known is None else known} with {type(model).__name__}, got "
            f"{recipe.balance}; leave it out, or name what the model has."
        )
    apart = bool(recipe.channels) or len(model.state_shape) == 3
    mask = None if grid.mask is None else np.asarray(grid.mask)
    return IncrementGuard.of(model, mask, apart=apart, balance=recipe.balance is not None)


def _with_what_was_learned(
    problem: Problem, settings: ExperimentSettings, registry: ModelRegistry, data: str
) -> tuple[Problem, Trained | None, ModelVersion | None]:
    recipe, prior, method = problem.recipe, problem.prior, settings.analysis
    names = learned_as(recipe, settings)
    if not names:
        return problem, None, None
    version = find_trained(recipe, settings, registry, data)
    if version is None:
        digest = training_digest(recipe, settings, data)
        raise ModelNotFoundError(
            f"{registry.root}: no model {names[0]!r} was trained with these settings (digest "
            f"{digest[:12]}); train it first: vardax train, with the same options."
        )
    factories = {**prior.factories, **method.factories}
    module, version = registry.load(version.name, version.version, factories=factories)
    known = method.prior_part(module)
    if known is not None:
        problem = dataclasses.replace(problem, prior=prior.knowing(known))
    if not method.learns:
        return problem, None, version
    trained = Trained(module, version.manifest["metadata"], gate_provenance(version))
    return problem, trained, version
