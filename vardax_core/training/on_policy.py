"""Training an ensemble analysis on the states that its own cycles visit."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.ensemble_scores import AbstractEnsembleScore, local_gaussian
from vardax_core.training.loop import Look, LoopSettings, looks_of, train
from vardax_core.training.nature import Nature
from vardax_core.training.objective import AbstractObjective, Found
from vardax_core.training.observing import AbstractObservingSystem, systems_of
from vardax_core.training.on_policy_cycles import Analysed, OnPolicyCycles
from vardax_core.training.optimizer import OptimizerSettings
from vardax_core.training.twin_cycles import CLIMATE_BOUND

WARM_UP = 20
"""The rate rises over this fraction of a training."""
MATRIX_RATE, SHORT = 5e-3, 0.3
"""Highest rate of matrices in long trainings, and that times the root of the steps in others."""
MOST_SKIPPED = 1000
"""Gradients in a row that are not finite, after which a training on policy is given up."""


class OnPolicySettings(NamedTuple):
    """How long and how wide to train.

    Attributes:
        steps: gradient steps; each is one cycle of every stream.
        streams: twin cycles run in parallel.
        members: ensemble sizes; the streams are divided evenly among them.
        learning_rate: peak of the warm-up and cosine schedule, of vectors.
        matrix_rate: the same of matrices, see `OptimizerSettings`; by default `MATRIX_RATE`, or
            `SHORT` over the root of the steps where that is more: a short training would not get
            anywhere.
        spin_up: model steps from rest to the attractor.
        chunk: gradient steps between two calls of the progress callback.
        shock: probability, in each cycle of each stream, that its ensemble is thrown off, so
            that the analysis learns to come back from a cold start and from divergence.
        forget: probability, in each cycle of each stream, that the past of its departures is
            forgotten, so that a step with a history learns to begin without one.
        nearness: error of the background, unit of the state, at which a stream's weight halves;
            half the error with which a stream starts anew. By default half the error of the
            observations, or of the climate if that is less, see `typical_nearness`.
        bound: largest distance of a member from the climatological mean, in climatological
            standard deviations; a forecast beyond it is replaced, see `possible_members`.
        score: of the analysis ensemble against the truth, which is to become low; by default
            `local_gaussian`.
    """

    steps: int = 3600
    streams: int = 32
    members: tuple[int, ...] = (24,)
    learning_rate: float = 3e-3
    matrix_rate: float | None = None
    spin_up: int = 1000
    chunk: int = 100
    shock: float = 0.001
    forget: float = 0.002
    nearness: float | None = None
    bound: float = CLIMATE_BOUND
    score: AbstractEnsembleScore | None = None

    @property
    def looks(self) -> list[int]:
        """Numbers of steps after which there is a loss, the mean of a chunk."""
        return looks_of(self.steps, self.chunk)

    @property
    def loop(self) -> LoopSettings:
        """The same in the words of the training loop."""
        matrix_rate = self.matrix_rate
        if matrix_rate is None:
            matrix_rate = max(MATRIX_RATE, SHORT / math.sqrt(self.steps))
        rule = on_policy_rule(self.steps, self.learning_rate, matrix_rate)
        return LoopSettings(rule, chunk=self.chunk)


def on_policy_rule(
    steps: int, learning_rate: float, matrix_rate: float | None = None
) -> OptimizerSettings:
    """The update rule of trainings in a cycle, which a bad stream must not stop."""
    return OptimizerSettings(
        steps=steps,
        learning_rate=learning_rate,
        matrix_rate=matrix_rate,
        warm_up=min(steps // WARM_UP + 1, steps - 1),
        clip=1.0,
        skip=MOST_SKIPPED,
    )


class OnPolicyScore(AbstractObjective):
    """The score of the analysis ensembles, a stream weighing less the further it is off.

    Attributes:
        step: the step in training; its weights are not looked at.
        score: of one ensemble.
        nearness: error of a background at which its weight halves, unit of the state.
    """

    step: LocalTransformStep
    score: AbstractEnsembleScore
    nearness: float = eqx.field(static=True)
    name: ClassVar[str] = "Training on policy"
    repair: ClassVar[str] = (
        "lower the learning rate, or look whether the model itself stays finite from the first "
        "guess and the observations that it is given"
    )
    measures: ClassVar[tuple[str, ...]] = ("rmse",)

    def loss(self, weights: Any, given: tuple[Analysed, ...]) -> tuple[Float[Array, ""], Found]:
        found = [self._of_one_size(with_weights(self.step, weights), group) for group in given]
        shares, scores, ensembles = zip(*found, strict=True)
        weight, score = jnp.concatenate(shares), jnp.concatenate(scores)
        error = jnp.concatenate(
            [jnp.mean(e, axis=1) - g.truth for e, g in zip(ensembles, given, strict=True)]
        )
        rmse = jnp.mean(jnp.sqrt(jnp.mean(error**2, axis=-1)))
        return jnp.sum(weight * score) / jnp.sum(weight), Found(score, ensembles, (rmse,))

    def _of_one_size(
        self, step: LocalTransformStep, given: Analysed
    ) -> tuple[
        Float[Array, " stream"], Float[Array, " stream"], Float[Array, "stream member *state"]
    ]:
        """Weight, score and ensemble of every stream."""
        ensembles = jax.vmap(lambda b, g, o: step.transform(b, g, o).ensemble)(
            given.background, given.guess, given.observations
        )
        keys = jax.random.split(given.key, given.truth.shape[0])
        scores = jax.vmap(lambda e, x, k: self.score(e, x, key=k))(ensembles, given.truth, keys)
        error = jnp.mean(given.background, axis=1) - given.truth
        weights = 1 / (1 + jnp.mean((error / self.nearness) ** 2, axis=-1))
        return weights, scores, ensembles


def with_weights(step: LocalTransformStep, weights: Any) -> LocalTransformStep:
    """The step with other weights, as in `eqx.filter(step.network, eqx.is_inexact_array)`."""
    rest = eqx.filter(step.network, eqx.is_inexact_array, inverse=True)
    return eqx.tree_at(lambda s: s.network, step, eqx.combine(weights, rest))


def typical_nearness(observing: AbstractObservingSystem, climate_sd: float) -> float:
    """Half of what one observation leaves unknown, or the climate if that is less.

    Arguments:
        observing: what each cycle observes.
        climate_sd: standard deviation of the climate, unit of the observations.
    """
    return 0.5 * min(observing.typical_error, climate_sd)


def train_on_policy(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem | Sequence[AbstractObservingSystem],
    settings: OnPolicySettings,
    *,
    natures: Sequence[Nature] = (),
    key: PRNGKeyArray,
    progress: Callable[[int, float, float], None] | None = None,
) -> tuple[LocalTransformStep, Float[Array, "chunk 2"]]:
    """Train through parallel twin cycles run with the network's own analyses.

    Each cycle gives a truth, observations and a background; one gradient step is taken on the
    score of the analysis ensemble against the truth, and the cycle goes on from the network's
    analysis. No gradient passes the forecast or the first guess. Now and then a stream
    is thrown off its truth, and weighs less the further it is. A stream further than `DIVERGED`
    from its truth starts anew near it; a gradient that is not finite is skipped.

    With several ensemble sizes, natures or observing systems, every gradient step sees them all.

    Arguments:
        step: the step to train; its weights are the starting point.
        model: forecast model.
        observing: what each cycle observes; of several, each for an equal share of the streams.
        settings: length and width of the training.
        natures: make the truths, each in an equal share of the streams; none for `model` itself,
            which then has no error.
        key: everything random follows from it.
        progress: called with (steps done, loss, rmse.a) after every chunk.

    Returns:
        The trained step, and loss and rmse.a averaged over each chunk.

    Raises:
        ValueError: if the streams cannot be divided among sizes, natures and observing systems.
        NonFiniteLossError: if no gradient is finite over `MOST_SKIPPED` steps.
    """
    natures = tuple(natures) or (Nature(model),)
    systems = systems_of(observing)
    sizes = settings.members
    share, left_over = divmod(settings.streams, len(sizes) * len(natures) * len(systems))
    if left_over or not share:
        raise ValueError(
            f"train_on_policy: expected streams to be a multiple of {len(sizes)} ensemble sizes "
            f"times {len(natures)} natures times {len(systems)} observing systems, got "
            f"{settings.streams}."
        )
    nearness = settings.nearness
    if nearness is None:
        nearness = min(typical_nearness(system, step.scale) for system in systems)
    start_key, cycle_key = jax.random.split(key)
    cycles = OnPolicyCycles(
        step=step,
        model=model,
        natures=natures,
        observing=systems,
        nearness=nearness,
        shock=settings.shock,
        forget=settings.forget,
        bound=settings.bound,
        key=cycle_key,
    )
    streams = tuple(
        cycles.start(
            settings.streams // len(sizes),
            members,
            settings.spin_up,
            key=jax.random.fold_in(start_key, number),
        )
        for number, members in enumerate(sizes)
    )

    def on_look(look: Look) -> None:
        if progress is not None:
            progress(look.done, look.loss, *look.measures)

    dtype = streams[0].ensemble.dtype
    weights = eqx.filter(step.network, eqx.is_inexact_array)
    trained = train(
        jax.tree.map(lambda w: w.astype(dtype), weights),
        OnPolicyScore(step, settings.score or local_gaussian(step.scale), nearness),
        cycles,
        settings.loop,
        state=streams,
        on_look=on_look,
    )
    return with_weights(step, trained.weights), jnp.asarray(trained.curve)
