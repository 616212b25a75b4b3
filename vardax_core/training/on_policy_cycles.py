"""Twin cycles that go on from the analyses of a step while it is trained."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Shaped

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.origin import Origin, needs_origin, with_origin
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.departures import Departures
from vardax_core.training.nature import Nature, resolved_of
from vardax_core.training.objective import AbstractPairs
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.types import Observations, ensemble_mean

DIVERGED = 1.1
"""Climatological standard deviations from the truth at which a stream starts anew."""
NOW = 0
"""Minute of every analysis: neither the models nor the networks know of time."""


class Streams(NamedTuple):
    """Streams with ensembles of one size, and the past of their departures if anybody looks.

    Attributes:
        natures: states of the truths, an array for each nature with its share of the streams.
        ensemble: of every stream, those of the first nature first.
        past: see `DepartureHistory`.
    """

    natures: tuple[Float[Array, "share ..."], ...]
    ensemble: Float[Array, "stream member *state"]
    past: Float[Array, "stream statistic obs"] | None


class Analysed(NamedTuple):
    """What the analyses of streams of one size are given, and what they are scored against.

    Attributes:
        natures: states of the truths, see `Streams`.
        truth: what the forecast model knows of them.
        background, guess: ensembles before the analysis, and after the first guess.
        observations: of every stream.
        past: of the departures before.
        key: of the score.
    """

    natures: tuple[Float[Array, "share ..."], ...]
    truth: Float[Array, "stream *state"]
    background: Float[Array, "stream member *state"]
    guess: Float[Array, "stream member *state"]
    observations: Observations
    past: Float[Array, "stream statistic obs"] | None
    key: PRNGKeyArray


class OnPolicyCycles(AbstractPairs):
    """Truths, observations and backgrounds of parallel cycles; what is carried are the streams.

    Attributes:
        step: the step in training; its weights are not looked at.
        model: forecast model.
        natures: make the truths, each in an equal share of the streams.
        observing: what each cycle observes, one system for every so many streams.
        nearness: half the error with which a stream starts, unit of the state.
        shock: probability, in each cycle of each stream, that its ensemble is thrown off.
        forget: the same that the past of its departures is forgotten.
        bound: largest distance of a member from the climatological mean, in climatological
            standard deviations.
        key: folded with the step.
    """

    step: LocalTransformStep
    model: AbstractForecastModel
    natures: tuple[Nature, ...]
    observing: tuple[AbstractObservingSystem, ...]
    nearness: float = eqx.field(static=True)
    shock: float = eqx.field(static=True)
    forget: float = eqx.field(static=True)
    bound: float = eqx.field(static=True)
    key: PRNGKeyArray

    def start(self, streams: int, members: int, spin_up: int, *, key: PRNGKeyArray) -> Streams:
        """Streams of one size whose truths are on the attractor.

        Arguments:
            streams: how many.
            members: of each.
            spin_up: model steps from rest to the attractor.
            key: of all that is drawn.
        """
        k_truth, k_spin_up, k_ensemble = jax.random.split(key, 3)
        shape = (streams, *self.model.state_shape)
        noise = jax.random.normal(k_truth, shape, jnp.float32)
        natures = jax.lax.fori_loop(
            0,
            spin_up,
            lambda i, x: advance_shares(self.natures, x, jax.random.fold_in(k_spin_up, i)),
            self._beginnings(self.step.centre + self.step.scale * noise, k_truth),
        )
        truth = resolved_of(self.natures, natures)
        noise = jax.random.normal(k_ensemble, (members, *shape), truth.dtype)
        ensemble = jnp.moveaxis(truth[None] + 2 * self.nearness * noise, 0, 1)
        past = None
        if self.step.history is not None:
            nothing = self.step.history.init(self.step.operator.obs_size, truth.dtype)
            past = jnp.broadcast_to(nothing, (streams, *nothing.shape))
        return Streams(natures, ensemble, past)

    def deal(
        self, state: tuple[Streams, ...], first: int, count: int
    ) -> tuple[tuple[Streams, ...], tuple[Int[Array, " step"], Shaped[Array, "step *key"]]]:
        steps = jnp.arange(first, first + count)
        return state, (steps, jax.vmap(lambda step: jax.random.fold_in(self.key, step))(steps))

    def given(
        self, state: tuple[Streams, ...], row: tuple[Int[Array, ""], PRNGKeyArray]
    ) -> tuple[Analysed, ...]:
        cycle, key = row
        keys = jax.random.split(key, len(state))
        return tuple(self._advance(group, cycle, k) for group, k in zip(state, keys, strict=True))

    def follow(
        self, given: tuple[Analysed, ...], outcome: tuple[Array, ...]
    ) -> tuple[Streams, ...]:
        return tuple(map(self._follow, given, outcome))

    def _beginnings(
        self, near: Float[Array, "stream *state"], key: PRNGKeyArray
    ) -> tuple[Float[Array, "share ..."], ...]:
        """States from which the natures find their attractors.

        Arguments:
            near: of the streams whose nature has no state of its own to begin from.
            key: of the noise about those of the others.
        """
        shares = jnp.split(near, len(self.natures))
        return tuple(
            share if nature.near is None else _about(nature.near, share, jax.random.fold_in(key, n))
            for n, (nature, share) in enumerate(zip(self.natures, shares, strict=True))
        )

    def _advance(self, group: Streams, cycle: Int[Array, ""], key: PRNGKeyArray) -> Analysed:
        """Truths, backgrounds, observations and first guesses of streams of one size."""
        k_truth, k_forecast, k_noise, k_guess, k_loss, k_reset, k_shock = jax.random.split(key, 7)
        count = group.ensemble.shape[0]
        natures = advance_shares(self.natures, group.natures, k_truth)
        truth = resolved_of(self.natures, natures)
        origins = jax.vmap(self._origin)(group.ensemble, jax.random.split(k_forecast, count))
        forecast, _ = jax.vmap(lambda o: o.forecast(o.ensemble))(origins)
        diverged = DIVERGED * self.step.scale
        background = start_anew(forecast, truth, diverged, 2 * self.nearness, key=k_reset)
        background = thrown_off(background, truth, self.shock, key=k_shock)
        past = group.past
        if past is not None:
            gone = jax.random.bernoulli(jax.random.fold_in(k_shock, 1), self.forget, (count, 1, 1))
            past = jnp.where(gone, 0.0, past)
        observations = self._observations(truth, past, cycle, jax.random.split(k_noise, count))
        guess = self._first_guess(
            background, forecast, observations, origins, jax.random.split(k_guess, count)
        )
        return Analysed(natures, truth, background, guess, observations, past, k_loss)

    def _origin(self, ensemble: Float[Array, "member *state"], key: PRNGKeyArray) -> Origin:
        reach = self.bound * self.step.scale
        valid_range = (self.step.centre - reach, self.step.centre + reach)
        time = jnp.asarray(NOW, jnp.int32)
        return Origin(ensemble, time, key, self.model, steps=1, valid_range=valid_range)

    def _observations(
        self,
        truth: Float[Array, "stream *state"],
        past: PyTree,
        cycle: Int[Array, ""],
        keys: Shaped[Array, "stream *key"],
    ) -> Observations:
        """What is seen of every stream; neighbours have different systems."""
        systems = len(self.observing)

        def shares(x: Array) -> Array:
            return x.reshape(-1, systems, *x.shape[1:])

        split = jax.tree.map(shares, (truth, past, keys))
        seen = [
            jax.vmap(partial(self._observe, system, cycle))(
                *jax.tree.map(lambda x, n=n: x[:, n], split)
            )
            for n, system in enumerate(self.observing)
        ]
        return jax.tree.map(lambda *x: jnp.stack(x, axis=1).reshape(-1, *x[0].shape[1:]), *seen)

    def _observe(
        self,
        observing: AbstractObservingSystem,
        cycle: Int[Array, ""],
        truth: Float[Array, "*state"],
        past: PyTree,
        key: PRNGKeyArray,
    ) -> Observations:
        k_network, k_error = jax.random.split(key)
        size, dtype = self.step.operator.obs_size, truth.dtype
        mask, error_sd = observing.draw(size, dtype, cycle=cycle, key=k_network)
        values = self.step.operator(truth) + observing.errors.draw(error_sd, key=k_error)
        values = jnp.where(mask, values, jnp.zeros_like(values))
        history = self.step.history
        seen = None if history is None else history.standardised(past)
        time = jnp.asarray([NOW], jnp.int32)
        return Observations(values[None], mask[None], error_sd[None], time, seen)

    def _first_guess(
        self,
        background: Float[Array, "stream member *state"],
        forecast: Float[Array, "stream member *state"],
        observations: Observations,
        origins: Origin,
        keys: Shaped[Array, "stream *key"],
    ) -> Float[Array, "stream member *state"]:
        """What the network corrects; the background where there is no filter before it."""
        step = self.step.first_guess
        if step is None:
            return background

        def one(
            ensemble: Array, observed: Observations, origin: Origin, key: PRNGKeyArray
        ) -> Array:
            return with_origin(step, origin)(ensemble, observed, key=key).ensemble

        guess = jax.vmap(one)(background, observations, origins, keys)
        if not needs_origin(step):
            return guess
        # A background that was replaced did not come from there.
        own = jnp.all(background == forecast, axis=tuple(range(1, forecast.ndim)), keepdims=True)
        return jnp.where(own, guess, background)

    def _follow(self, given: Analysed, ensemble: Float[Array, "stream member *state"]) -> Streams:
        past = jax.vmap(self._remember)(given.past, given.background, ensemble, given.observations)
        return Streams(given.natures, ensemble, past)

    def _remember(
        self,
        past: PyTree,
        background: Float[Array, "member *state"],
        ensemble: Float[Array, "member *state"],
        observations: Observations,
    ) -> PyTree:
        """The past of one stream with one more cycle."""
        history, operator = self.step.history, self.step.operator
        if history is None:
            return past
        departures = Departures.of(operator, background, observations)
        residuals = departures.residuals(operator, ensemble_mean(ensemble), ensemble)
        return history.update(past, departures, residuals)


def advance_shares(
    natures: tuple[Nature, ...],
    states: tuple[Float[Array, "share ..."], ...],
    key: PRNGKeyArray,
) -> tuple[Float[Array, "share ..."], ...]:
    """Every truth one step on, each share of the streams with its nature."""
    keys = jax.random.split(key, sum(x.shape[0] for x in states))
    time: Int[Array, ""] = jnp.asarray(NOW, jnp.int32)
    shares = zip(natures, states, jnp.split(keys, len(natures)), strict=True)
    return tuple(jax.vmap(lambda x, k, m=m: m.step(x, time, key=k))(x, k) for m, x, k in shares)


def _about(
    near: Float[Array, "*state"], share: Float[Array, "share ..."], key: PRNGKeyArray
) -> Float[Array, "share *state"]:
    """As many states near one as there are streams in a share, off it by noise of one unit."""
    noise = jax.random.normal(key, (share.shape[0], *near.shape), share.dtype)
    return near.astype(share.dtype)[None] + noise


def start_anew(
    background: Float[Array, "stream member *state"],
    truth: Float[Array, "stream *state"],
    diverged: float,
    error: float,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "stream member *state"]:
    """Start streams anew near the truth whose mean is far from it, or not finite.

    Arguments:
        background, truth: of every stream.
        diverged: error of the mean from which on a stream is lost, unit of the state.
        error: standard deviation with which it starts anew, the same.
        key: of the new errors.
    """
    departure = jnp.mean(background, axis=1) - truth
    rmse = jnp.sqrt(jnp.mean(departure**2, axis=tuple(range(1, departure.ndim))))
    good = rmse < diverged

    def anew() -> Array:
        noise = jax.random.normal(key, background.shape, background.dtype)
        fresh = truth[:, None] + error * noise
        return jnp.where(good.reshape(-1, *(1,) * (background.ndim - 1)), background, fresh)

    # Hardly ever, and as many numbers as all members have are a tenth of a step.
    return jax.lax.cond(jnp.all(good), lambda: background, anew)


def thrown_off(
    background: Float[Array, "stream member *state"],
    truth: Float[Array, "stream *state"],
    probability: float,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "stream member *state"]:
    """Throw some streams off: half of them to a climatological ensemble, half of them aside.

    The truths of the other streams serve as draws from the climatology.

    Arguments:
        background, truth: of every stream.
        probability: of each stream.
        key: of all that is drawn.
    """
    k_which, k_kind, k_members, k_far = jax.random.split(key, 4)
    streams, members = background.shape[:2]
    shape = (streams, *(1,) * (background.ndim - 1))
    which = jax.random.bernoulli(k_which, probability, shape)

    def thrown() -> Array:
        climatological = truth[jax.random.randint(k_members, (streams, members), 0, streams)]
        far = jax.random.uniform(k_far, shape, truth.dtype)
        aside = background + far * (jnp.roll(truth, 1, axis=0) - truth)[:, None]
        kind = jax.random.bernoulli(k_kind, 0.5, shape)
        return jnp.where(which, jnp.where(kind, climatological, aside), background)

    return jax.lax.cond(jnp.any(which), thrown, lambda: background)
