"""Which analysis steps in for one that is not trusted: what was best in trial cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.experiments.held_out import compiled_once
from vardax_core.methods.base import FALLBACK
from vardax_core.models.climatology import Climatology
from vardax_core.models.drifting import Drifting
from vardax_core.training.nature import Nature
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import cycle_twin

ALONE = "none"
"""The name of no fallback: the analysis stays, and its result says that it is not trusted."""
PERFECT, IMPERFECT = "perfect model", "model error"
NOT_WORSE = 1.002
"""Largest ratio to the RMSE of the analysis left alone; sampling, where a guard hardly acts."""
WORTH = 0.995
"""Mean of the ratios below which a fallback is worth having."""


class FallbackPlan(NamedTuple):
    """How long the trial cycles are.

    Attributes:
        streams: independent twins, half of them with a model error.
        settle: cycles of each before those that count.
        cycles: of each that count.
        members: ensemble size.
    """

    streams: int = 32
    settle: int = 100
    cycles: int = 200
    members: int = 24


class FallbackTrial(NamedTuple):
    """What the trial cycles found.

    Attributes:
        chosen: name of the fallback, or `ALONE`.
        rmse: mean RMSE of the analysis by conditions and by who stepped in.
        doubted: share of the cycles in which the analysis left alone was not trusted, by
            conditions.
    """

    chosen: str
    rmse: Mapping[str, Mapping[str, float]]
    doubted: Mapping[str, float]


def choose_fallback(rmse: Mapping[str, Mapping[str, float]]) -> str:
    """The fallback with which the analyses are best, or `ALONE`.

    One is chosen only if under no conditions it is worse than the analysis left alone, by more
    than `NOT_WORSE`, and if the mean of the ratios is below `WORTH`. A score that is not finite
    disqualifies.

    Arguments:
        rmse: by conditions and by who stepped in, `ALONE` among them.
    """
    names = next(iter(rmse.values())).keys() - {ALONE}
    best, chosen = WORTH, ALONE
    for name in sorted(names):
        ratios = np.array([scores[name] / scores[ALONE] for scores in rmse.values()])
        if np.all(ratios <= NOT_WORSE) and ratios.mean() < best:
            best, chosen = float(ratios.mean()), name
    return chosen


def try_fallbacks(
    program: CycleProgram,
    names: Sequence[str],
    climatology: Climatology,
    observing: AbstractObservingSystem,
    largest_drift: float,
    plan: FallbackPlan,
    *,
    key: PRNGKeyArray,
) -> FallbackTrial:
    """Cycle twins with each fallback of a guard stepping in alone, and with none of them.

    All see the same truths and observations, and are one compiled program, so that they differ
    only from where the guard acts.

    Arguments:
        program: with the guard.
        names: of its fallbacks.
        climatology: where truths and first ensembles are drawn from.
        observing: what each cycle observes.
        largest_drift: the truths of half of the streams have a constant tendency that the
            forecast lacks, drawn evenly from -1 to 1 times this, unit of the state for each step.
        plan: how many streams, and how long.
        key: everything random follows from it.

    Raises:
        ValueError: if the program has no guard with so many fallbacks.
    """
    guard = program.guard
    if guard is None or len(guard.fallbacks) != len(names):
        raise ValueError(
            f"try_fallbacks: expected a program whose guard has {len(names)} fallbacks, got "
            f"{'none' if guard is None else len(guard.fallbacks)}."
        )
    start_key, drift_key, key = jax.random.split(key, 3)
    dtype = climatology.mean.dtype
    shape = (plan.streams, plan.members + 1, *program.model.state_shape)
    flat = jnp.zeros((shape[0] * shape[1], *shape[2:]), dtype)
    drawn = climatology.forecast(flat, jnp.zeros((), jnp.int32), key=start_key).reshape(shape)
    imperfect = jnp.arange(plan.streams) % 2 == 1
    drifts = jax.random.uniform(drift_key, (plan.streams,), dtype, -largest_drift, largest_drift)
    drifts = jnp.where(imperfect, drifts, 0.0)
    who = jnp.concatenate([jnp.zeros((1, len(names)), bool), jnp.eye(len(names), dtype=bool)])

    def look(
        memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[tuple, tuple]:
        doubted = output.trust_score > guard.monitor.threshold.astype(dtype)
        return memory, (output.statistics["rmse"], doubted)

    def run(program: CycleProgram, drawn: Array, drifts: Array, keys: Array) -> tuple:
        def one(better: Bool[Array, " fallback"], drawn: Array, drift: Float[Array, ""], k: Array):
            guarded = replace(program, guard=Guard(guard.monitor, guard.fallbacks, better))
            return cycle_twin(
                guarded,
                observing,
                drawn[0],
                drawn[1:],
                plan.settle + plan.cycles,
                look,
                # Properties fill the shape and the interval, which mypy takes for fields.
                nature=Nature(Drifting(program.model, drift)),  # type: ignore[call-arg, arg-type]
                key=k,
            )

        streams = jax.vmap(one, in_axes=(None, 0, 0, 0))
        return jax.lax.map(lambda better: streams(better, drawn, drifts, keys), who)

    compiled = eqx.filter_jit(run, **compiled_once(program.model))
    found = compiled(
        replace(program, smoother=None), drawn, drifts, jax.random.split(key, plan.streams)
    )
    rmse, doubted = (np.asarray(series)[:, :, plan.settle :] for series in found)
    conditions = {PERFECT: ~np.asarray(imperfect), IMPERFECT: np.asarray(imperfect)}
    scores = {
        name: dict(zip((ALONE, *names), rmse[:, streams].mean(axis=(1, 2)).tolist(), strict=True))
        for name, streams in conditions.items()
    }
    shares = {name: float(doubted[0, streams].mean()) for name, streams in conditions.items()}
    return FallbackTrial(choose_fallback(scores), scores, shares)


def trial_record(trial: FallbackTrial) -> dict[str, str]:
    """What a gate report says of a trial: the choice, and the scores that it was made by."""
    found = {FALLBACK: trial.chosen}
    for name, scores in trial.rmse.items():
        each = ", ".join(f"{value:.4f} with {who}" for who, value in scores.items())
        doubted = f"{100 * trial.doubted[name]:.1f} % of the analyses were not trusted"
        found[f"RMSE by fallback, {name}"] = f"{each}; {doubted}"
    return found
