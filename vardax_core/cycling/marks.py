"""What an increment is judged by: one number, or one for each channel, that is steady while all is
well."""

import functools
from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vardax_core.models.base import AbstractBalancedModel
from vardax_core.types import ensemble_mean, ensemble_spread

LEAST_SPREAD = 0.01
"""Share of a channel's spread below which no point's spread is taken to be."""
NOTHING = 1e-4
"""Share of an energy that counts as none of it."""
OPPOSED = 10.0
"""Weight of a correlation below zero: at -1 it is beyond any factor that is immaterial."""


class Increment(eqx.Module):
    """One analysis beside its background, by channel.

    Attributes:
        normalised: increment of the mean over the background's spread.
        narrowing: variance of the analysis members over that of the background's.
        usual: what is usually the square of `normalised` at each place.
        moved: background minus the last analysis, over the background's spread.
        plain: increment of the mean, unit of the state.
        innovation, equivalent: O-B, and the same of the increment, over the root of HBH' + R; zero
            where no observation is used.
        count: observations that are used, at least 1.
        refused: observations that the first-guess check refused.
    """

    normalised: Float[Array, "channel *grid"]
    narrowing: Float[Array, "channel *grid"]
    usual: Float[Array, "channel *grid"]
    moved: Float[Array, "channel *grid"]
    plain: Float[Array, "channel *grid"]
    innovation: Float[Array, " obs"]
    equivalent: Float[Array, " obs"]
    count: Float[Array, ""]
    refused: Float[Array, ""]

    @property
    def misfit(self) -> Float[Array, ""]:
        """Mean square of the normalised innovations."""
        return jnp.sum(self.innovation**2) / self.count

    @property
    def energy(self) -> Float[Array, " channel"]:
        """Mean square of the normalised increment of each channel."""
        return by_channel(self.normalised**2)


def normalisation(
    background: Float[Array, "member *state"], apart: bool
) -> Float[Array, "channel *grid"]:
    """The background's spread at every point, with `LEAST_SPREAD` of its channel's at least.

    Arguments:
        apart: whether the first axis of a state is that of the channel.
    """
    variance = ensemble_spread(background) ** 2
    variance = variance if apart else variance[None]
    mean = by_channel(variance)
    mean = jnp.where(mean > 0, mean, 1.0).reshape(-1, *(1,) * (variance.ndim - 1))
    return jnp.sqrt(variance + LEAST_SPREAD**2 * mean)


def by_channel(field: Float[Array, "channel *grid"]) -> Float[Array, " channel"]:
    """Mean over the grid."""
    return jnp.mean(field.reshape(len(field), -1), axis=1)


def highest(field: Float[Array, "channel *grid"]) -> Float[Array, " channel"]:
    """Largest value on the grid."""
    return jnp.max(field.reshape(len(field), -1), axis=1)


def logarithm(energy: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Natural logarithm of an energy, that of none being finite."""
    return jnp.log(energy + jnp.finfo(energy.dtype).tiny)


class AbstractMark(eqx.Module):
    """One kind of number that an increment is judged by.

    Class attributes:
        cause: what is wrong where it is unusual; a sentence with the increment as its subject.
        low, high: whether it is wrong below, or above, what is usual.
        apart: whether there is a number for each channel.
    """

    cause: ClassVar[str]
    low: ClassVar[bool] = False
    high: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    @abstractmethod
    def of(self, made: Increment) -> Float[Array, "*channel"]:
        """The number of an increment, or that of each channel."""


class Size(AbstractMark):
    """log of mean (dx / sigma_b)^2 over that of the innovations."""

    cause: ClassVar[str] = "is of another size than usual for such innovations"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(made.energy) - logarithm(made.misfit)


class Place(AbstractMark):
    """log of the largest (dx / sigma_b)^2 over what is usual at its place, and over the
    innovations'."""

    cause: ClassVar[str] = "is larger than usual at a place"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        usual = by_channel(made.usual).reshape(-1, *(1,) * (made.usual.ndim - 1))
        least = LEAST_SPREAD * usual + jnp.finfo(usual.dtype).tiny
        return logarithm(highest(made.normalised**2 / (made.usual + least))) - logarithm(
            made.misfit
        )


class Roughness(AbstractMark):
    """log of the energy of second differences over that of the increment: 6 for white noise on a
    ring, 16 for a checkerboard."""

    cause: ClassVar[str] = "has too much of its energy at the scale of the grid"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        x = made.normalised
        axes = [axis for axis in range(1, x.ndim) if x.shape[axis] > 2]
        parts = [by_channel(jnp.diff(x, n=2, axis=axis) ** 2) for axis in axes]
        energy = functools.reduce(jnp.add, parts, jnp.zeros_like(made.energy))
        return logarithm(energy) - logarithm(made.energy)


class Narrowing(AbstractMark):
    """log of mean sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "leaves members that are all alike, or far apart"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(by_channel(made.narrowing))


class Widening(AbstractMark):
    """log of the largest sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "takes a member far from the others at a place"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(highest(made.narrowing))


class Masked(AbstractMark):
    """log of the share of the energy at points that do not belong to the state.

    Attributes:
        mask: True at the points that belong to the state.
    """

    mask: Bool[Array, "*grid"]
    cause: ClassVar[str] = "is there where the state has no points"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        hidden = by_channel(jnp.where(self.mask[None], 0.0, made.normalised**2))
        return jnp.log(hidden / (made.energy + jnp.finfo(hidden.dtype).tiny) + NOTHING)


class Balance(AbstractMark):
    """log of the energy of what a law gives of the increment over the increment's own.

    Attributes:
        model: which has the law.
    """

    model: AbstractBalancedModel
    cause: ClassVar[str] = "is out of balance"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Float[Array, " channel"]:
        x = made.plain.reshape(self.model.state_shape)
        balanced = self.model.balanced(x / jnp.sqrt(jnp.mean(x**2) + jnp.finfo(x.dtype).tiny))
        balanced = balanced.reshape(len(made.plain), -1)
        return logarithm(by_channel(balanced**2)) - logarithm(
            by_channel(made.plain**2) / (jnp.mean(x**2) + jnp.finfo(x.dtype).tiny)
        )


class Agreement(AbstractMark):
    """The correlation of increment and innovation at the observations used, where it is below
    zero; with the exact gain it never is."""

    cause: ClassVar[str] = "leads away from the observations"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        h, d = made.equivalent, made.innovation
        size = jnp.sqrt(jnp.sum(h**2) * jnp.sum(d**2))
        return OPPOSED * jnp.minimum(
            jnp.sum(h * d) / (size + jnp.finfo(size.dtype).tiny), jnp.zeros_like(size)
        )


class Misfit(AbstractMark):
    """log of mean (O-B)^2 / (HBH' + R) over the observations used."""

    cause: ClassVar[str] = "follows observations that are suddenly far from the background"
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        return logarithm(made.misfit)


class Refused(AbstractMark):
    """log of the share of the observations that the first-guess check refused, one more counted."""

    cause: ClassVar[str] = "is made while many more observations than usual are refused"
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        return jnp.log1p(made.refused) - jnp.log1p(made.count + made.refused)


class Stale(AbstractMark):
    """log of the distance of the analysis from the last one over that of the background."""

    cause: ClassVar[str] = "leads back to the last analysis"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        there = jnp.mean((made.moved + made.normalised) ** 2) + NOTHING
        return jnp.log(there) - jnp.log(jnp.mean(made.moved**2) + NOTHING)


class Standstill(AbstractMark):
    """log of the distance of the background from the last analysis, in its spread."""

    cause: ClassVar[str] = "is that of a background that stands still"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        return jnp.log(jnp.mean(made.moved**2) + NOTHING)


MARKS: tuple[AbstractMark, ...] = (
    *(Size(), Place(), Roughness(), Narrowing(), Widening()),
    *(Agreement(), Misfit(), Refused(), Stale(), Standstill()),
)
"""Those of every state."""


KINDS: tuple[type[AbstractMark], ...] = (*map(type, MARKS), Masked, Balance)
"""All kinds; the number of one in stores is its place here, from 1."""
NAMES = ("none", *(kind.__name__.lower() for kind in KINDS))
"""By these numbers."""


def mean_of(ensemble: Float[Array, "member *state"], apart: bool) -> Float[Array, "channel *grid"]:
    """Mean of the members with an axis of channels."""
    mean = ensemble_mean(ensemble)
    return mean if apart else mean[None]
