"""How a posterior learns: from the cycles of a filter first, then from its own."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from vardax_core.analysis.amortized.step import PosteriorAnalysisStep
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.base import Problem, TrainingSettings
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.posterior.shape import PosteriorShape, single, untrained
from vardax_core.methods.priors import Learned, Progress
from vardax_core.training.convergence import judged
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.preparation import linear_start, standardised
from vardax_core.training.sources import ArraySource
from vardax_core.training.twin_cycles import TwinPlan, cycle_twins, twin_program
from vardax_core.types import Batch1D, ensemble_mean, ensemble_spread

FACTORY = "posterior"
ROUNDS = 2
"""Of cycles and training: the first with a filter in the cycle, the other with the posterior."""
STREAMS, CYCLES = 64, 48
VALIDATION = 8
"""Streams of each round that are only looked at."""
BATCH = 256
LOOKS = 10
"""At the validation loss, in each round."""


def pairs(
    problem: Problem, step: AbstractAnalysisStep, *, key: PRNGKeyArray
) -> tuple[Batch1D, Batch1D]:
    """Cycle twins with an analysis, and take from every cycle what it saw, and the truth.

    The ensembles start as far from their truths as the climate is wide, so that there are
    backgrounds of a cold start and of a settled cycle.

    Returns:
        Samples of all streams but the last `VALIDATION`, and samples of those.
    """
    prior = problem.prior
    program = dataclasses.replace(
        twin_program(prior.model, step, valid_range=prior.possible_range),
        forecast_steps=duration_to_minutes(problem.recipe.cycle_interval) // prior.model.interval,
    )
    plan = TwinPlan(STREAMS, CYCLES, 0, problem.members, prior.rough_climate[1])

    taken = _cycled(program, problem.observing, prior.climatology.mean[0], plan, key)

    def part(streams: slice) -> Batch1D:
        return Batch1D(**{k: v[streams].reshape(-1, *v.shape[2:]) for k, v in taken.items()})

    return part(slice(None, -VALIDATION)), part(slice(-VALIDATION, None))


def _look(
    memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
) -> tuple[tuple, dict[str, Array]]:
    window = given.observations
    return memory, {
        "input": window.values,
        "mask": window.mask.astype(truth.dtype),
        "error_sd": window.error_sd,
        "target": truth,
        "background_mean": ensemble_mean(output.background),
        "background_spread": ensemble_spread(output.background),
    }


@eqx.filter_jit
def _cycled(
    program: CycleProgram,
    observing: AbstractObservingSystem,
    near: Array,
    plan: TwinPlan,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    return cycle_twins(program, observing, near, plan, _look, key=key)


def learn(
    problem: Problem, shape: PosteriorShape, training: TrainingSettings, progress: Progress
) -> Learned:
    """Train a posterior on the cycles of a filter, then on its own.

    A posterior that was trained on the backgrounds of a filter meets others once it is cycled, so
    it is cycled, and trained further on all backgrounds that were met by then.

    Raises:
        NonFiniteLossError: if the training diverges.
        ConstantDataError: if the model's states do not vary.

    Source: Ross et al. (2011), arXiv:1011.0686 (aggregation of data).
    """
    key = cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING)
    network_key, *keys = jax.random.split(key, 1 + ROUNDS)
    settings, total = _plan(training.steps), training.steps
    posterior = untrained(shape, key=network_key)
    step: AbstractAnalysisStep = finite_size_filter(problem.operator)
    met: Batch1D | None = None
    losses: list[list[float]] = []
    for number, round_key in enumerate(keys):
        pair_key, fit_key = jax.random.split(round_key)
        fresh, unseen = pairs(problem, step, key=pair_key)
        if met is None:
            met = fresh
            posterior = single(linear_start(standardised(posterior, fresh), fresh))
        else:
            met = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), met, fresh)
        before = number * settings.n_steps

        def on_check(done: int, loss: float, unseen_loss: float, before: int = before) -> None:
            losses.append([before + done, loss, unseen_loss])
            progress(min(before + done, total), total, {"loss": loss, "validation": unseen_loss})

        result = fit(
            posterior,
            ArraySource(met, BATCH),
            unseen,
            settings=settings,
            key=fit_key,
            on_check=on_check,
        )
        posterior = result.posterior
        step = PosteriorAnalysisStep(posterior=posterior, operator=problem.operator, rows=1)
    last = [row for row in losses if row[0] > (ROUNDS - 1) * settings.n_steps]
    verdict = judged([int(row[0]) for row in last], [row[2] for row in last])
    return Learned(
        posterior,
        FACTORY,
        shape.numbers,
        {"convergence": verdict.numbers(), "loss_curve": [row[:2] for row in losses]},
    )


def _plan(steps: int) -> FitSettings:
    """So many gradient steps in all rounds together, about."""
    each = max(1, steps // ROUNDS)
    every = max(1, each // LOOKS)
    return FitSettings(n_steps=each // every * every, check_every=every, patience=None)
