"""Training a local transform on any grid through the states that its own cycles visit."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.grid_transform import GridTransformStep
from vardax_core.analysis.amortized.transform_network import TransformNetwork
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.placement import Placement, with_placement
from vardax_core.training.loop import Look, LoopSettings, looks_of, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.optimizer import OptimizerSettings
from vardax_core.types import Observations, ensemble_mean

NOW = 0
"""Minute of every analysis: neither the models nor the networks know of time."""
DIVERGED = 1.1
"""Climatological standard deviations from the truth at which a stream starts anew."""
NEAR = 0.3
"""Share of a difference of two states of the climate that a member is away from the truth where a
stream starts."""
THINNED = 0.3
"""Share of the cycles in which records are left out at random, from none to all of them."""

Placing = Callable[[int], Placement]
"""Gives where the records of a cycle are, all alike in shape, by its number."""
Errors = Callable[[Placement, PRNGKeyArray], tuple[Float[Array, " obs"], Float[Array, " obs"]]]
"""Draws the errors of the records of a cycle, which may go together as they like: the standard
deviations that the analysis is told, and the errors."""


class GridTraining(NamedTuple):
    """How long and how wide to train.

    Attributes:
        steps: gradient steps; each is one cycle of every stream.
        streams: twin cycles run in parallel.
        points: drawn anew in each cycle, at which the score is taken.
        learning_rate: peak of the warm-up and cosine schedule.
        chunk: gradient steps between two calls of the progress callback.
    """

    steps: int = 600
    streams: int = 2
    points: int = 256
    learning_rate: float = 1e-2
    chunk: int = 20

    @property
    def looks(self) -> list[int]:
        """Numbers of steps after which there is a loss, the mean of a chunk."""
        return looks_of(self.steps, self.chunk)


class GridStreams(NamedTuple):
    """Twins side by side."""

    truth: Float[Array, "stream *state"]
    ensemble: Float[Array, "stream member *state"]


class GridAnalysed(NamedTuple):
    """What the analyses of all streams are given, and what they are scored against."""

    truth: Float[Array, "stream *state"]
    background: Float[Array, "stream member *state"]
    observations: Observations
    placement: Placement | None
    key: PRNGKeyArray


class PointScore(AbstractObjective):
    """The Gaussian score of mean and spread at random points, channels alike in their units.

    Attributes:
        step: in training; its weights are not looked at.
        points: how many.
    """

    step: GridTransformStep
    points: int = eqx.field(static=True)
    name: ClassVar[str] = "Training on a grid"
    repair: ClassVar[str] = (
        "lower the learning rate, or look whether the model itself stays finite from the states "
        "and the observations that it is given"
    )
    measures: ClassVar[tuple[str, ...]] = ("error", "ratio")

    def loss(self, weights: Any, given: GridAnalysed) -> tuple[Float[Array, ""], Found]:
        step = with_network(self.step, weights)
        if given.placement is not None:
            step = with_placement(step, given.placement)
        draw = jax.random.randint(given.key, (self.points,), 0, step.view.at.shape[0])
        unit = jax.lax.stop_gradient(step.network.spread).astype(given.truth.dtype)

        def of_stream(background: Array, truth: Array, observations: Observations) -> tuple:
            own = step.columns(background)[draw]
            update = step.update(step.rows(background, observations), draw, own)
            mean = jnp.mean(own, axis=2) + update.increment
            wanted = truth.reshape(unit.shape[0], -1).T[draw]
            square = ((wanted - mean) / unit[None]) ** 2
            # Where nothing is observed there is nothing to learn.
            variance = update.variance * update.factor(update.variance) ** 2 / unit[None] ** 2
            variance = jnp.where(update.observed[:, None], variance, 1.0) + 1e-8
            score = jnp.where(
                update.observed[:, None], 0.5 * (jnp.log(variance) + square / variance), 0.0
            )
            return jnp.mean(score), jnp.mean(square), jnp.mean(variance)

        scores, squares, variances = jax.vmap(of_stream)(
            given.background, given.truth, given.observations
        )
        frozen = jax.tree.map(jax.lax.stop_gradient, step)

        def go_on(one: tuple) -> Float[Array, "member *state"]:
            background, observations = one
            return frozen(background, observations, key=given.key).ensemble

        ensembles = jax.lax.map(go_on, (given.background, given.observations))
        ratio = jnp.sqrt(jnp.mean(variances) / jnp.mean(squares))
        measures = (jnp.sqrt(jnp.mean(squares)), ratio)
        return jnp.mean(scores), Found(scores, ensembles, measures)


class GridCycles(AbstractPairs):
    """Truths, observations and backgrounds of parallel cycles; what is carried are the streams.

    Attributes:
        step: in training; its weights are not looked at.
        model: of the forecast.
        observing: which of the records there are in a cycle, and their errors.
        climate: states of the nature run, far apart in time.
        members: ensemble size.
        placing: where the records of each cycle are; None for records that stay.
        nature: model of the truth; None for that of the forecast.
        errors: draws the errors of records that are placed; None for independent Gaussian ones.
        key: folded with the step.
    """

    step: GridTransformStep
    model: AbstractForecastModel
    observing: AbstractObservingSystem
    climate: Float[Array, "draw *state"]
    members: int = eqx.field(static=True)
    placing: Placing | None = eqx.field(static=True)
    nature: AbstractForecastModel | None
    errors: Errors | None = eqx.field(static=True)
    key: PRNGKeyArray

    def start(self, streams: int, *, key: PRNGKeyArray) -> GridStreams:
        """Streams whose truths are states of the climate."""
        k_truth, k_members = jax.random.split(key)
        chosen = jax.random.randint(k_truth, (streams,), 0, self.climate.shape[0])
        truth = self.climate[chosen]
        keys = jax.random.split(k_members, streams)
        return GridStreams(truth, jax.vmap(self._around)(truth, keys))

    def deal(self, state: GridStreams, first: int, count: int) -> tuple[GridStreams, Any]:
        numbers = jnp.arange(first, first + count)
        keys = jax.vmap(lambda n: jax.random.fold_in(self.key, n))(numbers)
        if self.placing is None:
            return state, (numbers, keys, None)
        placements = [self.placing(number) for number in range(first, first + count)]
        return state, (numbers, keys, jax.tree.map(lambda *x: jnp.stack(x), *placements))

    def given(self, state: GridStreams, row: Any) -> GridAnalysed:
        number, key, placement = row
        k_truth, k_members, k_observe, k_anew, k_points = jax.random.split(key, 5)
        streams = state.truth.shape[0]
        time = jnp.asarray(NOW, jnp.int32)
        step = self.step if placement is None else with_placement(self.step, placement)
        nature = self.model if self.nature is None else self.nature

        def advance(one: tuple) -> tuple:
            truth, ensemble, k_truth, k_members = one
            forecast = self.model.forecast(ensemble, time, key=k_members)
            return nature.step(truth, time, key=k_truth), forecast

        keys = (jax.random.split(k, streams) for k in (k_truth, k_members))
        truth, background = jax.lax.map(advance, (state.truth, state.ensemble, *keys))
        error = self._in_channels(jnp.mean(background, axis=1) - truth)
        unit = jnp.std(self._in_channels(self.climate), axis=(0, 2))
        lost = ~(jnp.mean((error / unit[None, :, None]) ** 2, axis=(1, 2)) < DIVERGED**2)
        anew = jax.vmap(self._around)(truth, jax.random.split(k_anew, streams))
        background = jnp.where(lost.reshape(-1, *(1,) * truth.ndim), anew, background)
        observations = jax.vmap(lambda x, k: self._observe(step, placement, number, x, k))(
            truth, jax.random.split(k_observe, streams)
        )
        return GridAnalysed(truth, background, observations, placement, k_points)

    def follow(
        self, given: GridAnalysed, outcome: Float[Array, "stream member *state"]
    ) -> GridStreams:
        return GridStreams(given.truth, outcome)

    def _in_channels(self, states: Float[Array, "row *state"]) -> Float[Array, "row channel n"]:
        return states.reshape(states.shape[0], self.step.network.spread.shape[0], -1)

    def _around(
        self, truth: Float[Array, "*state"], key: PRNGKeyArray
    ) -> Float[Array, "member *state"]:
        """Members about a truth that are off it as states of the climate differ."""
        chosen = jax.random.randint(key, (2, self.members + 1), 0, self.climate.shape[0])
        apart = NEAR * (self.climate[chosen[0]] - self.climate[chosen[1]])
        return truth[None] + apart[:-1] + apart[-1:]

    def _observe(
        self,
        step: GridTransformStep,
        placement: Placement | None,
        number: Int[Array, ""],
        truth: Float[Array, "*state"],
        key: PRNGKeyArray,
    ) -> Observations:
        k_network, k_error, k_thin, k_share, k_kept = jax.random.split(key, 5)
        size, dtype = step.operator.obs_size, truth.dtype
        mask, error_sd = self.observing.draw(size, dtype, cycle=number, key=k_network)
        share = jnp.where(
            jax.random.bernoulli(k_thin, THINNED), jax.random.uniform(k_share, (), dtype), 1.0
        )
        mask = mask & (jax.random.uniform(k_kept, (size,), dtype) < share)
        if self.errors is None or placement is None:
            error = self.observing.errors.draw(error_sd, key=k_error)
        else:
            error_sd, error = (x.astype(dtype) for x in self.errors(placement, k_error))
        values = step.operator(truth) + error
        values = jnp.where(mask, values, jnp.zeros_like(values))
        time = jnp.asarray([NOW], jnp.int32)
        return Observations(values[None], mask[None], error_sd[None], time)


def with_network(step: GridTransformStep, weights: Any) -> GridTransformStep:
    """The step with other weights, as in `eqx.filter(step.network, eqx.is_inexact_array)`."""
    return eqx.tree_at(lambda s: s.network, step, weights)


def train_on_grid(
    step: GridTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    climate: Float[Array, "draw *state"],
    settings: GridTraining,
    *,
    members: int,
    placing: Placing | None = None,
    nature: AbstractForecastModel | None = None,
    errors: Errors | None = None,
    key: PRNGKeyArray,
    progress: Callable[[int, float, float, float], None] = lambda *_: None,
) -> tuple[GridTransformStep, Float[Array, "chunk measure"]]:
    """Train through parallel twin cycles run with the step's own analyses.

    Each gradient step is a cycle: a truth, observations of it and a background, the score of the
    analysis at random points, and the members of the analysis, with which the cycle goes on. No
    gradient passes the forecast. A stream further than `DIVERGED` from its truth starts anew.

    Arguments:
        step: its weights are the starting point.
        model: of the forecast.
        observing: which records there are in each cycle.
        climate: states of the nature run, two or more, far apart in time.
        settings: length and width.
        members: ensemble size.
        placing: where the records are in each cycle; None for records that stay.
        nature: model of the truth; None for that of the forecast.
        errors: draws the errors of records that are placed; None for independent Gaussian ones of
            the observing system.
        key: everything random follows from it.
        progress: called with steps done, loss, error and spread over error after every chunk.

    Returns:
        The trained step; loss, error in units of the network's spread, and spread over error of
        each chunk.

    Raises:
        NonFiniteLossError: if the gradients are not finite.
    """
    start_key, cycle_key = jax.random.split(key)
    cycles = GridCycles(
        step, model, observing, climate, members, placing, nature, errors, cycle_key
    )
    rule = OptimizerSettings(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        warm_up=min(settings.steps // 20 + 1, settings.steps - 1),
        clip=1.0,
        average=0.99,
        skip=20,
    )

    def on_look(look: Look) -> None:
        progress(look.done, look.loss, *look.measures)

    trained = train(
        step.network,
        PointScore(step, settings.points),
        cycles,
        LoopSettings(rule, chunk=settings.chunk),
        state=cycles.start(settings.streams, key=start_key),
        on_look=on_look,
    )
    network: TransformNetwork = trained.weights
    return with_network(step, network), jnp.asarray(trained.curve)


def settled(
    step: GridTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    climate: Float[Array, "draw *state"],
    cycles: int,
    *,
    members: int,
    placing: Placing | None = None,
    nature: AbstractForecastModel | None = None,
    errors: Errors | None = None,
    key: PRNGKeyArray,
) -> GridTransformStep:
    """The step whose network knows the spread of backgrounds in its own cycle.

    Arguments:
        cycles: of one stream, of which the second half counts; each but the first goes on with the
            spread that the one before had.
        step, model, observing, climate, members, placing, nature, errors, key: see
            `train_on_grid`.
    """
    source = GridCycles(step, model, observing, climate, members, placing, nature, errors, key)
    start_key, _ = jax.random.split(key)
    state, rows = source.deal(source.start(1, key=start_key), 0, cycles)

    def cycle(state: GridStreams, row: Any) -> tuple[GridStreams, Array]:
        given = source.given(state, row)
        placed = step if given.placement is None else with_placement(step, given.placement)
        background = given.background[0]
        spread = _typical_spread(background, step.network.spread.shape[0])
        told = eqx.tree_at(lambda s: s.network.spread, placed, spread)
        window = jax.tree.map(lambda x: x[0], given.observations)
        ensemble = told(background, window, key=given.key).ensemble
        return source.follow(given, ensemble[None]), spread

    _, spreads = eqx.filter_jit(lambda s, r: jax.lax.scan(cycle, s, r))(state, rows)
    typical = jnp.sqrt(jnp.mean(spreads[cycles // 2 :] ** 2, axis=0))
    return eqx.tree_at(lambda s: s.network.spread, step, typical.astype(jnp.float32))


def _typical_spread(
    background: Float[Array, "member *state"], channels: int
) -> Float[Array, " channel"]:
    """Root mean square spread of each channel of an ensemble."""
    anomalies = background - ensemble_mean(background)[None]
    flat = anomalies.reshape(background.shape[0], channels, -1)
    return jnp.sqrt(jnp.sum(jnp.mean(flat**2, axis=2), axis=0) / (background.shape[0] - 1))
