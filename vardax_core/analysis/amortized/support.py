"""Where a state can be, and the smooth map from there to all numbers."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float

from vardax_core.analysis.amortized.scaling import FixedArray

NEAREST = 1e-7
"""Share of an interval closer than which to its end no value is told from the end."""


class AbstractSupport(eqx.Module):
    """The set of possible states. A density is learned on free numbers, so that none of its mass is
    outside of the set: no draw need be rejected, and it integrates to 1 over the set."""

    @abstractmethod
    def shape_of(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a state that has so many free numbers."""

    @abstractmethod
    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the free numbers of a state."""

    @abstractmethod
    def to_free(self, x: Float[Array, "*state"]) -> Float[Array, "*free"]:
        """The free numbers of a state; of one outside of the set those of a state at its edge."""

    @abstractmethod
    def from_free(self, free: Float[Array, "*free"]) -> Float[Array, "*state"]:
        """The state of free numbers."""

    @abstractmethod
    def log_det(self, x: Float[Array, "*state"]) -> Float[Array, ""]:
        """log |d free / d x|, unit of the state to the power of minus its size."""

    @abstractmethod
    def contains(self, x: Float[Array, "*state"]) -> Bool[Array, ""]:
        """Whether a state is in the set, its edge included."""

    def spread_to_free(
        self, sd: Float[Array, "*state"], mean: Float[Array, "*state"]
    ) -> Float[Array, "*free"]:
        """Standard deviations of the free numbers for those of a state about a mean, to first
        order."""
        jacobian = jax.jacfwd(self.to_free)(mean)
        rows = jacobian.reshape(math.prod(self.free_shape(mean.shape)), -1)
        variance = rows**2 @ sd.reshape(-1) ** 2
        return jnp.sqrt(variance).reshape(self.free_shape(mean.shape))


class Everywhere(AbstractSupport):
    """All numbers."""

    def shape_of(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return free_shape

    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def to_free(self, x: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return x

    def from_free(self, free: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return free

    def log_det(self, x: Float[Array, "*state"]) -> Float[Array, ""]:
        return jnp.zeros((), x.dtype)

    def contains(self, x: Float[Array, "*state"]) -> Bool[Array, ""]:
        return jnp.asarray(True)

    def spread_to_free(
        self, sd: Float[Array, "*state"], mean: Float[Array, "*state"]
    ) -> Float[Array, "*state"]:
        return sd


class Box(AbstractSupport):
    """A lower and an upper bound for each element, either of which may be infinite.

    Between two bounds the free number is that of the normal distribution function,
    ndtri((x - low) / (high - low)): draws that are uniform become Gaussian. With one bound it is
    the logarithm of the distance from it, without any x itself.

    Attributes:
        low, high: bounds, each axis of the state's length or of length 1, unit of the state.
    """

    low: FixedArray
    high: FixedArray
    free_below: tuple[bool, ...] = eqx.field(static=True)
    free_above: tuple[bool, ...] = eqx.field(static=True)

    def __init__(self, low: Float[Array, "*broadcast"], high: Float[Array, "*broadcast"]):
        """Bound every element.

        Raises:
            ValueError: if a lower bound is not below the upper one, or a bound is no number.
        """
        low, high = jnp.broadcast_arrays(jnp.asarray(low), jnp.asarray(high))
        if not bool(jnp.all(low < high)):
            raise ValueError(
                f"Box: every lower bound must be below the upper one, got {low} and {high}; use "
                "-inf and inf where there is no bound."
            )
        self.free_below = tuple(bool(v) for v in jnp.isinf(low).reshape(-1))
        self.free_above = tuple(bool(v) for v in jnp.isinf(high).reshape(-1))
        self.low, self.high = FixedArray(low), FixedArray(high)

    def shape_of(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return free_shape

    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def to_free(self, x: Float[Array, "*state"]) -> Float[Array, "*state"]:
        low, width, lower, upper = self._parts(x)
        share = jnp.clip((x - low) / width, NEAREST, 1 - NEAREST)
        above = jnp.log(jnp.maximum(x - low, jnp.finfo(x.dtype).tiny))
        below = -jnp.log(jnp.maximum(self._high(x) - x, jnp.finfo(x.dtype).tiny))
        one = jnp.where(lower, above, below)
        return jnp.where(lower & upper, ndtri(share), jnp.where(lower | upper, one, x))

    def from_free(self, free: Float[Array, "*state"]) -> Float[Array, "*state"]:
        low, width, lower, upper = self._parts(free)
        one = jnp.where(lower, low + jnp.exp(free), self._high(free) - jnp.exp(-free))
        both = jnp.clip(low + width * ndtr(free), low, self._high(free))
        return jnp.where(lower & upper, both, jnp.where(lower | upper, one, free))

    def log_det(self, x: Float[Array, "*state"]) -> Float[Array, ""]:
        _, width, lower, upper = self._parts(x)
        free = self.to_free(x)
        both = 0.5 * free**2 + 0.5 * math.log(2 * math.pi) - jnp.log(width)
        one = jnp.where(lower, -free, free)
        each = jnp.where(lower & upper, both, jnp.where(lower | upper, one, jnp.zeros_like(x)))
        return jnp.sum(each)

    def contains(self, x: Float[Array, "*state"]) -> Bool[Array, ""]:
        return jnp.all((x >= self.low.value.astype(x.dtype)) & (x <= self._high(x)))

    def spread_to_free(
        self, sd: Float[Array, "*state"], mean: Float[Array, "*state"]
    ) -> Float[Array, "*state"]:
        slope = jax.jvp(self.to_free, (mean,), (jnp.ones_like(mean),))[1]
        return jnp.abs(slope) * sd

    def _high(self, x: Array) -> Array:
        return self.high.value.astype(x.dtype)

    def _parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """Lower bounds and widths where they are finite, and which bounds there are."""
        low, high = self.low.value.astype(x.dtype), self._high(x)
        lower = ~jnp.asarray(self.free_below).reshape(low.shape)
        upper = ~jnp.asarray(self.free_above).reshape(low.shape)
        width = jnp.where(lower & upper, high - low, jnp.ones_like(low))
        return jnp.where(lower, low, jnp.zeros_like(low)), width, lower, upper


class Simplex(AbstractSupport):
    """Vectors of K numbers of at least 0 that add up to 1, by K - 1 free numbers.

    Each is the logit of the share that an element has of what those before it left, moved so
    that equal elements are at 0. Densities are per unit of the first K - 1 elements.

    Source: Betancourt (2012), arXiv:1010.3436
    """

    def shape_of(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*free_shape[:-1], free_shape[-1] + 1)

    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)

    def to_free(self, x: Float[Array, "part"]) -> Float[Array, "free"]:
        share = self._shares(x)
        return jnp.log(share) - jnp.log1p(-share) - self._centre(x.shape[0], x.dtype)

    def from_free(self, free: Float[Array, "free"]) -> Float[Array, "part"]:
        share = jax.nn.sigmoid(free + self._centre(free.shape[0] + 1, free.dtype))
        left = jnp.cumprod(jnp.concatenate([jnp.ones(1, free.dtype), 1 - share]))
        return jnp.concatenate([share, jnp.ones(1, free.dtype)]) * left

    def log_det(self, x: Float[Array, "part"]) -> Float[Array, ""]:
        share, left = self._shares(x), self._left(x)
        return -jnp.sum(jnp.log(share) + jnp.log1p(-share) + jnp.log(left))

    def contains(self, x: Float[Array, "part"]) -> Bool[Array, ""]:
        exact = 10 * x.shape[0] * jnp.finfo(x.dtype).eps
        return jnp.all(x >= 0) & (jnp.abs(jnp.sum(x) - 1) <= exact)

    def _left(self, x: Float[Array, "part"]) -> Float[Array, "free"]:
        """What the elements before each of the first K - 1 leave, from the other end."""
        rest = jnp.cumsum(x[::-1])[::-1][:-1]
        return jnp.maximum(rest, jnp.finfo(x.dtype).tiny)

    def _shares(self, x: Float[Array, "part"]) -> Float[Array, "free"]:
        return jnp.clip(x[:-1] / self._left(x), NEAREST, 1 - NEAREST)

    def _centre(self, parts: int, dtype: jnp.dtype) -> Float[Array, "free"]:
        return -jnp.log(jnp.arange(parts - 1, 0, -1).astype(dtype))


EVERYWHERE = Everywhere()


def box(low: Sequence[float] | float, high: Sequence[float] | float) -> Box:
    """The box between bounds that are written as numbers.

    Raises:
        ValueError: see `Box`.
    """
    return Box(
        jnp.atleast_1d(jnp.asarray(low, jnp.float32)),
        jnp.atleast_1d(jnp.asarray(high, jnp.float32)),
    )
