"""The last analysis stays, decays towards the climatology, and is corrected."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior
from vardax_core.models.persistence import DampedPersistence

STATES, SPIN_UP, CYCLES = 256, 400, 48
"""Truths by which errors are estimated, steps from the climatology to the attractor of a model that
simulates, and cycles of each."""
SETTLED = 12
"""Cycles after which an error counts."""
LARGEST = 0.999
"""Autocorrelation beyond which the analyses would hardly learn from observations."""
ROUNDS, CLOSE = 500, 1e-4
"""Cycles in which the covariance of the filter settles, and the change at which it has."""
TRIALS, ALIKE = 12, 0.02
"""Of factors on the covariance, and how near to one the ratio of the last has to be."""


def truths(prior: AbstractPrior, minutes: int) -> Float[np.ndarray, "cycle state n"]:
    """Anomalies of states so many minutes apart, as the forecast model of a prior makes them.

    Raises:
        UnknownPriorError: if there is no forecast model.
    """
    model, climatology = prior.model, prior.climatology
    steps, settling = minutes // model.interval, SPIN_UP if prior.simulates else 0

    def ahead(states: Array, first: Array, count: int) -> Array:
        def body(index: Array, x: Array) -> Array:
            number = first + index
            return model.forecast(x, number * model.interval, key=jax.random.fold_in(key, number))

        return jax.lax.fori_loop(0, count, body, states)

    def cycle(states: Array, number: Array) -> tuple[Array, Array]:
        first = settling + number * steps
        states = ahead(states, first, steps)
        normal = climatology.mean_at((first + steps) * model.interval)
        return states, states - normal[None]

    key, draw_key = jax.random.split(jax.random.key(73))
    before = jnp.asarray(-climatology.interval, jnp.int32)
    like = jnp.zeros((STATES, *model.state_shape), climatology.mean.dtype)
    drawn = climatology.forecast(like, before, key=draw_key)
    start = jax.jit(lambda x: ahead(x, jnp.zeros((), jnp.int32), settling))(drawn)
    numbers = jnp.arange(CYCLES, dtype=jnp.int32)
    _, states = jax.jit(lambda x: jax.lax.scan(cycle, x, numbers))(start)
    return np.asarray(states, np.float64).reshape(CYCLES, STATES, -1)


def autocorrelation(anomalies: Float[np.ndarray, "cycle state n"]) -> float:
    """Find the correlation of the anomalies of a state with those one cycle later."""
    now, later = anomalies[:-1].ravel(), anomalies[1:].ravel()
    found = now @ later / np.sqrt((now @ now) * (later @ later))
    return float(np.clip(found, 0.0, LARGEST))


def settled_covariance(
    covariance: Float[np.ndarray, "n n"],
    correlation: float,
    stations: Int[np.ndarray, " obs"],
    error_sd: float,
) -> Float[np.ndarray, "n n"]:
    """Find the covariance of the background error in a cycle of damped persistence.

    It is what B = a^2 (I - K H) B + (1 - a^2) C comes to, with K the gain of B: the filter's own
    error, damped, and what the damping leaves of the climate. It is exact where the truth is damped
    persistence.

    Arguments:
        covariance: C of the climate.
        correlation: a.
        stations: points that are observed in every cycle.
        error_sd: of the observations.
    """
    lost = (1 - correlation**2) * covariance
    background = covariance
    for _ in range(ROUNDS):
        gain = _gain(background, stations, error_sd)
        analysis = background - gain @ background[stations]
        previous, background = background, correlation**2 * analysis + lost
        if np.max(np.abs(background - previous)) <= CLOSE * np.max(np.diag(covariance)):
            break
    return (background + background.T) / 2


def met_covariance(
    covariance: Float[np.ndarray, "n n"],
    correlation: float,
    stations: Int[np.ndarray, " obs"],
    error_sd: float,
    anomalies: Float[np.ndarray, "cycle state n"],
) -> Float[np.ndarray, "n n"]:
    """Multiply a covariance of the background error by what makes it that of the errors met.

    A real state does not forget as damped persistence does: its changes go on, and an analysis that
    trusts the covariance of the filter lags behind them. So truths are cycled, and the factor is
    sought with which the variance that the filter has is that of its errors.

    Arguments:
        covariance: of the filter, see `settled_covariance`.
        correlation, stations, error_sd: of the cycle.
        anomalies: truths of every cycle.
    """
    noise = error_sd * np.random.default_rng(73).standard_normal(
        (*anomalies.shape[:2], len(stations))
    )
    factor, expected = 1.0, np.trace(covariance)
    for _ in range(TRIALS):
        gain = _gain(factor * covariance, stations, error_sd)
        analysis, errors = np.zeros_like(anomalies[0]), []
        for truth, error in zip(anomalies, noise, strict=True):
            background = correlation * analysis
            departure = truth[:, stations] + error - background[:, stations]
            analysis = background + departure @ gain.T
            errors.append(np.mean(np.sum((background - truth) ** 2, axis=1)))
        ratio = np.mean(errors[SETTLED:]) / (factor * expected)
        factor *= ratio
        if abs(ratio - 1) <= ALIKE:
            break
    return factor * covariance


def _gain(
    covariance: Float[np.ndarray, "n n"], stations: Int[np.ndarray, " obs"], error_sd: float
) -> Float[np.ndarray, "n obs"]:
    cross = covariance[stations]
    total = cross[:, stations] + error_sd**2 * np.eye(len(stations))
    return np.linalg.solve(total, cross).T


class PersistenceMethod(AbstractMethod):
    """What a forecast model has to beat: observations are remembered, and nothing is known of the
    dynamics but how fast they forget."""

    name: ClassVar[str] = "persistence"
    title: ClassVar[str] = "the last analysis, damped towards the climatology and interpolated"
    source: ClassVar[str] = "the reference of every forecast; Lorenz (1973)"
    place: ClassVar[int] = 25
    needs_covariance: ClassVar[bool] = True

    def needs_points(self, prior: AbstractPrior) -> bool:
        return True

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior, recipe = problem.prior, problem.recipe
        minutes = duration_to_minutes(recipe.cycle_interval)
        stations, error_sd = problem.stations, recipe.error_sd
        assert stations is not None, "observations that bring their places are refused"
        anomalies = truths(prior, minutes)
        kept = autocorrelation(anomalies)
        climate = np.asarray(prior.covariance, np.float64)
        matrix = settled_covariance(climate, kept, stations, error_sd)
        matrix = met_covariance(matrix, kept, stations, error_sd, anomalies)
        climatology = prior.climatology
        dtype, shape = climatology.mean.dtype, climatology.state_shape
        covariance = DenseCovariance.from_table(jnp.asarray(matrix, dtype), shape)
        model = DampedPersistence(  # type: ignore[call-arg]
            climatology=climatology, correlation=jnp.asarray(kept, dtype), interval=minutes
        )
        return Assembly.of(prior, OptimalInterpolation(problem.operator, covariance), model)
