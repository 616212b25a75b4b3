"""Observation error models: what R is beyond the standard deviations in the window."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def finite_error_sd(
    error_sd: Float[Array, "*any"], values: Float[Array, "*any"], equivalents: Float[Array, "*any"]
) -> Float[Array, "*any"]:
    """Errors, raised where squares of the departures in their units would not stay finite.

    That is at eps^1.5 of the numbers that are compared, whose own rounding is eps.
    """
    largest = jnp.maximum(jnp.abs(values), jnp.abs(equivalents))
    return jnp.maximum(error_sd, float(jnp.finfo(error_sd.dtype).eps) ** 1.5 * largest)


class AbstractErrorModel(eqx.Module):
    """A covariance R = C C' of the errors of one row of observations.

    R belongs to the observations that are present; a missing one has no part in it.
    """

    @abstractmethod
    def whiten(
        self,
        departure: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        """C^-1 times a departure; zero where an observation is missing.

        Arguments:
            departure: vector in observation space, unit of the observations.
            equivalent: observation equivalent on which R may depend.
            mask: True where an observation is present.
            error_sd: standard deviation of each error, positive.
        """

    @abstractmethod
    def colour(
        self,
        noise: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        """C times a vector; standard normal `noise` gives a draw of the observation error."""


class DiagonalErrorModel(AbstractErrorModel):
    """Independent errors of the standard deviations given with the observations."""

    def whiten(
        self,
        departure: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        return jnp.where(mask, departure / error_sd, 0.0)

    def colour(
        self,
        noise: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        return jnp.where(mask, noise * error_sd, 0.0)


class StateDependentErrorModel(AbstractErrorModel):
    """Independent errors that grow with the signal: sd^2 = error_sd^2 + (fraction |Hx|)^2.

    Attributes:
        fraction: relative part of the error, 0.1 for 10 %.
    """

    fraction: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.fraction >= 0:
            raise ValueError(
                f"StateDependentErrorModel: fraction must be >= 0, got {self.fraction}."
            )

    def standard_deviation(
        self, equivalent: Float[Array, " obs"], error_sd: Float[Array, " obs"]
    ) -> Float[Array, " obs"]:
        """The error of an observation whose equivalent is `equivalent`."""
        return jnp.sqrt(error_sd**2 + (self.fraction * equivalent) ** 2)

    def whiten(
        self,
        departure: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        return jnp.where(mask, departure / self.standard_deviation(equivalent, error_sd), 0.0)

    def colour(
        self,
        noise: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        return jnp.where(mask, noise * self.standard_deviation(equivalent, error_sd), 0.0)


class AlongTrackErrorModel(AbstractErrorModel):
    """Errors correlated along a track as exp(-|s_i - s_j| / length).

    Such errors form a Markov chain along the track, so that R^-1/2 needs each observation and
    the one before it that is present, whatever is missing between them.

    Attributes:
        positions: distance of each observation along the track, strictly increasing.
        length: correlation length in the unit of the positions.

    Source: Rasmussen and Williams (2006), Gaussian Processes, appendix B (the
    Ornstein-Uhlenbeck process).
    """

    positions: Float[Array, " obs"]
    length: float = eqx.field(static=True)

    @classmethod
    def along(cls, positions: Float[Array, " obs"], length: float) -> "AlongTrackErrorModel":
        """Check the track and build its error model.

        Raises:
            ValueError: if the positions do not increase or the length is not positive.
        """
        if not length > 0:
            raise ValueError(f"AlongTrackErrorModel: length must be positive, got {length}.")
        steps = np.diff(np.asarray(positions))
        if np.any(~(steps > 0)):
            raise ValueError(
                "AlongTrackErrorModel: positions must increase strictly along the track, but "
                f"position {int(np.argmin(steps > 0)) + 1} does not; sort the observations."
            )
        return cls(positions=positions, length=length)

    def _before(
        self, mask: Bool[Array, " obs"]
    ) -> tuple[Int[Array, " obs"], Float[Array, " obs"], Float[Array, " obs"]]:
        """Index of the present observation before each, its correlation, the rest's sd."""
        own = jnp.where(mask, jnp.arange(mask.shape[0]), -1)
        latest = jax.lax.cummax(own)
        before = jnp.concatenate([jnp.full((1,), -1, latest.dtype), latest[:-1]])
        gap = self.positions - self.positions[before]
        correlation = jnp.where(before >= 0, jnp.exp(-gap / self.length), 0.0)
        # 1 - correlation^2 without cancelling, positive for observations at one place too.
        rest = jnp.where(before >= 0, -jnp.expm1(-2 * gap / self.length), 1.0)
        return before, correlation, jnp.sqrt(jnp.maximum(rest, jnp.finfo(rest.dtype).eps))

    def whiten(
        self,
        departure: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        before, correlation, rest = self._before(mask)
        scaled = departure / error_sd
        return jnp.where(mask, (scaled - correlation * scaled[before]) / rest, 0.0)

    def colour(
        self,
        noise: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        mask: Bool[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        _, correlation, rest = self._before(mask)

        def body(last, row):
            rho, sd, draw, present = row
            value = jnp.where(present, rho * last + sd * draw, last)
            return value, jnp.where(present, value, 0.0)

        start = jnp.zeros((), noise.dtype)
        _, scaled = jax.lax.scan(body, start, (correlation, rest, noise, mask))
        return scaled * error_sd
