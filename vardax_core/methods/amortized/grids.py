"""The amortized analysis where a model simulates on a grid: what a local transform chooses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.grid_transform import REACH, GridTransformStep
from vardax_core.analysis.amortized.transform_network import TransformNetwork
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.methods.base import Assembly, Problem, Trained, TrainingSettings
from vardax_core.methods.letkf import usual_radius
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.training.convergence import judged
from vardax_core.training.grid_cycles import GridTraining, settled, train_on_grid

FACTORY = "transform-network"
USUAL_STEPS = 600
MOST = 60
"""Records that a point is analysed from."""
DRAWS = 24
"""States of the climate from which streams start."""
BALANCED = 20
"""Steps of the model after which a random state of the climate is one of its own."""
SETTLED = 30
"""Cycles of the untrained transform after which its spread is typical."""
FIRST_SPREAD = 0.2
"""Of the background, in standard deviations of the climate, before any cycle."""


def step_of(problem: Problem, radius: float | None, network: TransformNetwork) -> GridTransformStep:
    """The transform with given weights, on the grid and the observing network of a problem."""
    grid, stations = problem.grid, problem.stations
    half_width = usual_radius(grid) if radius is None else radius
    if stations is None:
        view = TransformView.nowhere(grid, REACH * half_width, MOST)
    else:
        view = TransformView.of(grid, stations, REACH * half_width, MOST)
    return GridTransformStep(problem.operator, view, network, half_width)


def climate_of(prior: AbstractPrior, *, key: PRNGKeyArray) -> Float[Array, "draw *state"]:
    """States of the model, independent of each other."""
    k_draws, k_run = jax.random.split(key)
    shape, time = prior.model.state_shape, jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((DRAWS, *shape), prior.climatology.mean.dtype)
    drawn = prior.climatology.forecast(nothing, time, key=k_draws)

    def balance(states: Array) -> Array:
        def ahead(number: Array, x: Array) -> Array:
            return prior.model.forecast(x, time, key=jax.random.fold_in(k_run, number))

        return jax.lax.fori_loop(0, BALANCED, ahead, states)

    return jax.jit(balance)(drawn)


def learn(
    problem: Problem, radius: float | None, training: TrainingSettings, progress: Progress
) -> Learned:
    """Train the transform in its own cycle.

    Raises:
        ValueError: if the training is not finite.
    """
    prior, total = problem.prior, training.steps
    key = cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING)
    climate_key, network_key, settle_key, run_key = jax.random.split(key, 4)
    climate = climate_of(prior, key=climate_key)
    channels = max(1, len(problem.recipe.channels))
    flat = climate.reshape(DRAWS, channels, -1)
    spread = FIRST_SPREAD * jnp.std(flat, axis=(0, 2))
    step = step_of(problem, radius, TransformNetwork.create(spread, key=network_key))
    given: dict[str, Any] = {"members": problem.members}
    step = settled(step, prior.model, problem.observing, climate, SETTLED, key=settle_key, **given)
    plan = GridTraining(steps=total)
    step, curve = train_on_grid(
        step,
        prior.model,
        problem.observing,
        climate,
        plan,
        key=run_key,
        progress=lambda done, loss, error, ratio: progress(
            done, total, {"loss": loss, "error": error, "spread/error": ratio}
        ),
        **given,
    )
    return Learned(
        step.network,
        FACTORY,
        {"channels": channels},
        {
            "convergence": judged(plan.looks, curve[:, 0].tolist()).numbers(),
            "loss_curve": [[float(v) for v in row] for row in np.asarray(curve)],
        },
    )


def build(problem: Problem, radius: float | None, trained: Trained) -> Assembly:
    """Assemble the trained transform."""
    assert isinstance(trained.module, TransformNetwork)
    return Assembly.of(problem.prior, step_of(problem, radius, trained.module))


def build_network(channels: int) -> TransformNetwork:
    """The factory that the model registry calls; weights are stored in single precision."""
    return TransformNetwork.create(jnp.ones(channels), key=jax.random.key(0))
