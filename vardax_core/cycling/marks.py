"""What an increment is judged by: one number, or one for each channel, that is steady while all is
well."""

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
    """What one analysis does to its background, as the numbers that marks are made of.

    Attributes:
        energy: mean of the squares of the increment of the mean over the background's spread, by
            channel; so are the next five.
        roughness: mean of the squares of its second differences, summed over the axes.
        place: largest of its squares over what is usual at its place.
        narrowing, widest: mean, and largest, of the analysis members' variance over that of the
            background's.
        hidden: mean of its squares over the points that do not belong to the state.
        moved, left: mean square of the distance of the background, and of the analysis, from the
            last analysis, over the background's spread.
        misfit: mean square of the normalised innovations of the observations that are used.
        agreement: correlation of the innovations and what the increment is at the observations.
        count: observations that are used, at least 1.
        refused: observations that the first-guess check refused.
        plain: increment of the mean, unit of the state.
        squares: of the increment of the mean over the background's spread.
    """

    energy: Float[Array, " channel"]
    roughness: Float[Array, " channel"]
    place: Float[Array, " channel"]
    narrowing: Float[Array, " channel"]
    widest: Float[Array, " channel"]
    hidden: Float[Array, " channel"]
    moved: Float[Array, ""]
    left: Float[Array, ""]
    misfit: Float[Array, ""]
    agreement: Float[Array, ""]
    count: Float[Array, ""]
    refused: Float[Array, ""]
    plain: Float[Array, "channel *grid"]
    squares: Float[Array, "channel *grid"]

    @classmethod
    def of(
        cls,
        plain: Float[Array, "channel *grid"],
        scale: Float[Array, "channel *grid"],
        spread: Float[Array, "channel *grid"],
        away: Float[Array, "channel *grid"],
        usual: Float[Array, "channel *grid"],
        mask: Bool[Array, "*grid"] | None,
        innovation: Float[Array, " obs"],
        equivalent: Float[Array, " obs"],
        used: Bool[Array, " obs"],
        refused: Bool[Array, " obs"],
    ) -> "Increment":
        """Reduce fields and departures in few passes, which is what small states cost.

        Arguments:
            plain: increment of the mean, unit of the state.
            scale: the background's spread, see `normalisation`.
            spread: of the analysis members.
            away: background minus the last analysis.
            usual: what is usually the square of the normalised increment at each place.
            mask: True at the points that belong to the state, None for all.
            innovation, equivalent: O-B, and the increment there, over the root of HBH' + R.
            used, refused: which observations are.
        """
        x, moved = plain / scale, away / scale
        squares, narrowing = x**2, (spread / scale) ** 2
        hidden = jnp.zeros_like(x) if mask is None else jnp.where(mask[None], 0.0, squares)
        fields = (squares, _second_differences(x), narrowing, hidden, moved**2, (moved + x) ** 2)
        means = jnp.mean(_flat(*fields), axis=2)
        mean_usual = by_channel(usual).reshape(-1, *(1,) * (usual.ndim - 1))
        least = LEAST_SPREAD * mean_usual + jnp.finfo(usual.dtype).tiny
        place, widest = jnp.max(_flat(squares / (usual + least), narrowing), axis=2)
        d, h = (jnp.where(used, value, 0.0) for value in (innovation, equivalent))
        both = [d * d, h * h, h * d, used.astype(d.dtype), refused.astype(d.dtype)]
        dd, hh, hd, count, number = jnp.sum(jnp.stack(both), axis=1)
        count, size = jnp.maximum(count, 1.0), jnp.sqrt(dd * hh)
        return cls(
            energy=means[0],
            roughness=means[1],
            place=place,
            narrowing=means[2],
            widest=widest,
            hidden=means[3],
            moved=jnp.mean(means[4]),
            left=jnp.mean(means[5]),
            misfit=dd / count,
            agreement=hd / (size + jnp.finfo(size.dtype).tiny),
            count=count,
            refused=number,
            plain=plain,
            squares=squares,
        )


def _second_differences(x: Float[Array, "channel *grid"]) -> Float[Array, "channel *grid"]:
    """Squares of second differences along each axis of the grid, summed, whose mean over the grid
    is that over the points that have both neighbours."""
    total = jnp.zeros_like(x)
    for axis in range(1, x.ndim):
        length = x.shape[axis]
        if length > 2:
            inside = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
            part = jnp.pad(jnp.diff(x, n=2, axis=axis) ** 2, inside)
            total = total + length / (length - 2) * part
    return total


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


def _flat(*fields: Float[Array, "channel *grid"]) -> Float[Array, "field channel point"]:
    """Several fields in one array, which is reduced at once."""
    return jnp.stack(fields).reshape(len(fields), len(fields[0]), -1)


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
        return logarithm(made.place) - logarithm(made.misfit)


class Roughness(AbstractMark):
    """log of the energy of second differences over that of the increment: 6 for white noise on a
    ring, 16 for a checkerboard."""

    cause: ClassVar[str] = "has too much of its energy at the scale of the grid"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(made.roughness) - logarithm(made.energy)


class Narrowing(AbstractMark):
    """log of mean sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "leaves members that are all alike, or far apart"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(made.narrowing)


class Widening(AbstractMark):
    """log of the largest sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "takes a member far from the others at a place"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return logarithm(made.widest)


class Masked(AbstractMark):
    """log of the share of the energy at points that do not belong to the state.

    Attributes:
        mask: True at the points that belong to the state.
    """

    mask: Bool[Array, "*grid"]
    cause: ClassVar[str] = "is there where the state has no points"

    def of(self, made: Increment) -> Float[Array, " channel"]:
        return jnp.log(made.hidden / (made.energy + jnp.finfo(made.energy.dtype).tiny) + NOTHING)


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
        return OPPOSED * jnp.minimum(made.agreement, jnp.zeros_like(made.agreement))


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
        return jnp.log(made.left + NOTHING) - jnp.log(made.moved + NOTHING)


class Standstill(AbstractMark):
    """log of the distance of the background from the last analysis, in its spread."""

    cause: ClassVar[str] = "is that of a background that stands still"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Float[Array, ""]:
        return jnp.log(made.moved + NOTHING)


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
