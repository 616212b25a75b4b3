"""Training a smoother behind an analysis on the cycles that the analysis makes."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.local_smoother import LocalSmoother
from vardax_core.training.ensemble_scores import LOCAL_GAUSSIAN
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import TwinPlan, cycle_twins


class SmoothingSettings(NamedTuple):
    """How long to train.

    Attributes:
        rounds: sets of new twins; each of their cycles is a gradient step.
        learning_rate: peak of the warm-up and cosine schedule.
        lost: error of a background, in standard deviations of the climate, from which on a stream
            does not count.
    """

    rounds: int = 20
    learning_rate: float = 3e-3
    lost: float = 1.1


class _Cycles(NamedTuple):
    truth: Float[Array, "cycle stream n"]
    background: Float[Array, "cycle stream member n"]
    analysis: Float[Array, "cycle stream member n"]


def train_smoother(
    smoother: LocalSmoother,
    program: CycleProgram,
    observing: AbstractObservingSystem,
    near: Float[Array, " n"],
    settings: SmoothingSettings,
    plan: TwinPlan,
    *,
    key: PRNGKeyArray,
    progress: Callable[[int, float, float], None] | None = None,
) -> tuple[LocalSmoother, Float[Array, "round 2"]]:
    """Train through twin cycles of an analysis that does not change.

    Each cycle of the streams gives a gradient step on the negative log score of the smoothed
    ensembles of every age against the truths of their times. The histories are those that the
    smoother itself made; no gradient passes from one cycle to the next.

    Arguments:
        smoother: its weights are the starting point.
        program: the analysis in its cycle.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        settings: length of the training.
        plan: of the twins of one round.
        key: everything random follows from it.
        progress: called with (rounds done, loss, RMSE at the last age) after every round.

    Returns:
        The trained smoother, and loss and RMSE averaged over each round.
    """
    total = settings.rounds * plan.cycles
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, total // 20 + 1, total, 0.0
    )
    optimizer = optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)), 1000
    )
    weights, rest = eqx.partition(smoother, eqx.is_inexact_array)
    weights = jax.tree.map(lambda w: w.astype(near.dtype), weights)
    limit = settings.lost * smoother.scale

    def loss(w, history, truths, background, analysis, k):
        trained = eqx.combine(w, rest)
        error = jnp.mean(background, axis=1) - truths[:, 0]
        counts = jnp.sqrt(jnp.mean(error**2, axis=1)) < limit

        def if_counted(x):
            return jnp.where(counts.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x))

        # What does not count must be finite all the same, or its gradient is not.
        history, background, analysis = map(if_counted, (history, background, analysis))
        history = jax.vmap(trained.update)(history, background, analysis)

        def scores(ensembles, past, kk):
            keys = jax.random.split(kk, smoother.lag)
            return jnp.mean(
                jax.vmap(lambda e, x, one: LOCAL_GAUSSIAN(e, x, key=one))(ensembles, past, keys)
            )

        each = jax.vmap(scores)(history[:, 1:], truths[:, 1:], jax.random.split(k, plan.streams))
        return _mean_where(counts, each), (history, counts)

    def cycle(carry, given):
        w, opt_state, history, truths = carry
        now, k = given
        truths = jnp.concatenate([now.truth[:, None], truths[:, :-1]], axis=1)
        (value, (history, counts)), gradient = jax.value_and_grad(loss, has_aux=True)(
            w, history, truths, now.background, now.analysis, k
        )
        # optax mixes integer counts with floats.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, opt_state = optimizer.update(gradient, opt_state, w)
            w = optax.apply_updates(w, updates)
        error = jnp.mean(history[:, -1], axis=1) - truths[:, -1]
        rmse = jnp.sqrt(jnp.mean(error**2, axis=1))
        found = jnp.stack([value, _mean_where(counts, rmse)])
        return (w, opt_state, history, truths), found

    @eqx.filter_jit
    def one_round(w, opt_state, program, k):
        k_streams, k_loss = jax.random.split(k)
        cycles = _twins(program, observing, near, plan, k_streams)
        first = jax.vmap(smoother.init)(cycles.analysis[0])
        truths = jnp.repeat(cycles.truth[0][:, None], smoother.lag + 1, axis=1)
        keys = jax.random.split(k_loss, plan.cycles)
        (w, opt_state, _, _), curve = jax.lax.scan(
            cycle, (w, opt_state, first, truths), (cycles, keys)
        )
        return w, opt_state, jnp.mean(curve[smoother.lag + 1 :], axis=0)

    opt_state = optimizer.init(weights)
    curves = []
    for number in range(settings.rounds):
        weights, opt_state, curve = one_round(
            weights, opt_state, program, jax.random.fold_in(key, number)
        )
        curves.append(curve)
        if progress is not None:
            progress(number + 1, float(curve[0]), float(curve[1]))
    return eqx.combine(weights, rest), jnp.stack(curves)


def _mean_where(counts: Bool[Array, " stream"], x: Float[Array, " stream"]) -> Float[Array, ""]:
    several = jnp.maximum(jnp.sum(counts), 1).astype(x.dtype)
    return jnp.sum(jnp.where(counts, x, 0.0)) / several


def _twins(
    program: CycleProgram,
    observing: AbstractObservingSystem,
    near: Float[Array, " n"],
    plan: TwinPlan,
    key: PRNGKeyArray,
) -> _Cycles:
    """New twins, streams side by side in every cycle."""

    def look(memory, truth, given, output):
        return memory, _Cycles(truth, output.background, output.analysis.ensemble)

    streams = cycle_twins(program, observing, near, plan, look, key=key)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), streams)
