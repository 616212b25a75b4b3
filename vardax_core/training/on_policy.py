"""Training an ensemble analysis on the states that its own cycles visit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.origin import Origin, needs_origin, with_origin
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.departures import Departures
from vardax_core.training.ensemble_scores import LOCAL_GAUSSIAN, AbstractEnsembleScore
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import CLIMATE_BOUND
from vardax_core.types import Observations, ensemble_mean

DIVERGED = 1.1
"""Climatological standard deviations from the truth at which a stream starts anew."""


class OnPolicySettings(NamedTuple):
    """How long and how wide to train.

    Attributes:
        steps: gradient steps; each is one cycle of every stream.
        streams: twin cycles run in parallel.
        members: ensemble sizes; the streams are divided evenly among them.
        learning_rate: peak of the warm-up and cosine schedule.
        spin_up: model steps from rest to the attractor.
        chunk: gradient steps between two calls of the progress callback.
        shock: probability, in each cycle of each stream, that its ensemble is thrown off, so
            that the analysis learns to come back from a cold start and from divergence.
        forget: probability, in each cycle of each stream, that the past of its departures is
            forgotten, so that a step with a history learns to begin without one.
        nearness: error of the background, unit of the state, at which a stream's weight halves;
            also the error with which a stream starts anew.
        bound: largest distance of a member from the climatological mean, in climatological
            standard deviations; a forecast beyond it is replaced, see `possible_members`.
        score: of the analysis ensemble against the truth, which is to become low.
    """

    steps: int = 3600
    streams: int = 32
    members: tuple[int, ...] = (24,)
    learning_rate: float = 3e-3
    spin_up: int = 1000
    chunk: int = 100
    shock: float = 0.001
    forget: float = 0.002
    nearness: float = 0.5
    bound: float = CLIMATE_BOUND
    score: AbstractEnsembleScore = LOCAL_GAUSSIAN

    @property
    def looks(self) -> list[int]:
        """Numbers of steps after which there is a loss, the mean of a chunk."""
        return [*range(self.chunk, self.steps, self.chunk), self.steps]


class _Streams(NamedTuple):
    """Streams with ensembles of one size, and the past of their departures if anybody looks."""

    truth: Float[Array, "stream *state"]
    ensemble: Float[Array, "stream member *state"]
    past: Float[Array, "stream statistic obs"] | None


class _Given(NamedTuple):
    """What the analyses of streams of one size are given, and what they are scored against."""

    truth: Float[Array, "stream *state"]
    background: Float[Array, "stream member *state"]
    guess: Float[Array, "stream member *state"]
    observations: Observations
    past: Float[Array, "stream statistic obs"] | None
    key: PRNGKeyArray


def train_on_policy(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    settings: OnPolicySettings,
    *,
    natures: Sequence[AbstractForecastModel] = (),
    key: PRNGKeyArray,
    progress: Callable[[int, float, float], None] | None = None,
) -> tuple[LocalTransformStep, Float[Array, "chunk 2"]]:
    """Train through parallel twin cycles run with the network's own analyses.

    Each cycle gives a truth, observations and a background; one gradient step is taken on the
    score of the analysis ensemble against the truth, and the cycle goes on from the network's
    analysis. No gradient passes the forecast or the first guess. Now and then a stream
    is thrown off its truth, and weighs less the further it is. A stream further than `DIVERGED`
    from its truth starts anew near it; a gradient that is not finite is skipped.

    With several ensemble sizes or natures, every gradient step sees them all.

    Arguments:
        step: the step to train; its weights are the starting point.
        model: forecast model.
        observing: what each cycle observes.
        settings: length and width of the training.
        natures: models that make the truths, each in an equal share of the streams; none for
            `model` itself, which then has no error.
        key: everything random follows from it.
        progress: called with (steps done, loss, rmse.a) after every chunk.

    Returns:
        The trained step, and loss and rmse.a averaged over each chunk.

    Raises:
        ValueError: if the streams cannot be divided among the sizes and the natures.
    """
    natures = tuple(natures) or (model,)
    share, left_over = divmod(settings.streams, len(settings.members) * len(natures))
    if left_over or not share:
        raise ValueError(
            f"train_on_policy: expected streams to be a multiple of {len(settings.members)} "
            f"ensemble sizes times {len(natures)} natures, got {settings.streams}."
        )
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, settings.steps // 20 + 1, settings.steps, 0.0
    )
    optimizer = optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)), 1000
    )
    weights, rest = eqx.partition(step.network, eqx.is_inexact_array)
    start_key, cycle_key = jax.random.split(key)
    groups = tuple(
        _start(natures, step, settings, members, jax.random.fold_in(start_key, number))
        for number, members in enumerate(settings.members)
    )
    dtype = groups[0].truth.dtype
    weights = jax.tree.map(lambda w: w.astype(dtype), weights)
    now = jnp.zeros((1,), jnp.int32)
    obs_size, history = step.operator.obs_size, step.history
    reach = settings.bound * step.scale
    valid_range = (step.centre - reach, step.centre + reach)

    def with_weights(w) -> LocalTransformStep:
        return eqx.tree_at(lambda s: s.network, step, eqx.combine(w, rest))

    def observe(truth, past, k) -> Observations:
        k_network, k_error = jax.random.split(k)
        mask, error_sd = observing.draw(obs_size, dtype, key=k_network)
        values = step.operator(truth) + error_sd * jax.random.normal(k_error, (obs_size,), dtype)
        values = jnp.where(mask, values, jnp.zeros_like(values))
        seen = None if history is None else history.standardised(past)
        return Observations(values[None], mask[None], error_sd[None], now, seen)

    def score(w, given: _Given):
        """Weighted sum of the scores, the weights, and the ensembles of streams of one size."""
        trained = with_weights(w)
        ensembles = jax.vmap(lambda b, g, o: trained.transform(b, g, o).ensemble)(
            given.background, given.guess, given.observations
        )
        keys = jax.random.split(given.key, given.truth.shape[0])
        scores = jax.vmap(lambda e, x, k: settings.score(e, x, key=k))(ensembles, given.truth, keys)
        error = jnp.mean(given.background, axis=1) - given.truth
        weights = 1 / (1 + jnp.mean((error / settings.nearness) ** 2, axis=-1))
        return jnp.sum(weights * scores), jnp.sum(weights), ensembles

    def loss(w, given: tuple[_Given, ...]):
        sums, weights, ensembles = zip(*(score(w, group) for group in given), strict=True)
        return sum(sums) / sum(weights), ensembles

    def advance(group: _Streams, k) -> _Given:
        """Truths, backgrounds, observations and first guesses of streams of one size."""
        k_truth, k_forecast, k_noise, k_guess, k_loss, k_reset, k_shock = jax.random.split(k, 7)
        count = group.truth.shape[0]
        truth = _advance(natures, group.truth, k_truth)
        keys = jax.random.split(k_forecast, count)
        origins = jax.vmap(origin_of)(group.ensemble, keys)
        forecast, _ = jax.vmap(lambda o: o.forecast(o.ensemble))(origins)
        background = _reset_diverged(forecast, truth, step, settings, k_reset)
        background = _shock(background, truth, settings.shock, k_shock)
        past = group.past
        if past is not None:
            gone = jax.random.bernoulli(
                jax.random.fold_in(k_shock, 1), settings.forget, (count, 1, 1)
            )
            past = jnp.where(gone, 0.0, past)
        observations = jax.vmap(observe)(truth, past, jax.random.split(k_noise, count))
        guess = background
        if step.first_guess is not None:
            guess = jax.vmap(first_guess)(
                background, observations, origins, jax.random.split(k_guess, count)
            )
            if needs_origin(step.first_guess):
                # A background that was replaced did not come from there.
                axes = tuple(range(1, background.ndim))
                own = jnp.all(background == forecast, axis=axes, keepdims=True)
                guess = jnp.where(own, guess, background)
        return _Given(truth, background, guess, observations, past, k_loss)

    def origin_of(ensemble, k) -> Origin:
        return Origin(ensemble, now[0], k, model, steps=1, valid_range=valid_range)

    def first_guess(background, observations, origin, k):
        return with_origin(step.first_guess, origin)(background, observations, key=k).ensemble

    def remember(past, background, ensemble, observations):
        """The past of one stream with one more cycle."""
        if history is None:
            return past
        departures = Departures.of(step.operator, background, observations)
        residuals = departures.residuals(step.operator, ensemble_mean(ensemble), ensemble)
        return history.update(past, departures, residuals)

    def follow(given: _Given, ensembles) -> _Streams:
        past = jax.vmap(remember)(given.past, given.background, ensembles, given.observations)
        return _Streams(given.truth, ensembles, past)

    def cycle(carry, k):
        w, opt_state, groups = carry
        keys = jax.random.split(k, len(groups))
        given = tuple(map(advance, groups, keys))
        (value, ensembles), gradient = jax.value_and_grad(loss, has_aux=True)(w, given)
        # optax mixes integer counts with floats.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, opt_state = optimizer.update(gradient, opt_state, w)
            w = optax.apply_updates(w, updates)
        groups = tuple(map(follow, given, ensembles))
        error = jnp.concatenate([jnp.mean(g.ensemble, axis=1) - g.truth for g in groups])
        rmse = jnp.mean(jnp.sqrt(jnp.mean(error**2, axis=-1)))
        return (w, opt_state, groups), jnp.stack([value, rmse])

    @eqx.filter_jit
    def run_chunk(carry, keys):
        carry, curve = jax.lax.scan(cycle, carry, keys)
        return carry, jnp.mean(curve, axis=0)

    carry = (weights, optimizer.init(weights), groups)
    curves = []
    for done in range(0, settings.steps, settings.chunk):
        length = min(settings.chunk, settings.steps - done)
        indices = jnp.arange(done, done + length)
        keys = jax.vmap(lambda i: jax.random.fold_in(cycle_key, i))(indices)
        carry, curve = run_chunk(carry, keys)
        curves.append(curve)
        if progress is not None:
            progress(done + length, float(curve[0]), float(curve[1]))
    return with_weights(carry[0]), jnp.stack(curves)


def _start(
    natures: tuple[AbstractForecastModel, ...],
    step: LocalTransformStep,
    settings: OnPolicySettings,
    members: int,
    key: PRNGKeyArray,
) -> _Streams:
    k_truth, k_spin_up, k_ensemble = jax.random.split(key, 3)
    shape = (settings.streams // len(settings.members), *natures[0].state_shape)
    truth = step.centre + step.scale * jax.random.normal(k_truth, shape, jnp.float32)
    truth = jax.lax.fori_loop(
        0,
        settings.spin_up,
        lambda i, x: _advance(natures, x, jax.random.fold_in(k_spin_up, i)),
        truth,
    )
    noise = jax.random.normal(k_ensemble, (members, *shape), truth.dtype)
    noise = 2 * settings.nearness * noise
    past = None
    if step.history is not None:
        nothing = step.history.init(step.operator.obs_size, truth.dtype)
        past = jnp.broadcast_to(nothing, (shape[0], *nothing.shape))
    return _Streams(truth, jnp.moveaxis(truth[None] + noise, 0, 1), past)


def _advance(
    natures: tuple[AbstractForecastModel, ...],
    truth: Float[Array, "stream *state"],
    key: PRNGKeyArray,
) -> Float[Array, "stream *state"]:
    """Every truth one step on, the first share of the streams with the first nature, and so on."""
    keys = jax.random.split(key, truth.shape[0])
    time: Int[Array, ""] = jnp.zeros((), jnp.int32)
    shares = zip(
        natures, jnp.split(truth, len(natures)), jnp.split(keys, len(natures)), strict=True
    )
    return jnp.concatenate(
        [jax.vmap(lambda x, k, m=m: m.step(x, time, key=k))(x, k) for m, x, k in shares]
    )


def _reset_diverged(
    background: Float[Array, "stream member *state"],
    truth: Float[Array, "stream *state"],
    step: LocalTransformStep,
    settings: OnPolicySettings,
    key: PRNGKeyArray,
) -> Float[Array, "stream member *state"]:
    """Start streams anew whose mean is far from the truth."""
    error = jnp.mean(background, axis=1) - truth
    axes = tuple(range(1, error.ndim))
    rmse = jnp.sqrt(jnp.mean(error**2, axis=axes))
    noise = jax.random.normal(key, background.shape, background.dtype)
    fresh = truth[:, None] + 2 * settings.nearness * noise
    good = rmse < DIVERGED * step.scale
    return jnp.where(good.reshape(-1, *(1,) * (background.ndim - 1)), background, fresh)


def _shock(
    background: Float[Array, "stream member *state"],
    truth: Float[Array, "stream *state"],
    probability: float,
    key: PRNGKeyArray,
) -> Float[Array, "stream member *state"]:
    """Throw some streams off: half of them to a climatological ensemble, half of them aside.

    The truths of the other streams serve as draws from the climatology.
    """
    k_which, k_kind, k_members, k_far = jax.random.split(key, 4)
    streams, members = background.shape[:2]
    shape = (streams, *(1,) * (background.ndim - 1))
    climatological = truth[jax.random.randint(k_members, (streams, members), 0, streams)]
    far = jax.random.uniform(k_far, shape, truth.dtype)
    aside = background + far * (jnp.roll(truth, 1, axis=0) - truth)[:, None]
    kind = jax.random.bernoulli(k_kind, 0.5, shape)
    thrown = jnp.where(kind, climatological, aside)
    return jnp.where(jax.random.bernoulli(k_which, probability, shape), thrown, background)
