"""What a training cycle observes: one network for good, or another one each time."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


class AbstractErrors(eqx.Module):
    """A distribution of independent observation errors."""

    @abstractmethod
    def draw(self, error_sd: Float[Array, "*obs"], *, key: PRNGKeyArray) -> Float[Array, "*obs"]:
        """Errors without a mean and with these standard deviations, unit of the values."""


class GaussianErrors(AbstractErrors):
    """Normal errors."""

    def draw(self, error_sd: Float[Array, "*obs"], *, key: PRNGKeyArray) -> Float[Array, "*obs"]:
        return error_sd * jax.random.normal(key, error_sd.shape, error_sd.dtype)


class LaplaceErrors(AbstractErrors):
    """Errors whose density falls exponentially: small ones and outliers are frequent."""

    def draw(self, error_sd: Float[Array, "*obs"], *, key: PRNGKeyArray) -> Float[Array, "*obs"]:
        return 0.5**0.5 * error_sd * jax.random.laplace(key, error_sd.shape, error_sd.dtype)


class AbstractObservingSystem(eqx.Module):
    """A distribution of observing networks and of their errors."""

    @property
    @abstractmethod
    def errors(self) -> AbstractErrors:
        """Of the observations, given their standard deviations."""

    @abstractmethod
    def draw(
        self, n: int, dtype: jnp.dtype, *, cycle: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Bool[Array, " {n}"], Float[Array, " {n}"]]:
        """The network of one cycle: which of `n` observations there are, and their error sds.

        Arguments:
            n: observations that there could be.
            dtype: of the standard deviations.
            cycle: its number, for networks that move.
            key: of what is drawn.
        """

    @property
    @abstractmethod
    def typical_error(self) -> float:
        """A standard deviation of the errors in the middle of those that there are."""


class FixedNetwork(AbstractObservingSystem):
    """The same observations in every cycle.

    Attributes:
        error_sd: observation error standard deviation, unit of the values.
        every: one of so many points is observed, beginning with the first.
        errors: see `AbstractObservingSystem`.
    """

    error_sd: float = eqx.field(static=True)
    every: int = eqx.field(static=True, default=1)
    errors: AbstractErrors = GaussianErrors()

    def __check_init__(self):
        if not self.error_sd > 0 or self.every < 1:
            raise ValueError(
                f"FixedNetwork: error_sd must be > 0 and every >= 1, got {self.error_sd} and "
                f"{self.every}."
            )

    def draw(
        self, n: int, dtype: jnp.dtype, *, cycle: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Bool[Array, " {n}"], Float[Array, " {n}"]]:
        return jnp.arange(n) % self.every == 0, jnp.full((n,), self.error_sd, dtype)

    @property
    def typical_error(self) -> float:
        return self.error_sd


class RecurringNetwork(AbstractObservingSystem):
    """Networks that follow each other and begin anew, as orbits that repeat or hours of a day do.

    Attributes:
        there: which observations there are in each cycle of a round.
        error_sd: observation error standard deviation, unit of the values.
        errors: see `AbstractObservingSystem`.
    """

    there: Bool[Array, "cycle obs"]
    error_sd: float = eqx.field(static=True)
    errors: AbstractErrors = GaussianErrors()

    def __check_init__(self):
        if not self.error_sd > 0 or self.there.ndim != 2 or self.there.shape[0] < 1:
            raise ValueError(
                "RecurringNetwork: error_sd must be > 0 and there must have a row for each of one "
                f"or more cycles, got {self.error_sd} and the shape {self.there.shape}."
            )

    def draw(
        self, n: int, dtype: jnp.dtype, *, cycle: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Bool[Array, " {n}"], Float[Array, " {n}"]]:
        return self.there[cycle % self.there.shape[0]], jnp.full((n,), self.error_sd, dtype)

    @property
    def typical_error(self) -> float:
        return self.error_sd


class RandomNetwork(AbstractObservingSystem):
    """Another network in every cycle: scattered or with gaps, now and then none at all.

    The share of observed points is uniform. Half of the networks lose points one by one, half of
    them in clusters: where a smooth random field is low. The error variance is log-uniform, one
    for each cycle.

    Attributes:
        error_variance: smallest and largest error variance, squared unit of the values.
        observed: smallest and largest share of observed points.
        outage: probability of a cycle without observations.
        gap: scale of the clusters in points.
        errors: see `AbstractObservingSystem`.
    """

    error_variance: tuple[float, float] = eqx.field(static=True)
    observed: tuple[float, float] = eqx.field(static=True, default=(0.2, 1.0))
    outage: float = eqx.field(static=True, default=0.02)
    gap: float = eqx.field(static=True, default=2.0)
    errors: AbstractErrors = GaussianErrors()

    def __check_init__(self):
        low, high = self.observed
        least, most = self.error_variance
        if not 0 < low <= high <= 1 or not 0 < least <= most or not 0 <= self.outage < 1:
            raise ValueError(
                f"RandomNetwork: 0 < observed <= 1, error_variance > 0 (smallest first) and "
                f"0 <= outage < 1 are needed, got {self.observed}, {self.error_variance} and "
                f"{self.outage}."
            )

    def draw(
        self, n: int, dtype: jnp.dtype, *, cycle: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Bool[Array, " {n}"], Float[Array, " {n}"]]:
        k_share, k_kind, k_points, k_outage, k_error = jax.random.split(key, 5)
        low, high = self.observed
        share = jax.random.uniform(k_share, (), dtype, low, high)
        noise = jax.random.normal(k_points, (n,), dtype)
        lag = jnp.minimum(jnp.arange(n), n - jnp.arange(n)).astype(dtype)
        kernel = jnp.exp(-0.5 * (lag / self.gap) ** 2)
        smooth = jnp.fft.irfft(jnp.fft.rfft(noise) * jnp.fft.rfft(kernel), n).astype(dtype)
        height = jnp.where(jax.random.bernoulli(k_kind), smooth, noise)
        rank = jnp.argsort(jnp.argsort(height))
        kept = rank >= n - jnp.round(share * n).astype(rank.dtype)
        mask = kept & ~jax.random.bernoulli(k_outage, self.outage)
        least, most = (jnp.log(v) for v in self.error_variance)
        log_variance = jax.random.uniform(k_error, (), dtype, least, most)
        return mask, jnp.full((n,), jnp.exp(0.5 * log_variance), dtype)

    @property
    def typical_error(self) -> float:
        return math.prod(self.error_variance) ** 0.25


def systems_of(
    observing: AbstractObservingSystem | Sequence[AbstractObservingSystem],
) -> tuple[AbstractObservingSystem, ...]:
    """Give the observing systems that there are, be it one or several."""
    return (observing,) if isinstance(observing, AbstractObservingSystem) else tuple(observing)
