"""Standardisation of states and observations, with the Jacobian that a density needs."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Per = Literal["element", "channel", "all"]


class ConstantDataError(ValueError):
    """Nothing can be standardised by a standard deviation that is zero or not finite."""


class FixedArray(eqx.Module):
    """An array that training never changes.

    Attributes:
        stored: the array.
    """

    stored: Float[Array, "*shape"]

    @property
    def value(self) -> Float[Array, "*shape"]:
        """The array, without a gradient."""
        return jax.lax.stop_gradient(self.stored)


class AffineScaling(eqx.Module):
    """z = (x - shift) / scale, element by element; never trained by gradients.

    Attributes:
        shift, scale: arrays of the rank of one x, each axis of its length or of length 1, in the
            unit of x; `scale` is positive.
    """

    shift: Float[Array, "*broadcast"]
    scale: Float[Array, "*broadcast"]

    @classmethod
    def identity(cls, rank: int) -> "AffineScaling":
        """The scaling that changes nothing, for arrays with `rank` axes."""
        return cls(shift=jnp.zeros((1,) * rank), scale=jnp.ones((1,) * rank))

    @classmethod
    def fitted(
        cls,
        x: Float[Array, "sample *shape"],
        *,
        per: Per = "element",
        weight: Float[Array, "sample *shape"] | None = None,
    ) -> "AffineScaling":
        """Mean and standard deviation over samples.

        Arguments:
            x: samples, one per row.
            per: whether the two moments are taken for each element, for each channel (the axis
                before the last two; for arrays of at most two axes the same as "all"), or once
                for all.
            weight: 1 where an element of `x` counts, 0 where it does not; all count by default.

        Raises:
            ConstantDataError: if a standard deviation is zero or not finite.
        """
        rank = x.ndim - 1
        if per == "element":
            axes: tuple[int, ...] = (0,)
        elif per == "channel" and rank > 2:
            axes = tuple(i for i in range(x.ndim) if i != x.ndim - 3)
        else:
            axes = tuple(range(x.ndim))
        ones = jnp.ones_like(x) if weight is None else weight
        count = jnp.sum(ones, axis=axes, keepdims=True)
        values = jnp.where(ones > 0, x, jnp.zeros_like(x))
        mean = jnp.sum(values, axis=axes, keepdims=True) / jnp.maximum(count, 1)
        square = jnp.where(ones > 0, (x - mean) ** 2, jnp.zeros_like(x))
        variance = jnp.sum(square, axis=axes, keepdims=True) / jnp.maximum(count, 1)
        # An element that no sample observed carries no information and stays as it is.
        sd = jnp.where(count > 0, jnp.sqrt(variance), jnp.ones_like(variance))
        if not bool(jnp.all(jnp.isfinite(sd) & (sd > 0))):
            bad = int(jnp.sum(~(jnp.isfinite(sd) & (sd > 0))))
            raise ConstantDataError(
                f"AffineScaling: {bad} of {sd.size} standard deviations over {x.shape[0]} samples "
                f"of shape {x.shape[1:]} are zero or not finite; drop the constant elements, "
                "mend the data, or standardise per 'channel' or 'all'."
            )
        return cls(shift=mean[0], scale=sd[0])

    def to_standard(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """(x - shift) / scale."""
        scale = jax.lax.stop_gradient(self.scale)
        return (x - jax.lax.stop_gradient(self.shift)) / scale

    def from_standard(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """shift + scale z."""
        return jax.lax.stop_gradient(self.shift) + z * jax.lax.stop_gradient(self.scale)

    def spread_to_standard(self, sd: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """A standard deviation of x as one of z."""
        return sd / jax.lax.stop_gradient(self.scale)

    def spread_from_standard(self, sd: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """A standard deviation of z as one of x."""
        return sd * jax.lax.stop_gradient(self.scale)

    def log_det(self, shape: tuple[int, ...]) -> Float[Array, ""]:
        """log |dz/dx| for an x of the given shape: minus the sum of the log scales."""
        repeats = math.prod(shape) // self.scale.size
        return -jnp.sum(jnp.log(jax.lax.stop_gradient(self.scale))) * repeats
