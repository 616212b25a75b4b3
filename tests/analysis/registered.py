"""Small problems of every kind that the pipeline cycles, and each registered method on one of
them: a step, a background and a window."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tests.experiments import fields, layers, reported, small
from tests.methods import runs
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.data import Recipe, ingest
from vardax_core.data.observed_period import observed_period
from vardax_core.data.space import simulated_grid, state_grid
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.methods.amortized import grids
from vardax_core.methods.base import (
    AbstractLearningMethod,
    Problem,
    Trained,
    TrainingSettings,
)
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.posterior import learning
from vardax_core.methods.registry import method_of, registered_methods
from vardax_core.methods.reported_prior import ReportedPrior, ReportedReference
from vardax_core.models.climatology import Climatology
from vardax_core.observations.placement import place, search_of, with_placement
from vardax_core.types import Analysis, Observations

MEMBERS = 6
STEPS = 20


class Case(NamedTuple):
    """A method where it has to hold the laws.

    Attributes:
        step: what the cycle runs, compiled.
        plain: the same, which is not.
        points: of the grid.
        background: members valid at the analysis time.
        observations: a window in which all is observed.
    """

    step: Callable[..., Analysis]
    plain: AbstractAnalysisStep
    points: int
    background: jax.Array
    observations: Observations


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        recipe: of it.
        problem: makes it, in a folder for its data.
    """

    recipe: Callable[[], Recipe]
    problem: Callable[[Path], Problem]


def _simulated(recipe: Callable[[], Recipe]) -> Kind:
    def problem(folder: Path) -> Problem:
        made = recipe()
        return problem_of(made, prior_of(made), simulated_grid(made), MEMBERS)

    return Kind(recipe, problem)


def _fields(folder: Path, locally: bool = False) -> Problem:
    recipe, path = fields.recipe(), folder / "degC.nc"
    fields.field(cadence=360).to_netcdf(path)
    period = recipe.training
    assert period is not None
    run = ingest(recipe, start=period.start, end=period.end, path=path).nature_run
    prior = FieldsPrior(recipe, run)
    learn = prior.learn_locally if locally else prior.learn
    known = prior.knowing(learn(lambda *_: None).module)
    return problem_of(recipe, known, prior.grid, MEMBERS)


def _records(folder: Path) -> Problem:
    """Real observations of a few days with land in a corner, and what every method knows."""
    recipe = reported.recipe()
    reported.write_all(folder)
    period = observed_period(recipe, folder / "data")
    grid = state_grid(period.frame, recipe)
    climatology = Climatology(
        mean=jnp.full((1, *grid.shape), 285.0, jnp.float32),
        square_root=jnp.ones((*grid.shape, 1), jnp.float32),
        interval=1440,
        state_shape=grid.shape,
    )
    covariance = SpaceTimeCovariance.of((1.0, 80.0, 6000.0), (0.3, 400.0, 30000.0))
    known = ReportedReference(
        climatology,
        jax.tree.map(lambda x: x.astype(jnp.float32), covariance),
        jnp.ones(grid.shape, jnp.float32),
        jnp.asarray([1.0, 0.0, 0.1], jnp.float32),
        jnp.zeros(4, jnp.float32),
        jnp.zeros(0, jnp.float32),
    )
    return problem_of(recipe, ReportedPrior(recipe, period, known), grid, MEMBERS)


KINDS = {
    "ring": _simulated(small.recipe),
    "window": _simulated(lambda: runs.recipe(cycles=4, times=3)),
    "records": Kind(reported.recipe, _records),
    "fields": Kind(fields.recipe, _fields),
    "local": Kind(fields.recipe, functools.partial(_fields, locally=True)),
    "plane": _simulated(layers.recipe),
}


def cases() -> list[tuple[str, str]]:
    """Every method with the first kind that it fits, one that learns with the first of each prior
    that it learns from, on a ring and elsewhere, and the interpolation, which has another step for
    fields, with these."""
    found = [("interpolation", "local")]
    for name, method in registered_methods().items():
        fitting = [k for k, kind in KINDS.items() if _fits(name, kind.recipe())]
        assert fitting, f"no problem of these laws fits the method {name}; add one to KINDS"
        priors = {_prior(KINDS[k].recipe()): k for k in reversed(fitting)}
        found += [
            (name, k) for k in (fitting if method.learns else fitting[:1]) if k in priors.values()
        ]
    return found


def _prior(recipe: Recipe) -> tuple[type, bool]:
    prior = prior_of(recipe)
    return type(prior), prior.simulates and prior.ring


def _fits(name: str, recipe: Recipe) -> bool:
    return method_of(name).lack_with(prior_of(recipe)) is None


def shorten_learning(setattr_) -> None:
    """Laws hold for any weights."""
    small.shorten_training(setattr_)
    setattr_(grids, "SETTLED", 6)
    setattr_(learning, "STREAMS", 24)
    setattr_(learning, "CYCLES", 24)


@functools.cache
def case(name: str, kind: str, folder: Path) -> Case:
    """Build a method, learned if it learns, and what it analyses."""
    problem, method, trained = _problem(kind, folder), method_of(name), None
    if isinstance(method, AbstractLearningMethod):
        learned = method.learn(problem, TrainingSettings(steps=STEPS), lambda *_: None)
        trained = Trained(learned.module, learned.metadata, {})
    assembly = method.build(problem, trained)
    rows = problem.recipe.window.times
    spacing = int(problem.recipe.window.spacing.total_seconds() // 60)
    times = jnp.asarray(spacing * np.arange(1 - rows, 1) + 10 * 1440, jnp.int32)
    background, truth = jnp.split(_states(assembly.climatology, times[-1]), [MEMBERS])
    step = assembly.step
    if problem.stations is None:
        step = with_placement(step, _placement(problem, search_of(step)))
    seen = np.asarray(step.operator(truth[0]))[None] + np.zeros((rows, 1), np.float32)
    noise = np.random.default_rng(0).normal(size=seen.shape).astype(np.float32)
    error_sd = np.float32(problem.recipe.error_sd)
    values = jnp.asarray(seen + error_sd * noise)
    observations = Observations.from_values(values, jnp.full_like(values, error_sd), times)
    return Case(eqx.filter_jit(step), step, problem.grid.size, background, observations)


@functools.cache
def _problem(kind: str, folder: Path) -> Problem:
    return KINDS[kind].problem(folder)


def _states(climatology: Climatology, time: jax.Array) -> jax.Array:
    nothing = jnp.zeros((MEMBERS + 1, *climatology.state_shape), climatology.mean.dtype)
    draws = jax.random.normal(jax.random.key(5), nothing.shape, nothing.dtype)
    usual = jnp.sqrt(jnp.mean(jnp.sum(climatology.square_root**2, axis=-1)))
    noise = 0.1 * jnp.minimum(usual, 1.0) * draws
    return climatology.forecast(nothing, time, key=jax.random.key(4)) + noise


def _placement(problem: Problem, search):
    """Of eight records, two to a platform, at the analysis time."""
    rng = np.random.default_rng(1)
    points = problem.grid.points()
    low, high = points.min(axis=0), points.max(axis=0)
    places = rng.uniform(low, high, (8, points.shape[1]))
    every = np.ones(8, bool)
    return place(
        problem.grid, places, np.zeros(8), np.arange(8) // 2, every, every, search, "float32"
    )
