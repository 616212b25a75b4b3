"""What an increment is judged by: one number, or one for each channel, that is steady while all is
well."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vardax_core.models.base import AbstractBalancedModel
from vardax_core.types import ensemble_mean

LEAST_SPREAD = 0.01
"""Share of a channel's spread below which no point's spread is taken to be."""
NOTHING = 1e-4
"""Share of an energy that counts as none of it."""
TOGETHER = 8
"""Arrays beyond which compilers for CPUs make each part of a concatenation apart."""
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
        mean_usual: Float[Array, " channel"],
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
            mean_usual: its mean over the grid.
            mask: True at the points that belong to the state, None for all.
            innovation, equivalent: O-B, and the increment there, over the root of HBH' + R.
            used, refused: which observations are.
        """
        x, moved = plain / scale, away / scale
        squares, narrowing = x**2, (spread / scale) ** 2
        hidden = jnp.zeros_like(x) if mask is None else jnp.where(mask[None], 0.0, squares)
        fields = (squares, _second_differences(x), narrowing, hidden, moved**2, (moved + x) ** 2)
        means = channel_means(*fields)
        least = LEAST_SPREAD * as_field(mean_usual, usual) + jnp.finfo(usual.dtype).tiny
        place, widest = jnp.max(_flat(squares / (usual + least), narrowing), axis=2)
        d, h = (jnp.where(used, value, 0.0) for value in (innovation, equivalent))
        both = [d * d, h * h, h * d, used.astype(d.dtype), refused.astype(d.dtype)]
        dd, hh, hd, count, number = sum_of_last(jnp.stack(both))
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
    variance: Float[Array, "channel *grid"], mean: Float[Array, " channel"]
) -> Float[Array, "channel *grid"]:
    """The background's spread at every point, with `LEAST_SPREAD` of its channel's at least.

    Arguments:
        variance: of the background's members.
        mean: of the variance over the grid.
    """
    mean = jnp.where(mean > 0, mean, 1.0)
    return jnp.sqrt(variance + LEAST_SPREAD**2 * as_field(mean, variance))


def channel_means(*fields: Float[Array, "channel *grid"]) -> Float[Array, "field channel"]:
    """Means over the grid of several fields, in one pass."""
    return mean_of_last(_flat(*fields))


def by_channel(field: Float[Array, "channel *grid"]) -> Float[Array, " channel"]:
    """Mean over the grid."""
    return channel_means(field)[0]


def sum_of_last(x: Float[Array, "*any last"]) -> Float[Array, "*any"]:
    """Sum over the last axis, as a product, which is one operation where a sum is two."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=jax.lax.Precision.HIGHEST)


def mean_of_last(x: Float[Array, "*any last"]) -> Float[Array, "*any"]:
    """Mean over the last axis, see `sum_of_last`."""
    return sum_of_last(x) / x.shape[-1]


def as_field(
    values: Float[Array, " channel"], like: Float[Array, "channel *grid"]
) -> Float[Array, "channel *#grid"]:
    """One value for each channel, to fit against fields."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _flat(*fields: Float[Array, "channel *grid"]) -> Float[Array, "field channel point"]:
    """Several fields in one array, which is reduced at once."""
    return jnp.stack(fields).reshape(len(fields), len(fields[0]), -1)


class Ratio(NamedTuple):
    """Two positive numbers, or two for each channel; a mark is the logarithm of their ratio."""

    over: Float[Array, "*channel"]
    under: Float[Array, "*channel"] | float = 1.0


def logarithms(ratios: Sequence[Ratio]) -> Float[Array, " mark"]:
    """The marks of several ratios, made in one pass; that of no energy is finite.

    Arguments:
        ratios: of one number each, or of one for each channel.
    """
    over = [jnp.atleast_1d(ratio.over) for ratio in ratios]
    under = [
        jnp.broadcast_to(jnp.asarray(ratio.under, one.dtype), one.shape)
        for ratio, one in zip(ratios, over, strict=True)
    ]
    tiny = jnp.finfo(over[0].dtype).tiny
    return jnp.log(_joined(over) + tiny) - jnp.log(_joined(under) + tiny)


def _joined(parts: Sequence[Float[Array, " _"]]) -> Float[Array, " _"]:
    """Concatenate, at most `TOGETHER` arrays at once."""
    while len(parts) > TOGETHER:
        first = jax.lax.optimization_barrier(jnp.concatenate(parts[:TOGETHER]))
        parts = [first, *parts[TOGETHER:]]
    return jnp.concatenate(parts)


class AbstractMark(eqx.Module):
    """One kind of number that an increment is judged by, the logarithm of a ratio.

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
    def of(self, made: Increment) -> Ratio:
        """The ratio of an increment, or that of each channel."""


class Size(AbstractMark):
    """Mean (dx / sigma_b)^2 over that of the innovations."""

    cause: ClassVar[str] = "is of another size than usual for such innovations"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.energy, made.misfit)


class Place(AbstractMark):
    """The largest (dx / sigma_b)^2 over what is usual at its place, and over the innovations'."""

    cause: ClassVar[str] = "is larger than usual at a place"

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.place, made.misfit)


class Roughness(AbstractMark):
    """The energy of second differences over that of the increment: 6 for white noise on a ring, 16
    for a checkerboard."""

    cause: ClassVar[str] = "has too much of its energy at the scale of the grid"

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.roughness, made.energy)


class Narrowing(AbstractMark):
    """Mean sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "leaves members that are all alike, or far apart"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.narrowing)


class Widening(AbstractMark):
    """The largest sigma_a^2 / sigma_b^2."""

    cause: ClassVar[str] = "takes a member far from the others at a place"

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.widest)


class Masked(AbstractMark):
    """The share of the energy at points that do not belong to the state.

    Attributes:
        mask: True at the points that belong to the state.
    """

    mask: Bool[Array, "*grid"]
    cause: ClassVar[str] = "is there where the state has no points"

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.hidden / (made.energy + jnp.finfo(made.energy.dtype).tiny) + NOTHING)


class Balance(AbstractMark):
    """The energy of what a law gives of the increment over the increment's own.

    Attributes:
        model: which has the law.
    """

    model: AbstractBalancedModel
    cause: ClassVar[str] = "is out of balance"
    low: ClassVar[bool] = True

    def of(self, made: Increment) -> Ratio:
        x = made.plain.reshape(self.model.state_shape)
        size = jnp.mean(x**2) + jnp.finfo(x.dtype).tiny
        balanced = self.model.balanced(x / jnp.sqrt(size)).reshape(len(made.plain), -1)
        return Ratio(by_channel(balanced**2), by_channel(made.plain**2) / size)


class Agreement(AbstractMark):
    """exp of `OPPOSED` times the correlation of increment and innovation at the observations used,
    where it is below zero; with the exact gain it never is."""

    cause: ClassVar[str] = "leads away from the observations"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Ratio:
        below = jnp.minimum(made.agreement, jnp.zeros_like(made.agreement))
        return Ratio(jnp.exp(OPPOSED * below))


class Misfit(AbstractMark):
    """Mean (O-B)^2 / (HBH' + R) over the observations used."""

    cause: ClassVar[str] = "follows observations that are suddenly far from the background"
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.misfit)


class Refused(AbstractMark):
    """The share of the observations that the first-guess check refused, one more counted."""

    cause: ClassVar[str] = "is made while many more observations than usual are refused"
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Ratio:
        return Ratio(1 + made.refused, 1 + made.count + made.refused)


class Stale(AbstractMark):
    """The distance of the analysis from the last one over that of the background."""

    cause: ClassVar[str] = "leads back to the last analysis"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.left + NOTHING, made.moved + NOTHING)


class Standstill(AbstractMark):
    """The distance of the background from the last analysis, in its spread."""

    cause: ClassVar[str] = "is that of a background that stands still"
    low: ClassVar[bool] = True
    high: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def of(self, made: Increment) -> Ratio:
        return Ratio(made.moved + NOTHING)


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
