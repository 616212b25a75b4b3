"""A convolutional network over a two-dimensional grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.base import AbstractNetwork


class PatchConvolution(eqx.Module):
    """A dilated 3x3 convolution with zero padding, as one matrix product over patches.

    XLA runs its convolution primitive on one slow path inside loops on CPU; a product of
    matrices is fast everywhere.

    Attributes:
        weight: output channels by (input channel, row, column).
        bias: one per output channel.
        dilation: grid points between two taps.
    """

    weight: Float[Array, "output patch"]
    bias: Float[Array, " output"]
    dilation: int = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilation: int,
        *,
        dtype: DTypeLike = jnp.float32,
        key: PRNGKeyArray,
    ):
        fan_in = 9 * in_channels
        self.weight = jax.random.normal(key, (out_channels, fan_in), dtype) * fan_in**-0.5
        self.bias = jnp.zeros((out_channels,), dtype)
        self.dilation = dilation

    def __call__(self, channels: Float[Array, "input y x"]) -> Float[Array, "output y x"]:
        """Convolve one field; the grid keeps its size."""
        d, (_, height, width) = self.dilation, channels.shape
        padded = jnp.pad(channels, ((0, 0), (d, d), (d, d)))
        taps = [
            padded[:, i * d : i * d + height, j * d : j * d + width]
            for i in range(3)
            for j in range(3)
        ]
        patches = jnp.stack(taps, axis=1).reshape(self.weight.shape[1], -1)
        result = self.weight @ patches + self.bias[:, None]
        return result.reshape(-1, height, width)


class PointwiseLinear(eqx.Module):
    """The same linear map of the channels at every grid point.

    Attributes:
        weight: output by input channels.
        bias: one per output channel.
    """

    weight: Float[Array, "output input"]
    bias: Float[Array, " output"]

    def __call__(self, channels: Float[Array, "input y x"]) -> Float[Array, "output y x"]:
        """Map the channels of one field."""
        return jnp.tensordot(self.weight, channels, axes=1) + self.bias[:, None, None]


class FieldNetwork(AbstractNetwork):
    """Residual blocks of dilated 3x3 convolutions; the output starts as zero.

    The grid may have any size: edges are padded with zeros and no weight belongs to a place. It
    computes in the type of its weights and answers in that of its input.

    Attributes:
        embed: from the input channels to the hidden ones.
        blocks: convolutions, each added to its input.
        head: from the hidden channels to the output ones, zero at the start.
    """

    embed: PointwiseLinear
    blocks: tuple[PatchConvolution, ...]
    head: PointwiseLinear

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int = 24,
        dilations: tuple[int, ...] = (1, 2, 4),
        dtype: DTypeLike = jnp.float32,
        key: PRNGKeyArray,
    ):
        embed_key, *keys = jax.random.split(key, 1 + len(dilations))
        scale = in_channels**-0.5
        self.embed = PointwiseLinear(
            weight=scale * jax.random.normal(embed_key, (hidden, in_channels), dtype),
            bias=jnp.zeros((hidden,), dtype),
        )
        self.blocks = tuple(
            PatchConvolution(hidden, hidden, d, dtype=dtype, key=k)
            for d, k in zip(dilations, keys, strict=True)
        )
        self.head = PointwiseLinear(
            weight=jnp.zeros((out_channels, hidden), dtype), bias=jnp.zeros((out_channels,), dtype)
        )

    def __call__(self, channels: Float[Array, "input y x"]) -> Float[Array, "output y x"]:
        """Map the input channels of one field to its output channels."""
        hidden = self.embed(channels.astype(self.embed.weight.dtype))
        for block in self.blocks:
            hidden = hidden + block(jax.nn.gelu(hidden))
        return self.head(jax.nn.gelu(hidden)).astype(channels.dtype)
