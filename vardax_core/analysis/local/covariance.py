"""Covariances in space and time as functions of the distance and the minutes apart."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.analysis.variational.covariance import CovarianceError
from vardax_core.types import visible

Shape = Literal["exponential", "matern32", "matern52"]
"""Matern correlations of smoothness 1/2, 3/2 and 5/2, positive definite in any dimension."""


def _exponential(r: Float[Array, "*any"]) -> Float[Array, "*any"]:
    return jnp.exp(-r)


def _matern32(r: Float[Array, "*any"]) -> Float[Array, "*any"]:
    r = 3**0.5 * r
    return (1 + r) * jnp.exp(-r)


def _matern52(r: Float[Array, "*any"]) -> Float[Array, "*any"]:
    r = 5**0.5 * r
    return (1 + r * (1 + r / 3)) * jnp.exp(-r)


CORRELATIONS: dict[Shape, Callable[[Float[Array, "*any"]], Float[Array, "*any"]]] = {
    "exponential": _exponential,
    "matern32": _matern32,
    "matern52": _matern52,
}
TWICE_SMOOTHNESS: dict[Shape, int] = {"exponential": 1, "matern32": 3, "matern52": 5}
"""Degrees of freedom of the t-distribution that is the spectral density of each shape."""


class SpaceTimeCovariance(eqx.Module):
    """A sum of components, each a variance times correlations in space and in time.

    C(d, t) = sum_i variance_i c_space(d / length_i) c_time(t / timescale_i). Distances are those
    along straight lines in an embedding, see `AbstractGrid.embedded`, so that C is positive
    semi-definite on lines, planes, rings and the sphere alike. A component of infinite length is
    one number for all places, one of infinite timescale lasts for ever.

    Attributes:
        variances: not negative, in the square of the state's unit.
        lengths: positive, in the unit of distances.
        timescales: positive, in minutes.
        space, time: shape of the correlations.

    Raises:
        CovarianceError: if there is no component, or one has no such variance, length or time.

    Source: Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, section 4.2.1;
        Gneiting (2013), doi:10.3150/12-BEJSP06, on the sphere.
    """

    variances: Float[Array, " component"]
    lengths: Float[Array, " component"]
    timescales: Float[Array, " component"]
    space: Shape = eqx.field(static=True, default="matern32")
    time: Shape = eqx.field(static=True, default="exponential")

    @classmethod
    def of(
        cls,
        *components: tuple[float, float, float],
        space: Shape = "matern32",
        time: Shape = "exponential",
    ) -> "SpaceTimeCovariance":
        """Make the covariance of components, each a variance, a length and a timescale."""
        if not components:
            raise CovarianceError(
                "SpaceTimeCovariance: expected at least one component (variance, length, "
                "timescale in minutes), got none."
            )
        variances, lengths, timescales = jnp.asarray(components, float).T
        return cls(variances, lengths, timescales, space=space, time=time)

    def __check_init__(self):
        for shape in (self.space, self.time):
            if shape not in CORRELATIONS:
                raise CovarianceError(
                    f"SpaceTimeCovariance: there is no correlation {shape!r}; choose from "
                    f"{', '.join(CORRELATIONS)}."
                )
        if not self.variances.shape == self.lengths.shape == self.timescales.shape:
            raise CovarianceError(
                "SpaceTimeCovariance: give one variance, length and timescale for each component, "
                f"got shapes {self.variances.shape}, {self.lengths.shape} and "
                f"{self.timescales.shape}."
            )
        for name, column, zero in (
            ("variance", self.variances, True),
            ("length", self.lengths, False),
            ("timescale", self.timescales, False),
        ):
            seen = visible(column)
            if seen is None:
                continue
            fine = (seen >= 0) & np.isfinite(seen) if zero else seen > 0
            if not fine.all():
                bad = int(np.flatnonzero(~fine)[0])
                raise CovarianceError(
                    f"SpaceTimeCovariance: the {name} of component {bad} is {seen[bad]}; expected "
                    f"{'a finite number, not negative' if zero else 'a positive number'}."
                )

    def __call__(
        self, distance: Float[Array, "*any"], minutes: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """Covariance of two points.

        Arguments:
            distance: between them, in the unit of the lengths.
            minutes: from one to the other, of either sign.
        """
        in_space, in_time = CORRELATIONS[self.space], CORRELATIONS[self.time]
        total, apart = jnp.zeros_like(distance), jnp.abs(minutes)
        for i in range(self.variances.shape[0]):
            variance, length, timescale = (
                column[i].astype(distance.dtype)
                for column in (self.variances, self.lengths, self.timescales)
            )
            total += variance * in_space(distance / length) * in_time(apart / timescale)
        return total

    def variance(self) -> Float[Array, ""]:
        """Of one point."""
        return jnp.sum(self.variances)

    def scaled(self, factor: float | Float[Array, ""]) -> "SpaceTimeCovariance":
        """The covariance of states times a factor."""
        square = jnp.asarray(factor, self.variances.dtype) ** 2
        return SpaceTimeCovariance(
            self.variances * square, self.lengths, self.timescales, self.space, self.time
        )
