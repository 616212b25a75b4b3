"""Training a smoother behind an analysis on the cycles that the analysis makes."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.local_smoother import LocalSmoother
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.training.ensemble_scores import local_gaussian
from vardax_core.training.loop import Look, LoopSettings, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.on_policy import on_policy_rule
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


class Past(NamedTuple):
    """What the streams carry: the ensembles and the truths of the cycles of all ages."""

    history: Float[Array, "stream age member n"]
    truths: Float[Array, "stream age n"]


class Moment(NamedTuple):
    """One cycle of every stream, and what was before.

    Attributes:
        history: ensembles before the cycle.
        truths: up to and with the cycle.
        background, analysis: of the cycle.
        key: of the score.
    """

    history: Float[Array, "stream age member n"]
    truths: Float[Array, "stream age n"]
    background: Float[Array, "stream member n"]
    analysis: Float[Array, "stream member n"]
    key: PRNGKeyArray


class SmoothedTwins(AbstractPairs):
    """The cycles of twins whose analysis does not change, with new twins in every chunk.

    Attributes:
        smoother: gives the first history; its weights are not looked at.
        program: the analysis in its cycle.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: of the twins of one chunk.
        key: folded with the number of the chunk.
    """

    smoother: LocalSmoother
    program: CycleProgram
    observing: AbstractObservingSystem
    near: Float[Array, " n"]
    plan: TwinPlan
    key: PRNGKeyArray

    def deal(self, state: Past | None, first: int, count: int) -> tuple[Past, Any]:
        k_streams, k_loss = jax.random.split(
            jax.random.fold_in(self.key, first // self.plan.cycles)
        )
        past, cycles = _new_twins(self, k_streams)
        return past, (cycles, jax.random.split(k_loss, count))

    def given(self, state: Past, row: tuple[_Cycles, PRNGKeyArray]) -> Moment:
        now, key = row
        truths = jnp.concatenate([now.truth[:, None], state.truths[:, :-1]], axis=1)
        return Moment(state.history, truths, now.background, now.analysis, key)

    def follow(self, given: Moment, outcome: Float[Array, "stream age member n"]) -> Past:
        return Past(outcome, given.truths)


class SmootherScore(AbstractObjective):
    """The score of the smoothed ensembles of every age, over the streams that are not lost.

    Attributes:
        smoother: its weights are not looked at.
        lost: error of a background from which on its stream does not count, unit of the state.
    """

    smoother: LocalSmoother
    lost: float = eqx.field(static=True)
    name: ClassVar[str] = "The smoother"
    repair: ClassVar[str] = "lower the learning rate, or look whether the analysis stays finite"
    measures: ClassVar[tuple[str, ...]] = ("rmse",)

    def loss(self, weights: Any, given: Moment) -> tuple[Float[Array, ""], Found]:
        trained = with_weights(self.smoother, weights)
        error = jnp.mean(given.background, axis=1) - given.truths[:, 0]
        counts = jnp.sqrt(jnp.mean(error**2, axis=1)) < self.lost

        def if_counted(x: Array) -> Array:
            return jnp.where(counts.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x))

        # What does not count must be finite all the same, or its gradient is not.
        seen = map(if_counted, (given.history, given.background, given.analysis))
        history = jax.vmap(trained.update)(*seen)

        score = local_gaussian(trained.scale)

        def scores(ensembles: Array, past: Array, key: PRNGKeyArray) -> Array:
            keys = jax.random.split(key, trained.lag)
            return jnp.mean(jax.vmap(lambda e, x, one: score(e, x, key=one))(ensembles, past, keys))

        keys = jax.random.split(given.key, counts.shape[0])
        each = jax.vmap(scores)(history[:, 1:], given.truths[:, 1:], keys)
        error = jnp.mean(history[:, -1], axis=1) - given.truths[:, -1]
        rmse = _mean_where(counts, jnp.sqrt(jnp.mean(error**2, axis=1)))
        return _mean_where(counts, each), Found(each, history, (rmse,))


def with_weights(smoother: LocalSmoother, weights: Any) -> LocalSmoother:
    """The smoother with other weights, as in `eqx.filter(smoother, eqx.is_inexact_array)`."""
    return eqx.combine(weights, eqx.filter(smoother, eqx.is_inexact_array, inverse=True))


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
        The trained smoother, and loss and RMSE averaged over each round, but for its first
        cycles, whose histories are not yet full.
    """

    def on_look(look: Look) -> None:
        if progress is not None:
            progress(look.done // plan.cycles, look.loss, *look.measures)

    weights = eqx.filter(smoother, eqx.is_inexact_array)
    trained = train(
        jax.tree.map(lambda w: w.astype(near.dtype), weights),
        SmootherScore(smoother, settings.lost * smoother.scale),
        SmoothedTwins(smoother, program, observing, near, plan, key),
        LoopSettings(
            on_policy_rule(settings.rounds * plan.cycles, settings.learning_rate),
            chunk=plan.cycles,
            settle=smoother.lag + 1,
        ),
        on_look=on_look,
    )
    return with_weights(smoother, trained.weights), jnp.asarray(trained.curve)


def _mean_where(counts: Bool[Array, " stream"], x: Float[Array, " stream"]) -> Float[Array, ""]:
    several = jnp.maximum(jnp.sum(counts), 1).astype(x.dtype)
    return jnp.sum(jnp.where(counts, x, 0.0)) / several


@eqx.filter_jit
def _new_twins(source: SmoothedTwins, key: PRNGKeyArray) -> tuple[Past, _Cycles]:
    """The first past of new twins, and their cycles, streams side by side in every one."""

    def look(
        memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[tuple, _Cycles]:
        return memory, _Cycles(truth, output.background, output.analysis.ensemble)

    streams = cycle_twins(source.program, source.observing, source.near, source.plan, look, key=key)
    cycles = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), streams)
    history = jax.vmap(source.smoother.init)(cycles.analysis[0])
    truths = jnp.repeat(cycles.truth[0][:, None], source.smoother.lag + 1, axis=1)
    return Past(history, truths), cycles
