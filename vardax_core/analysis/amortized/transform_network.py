"""What a local transform on any grid learns: a network for each point, and a covariance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.base import AbstractNetwork

INPUTS = 11
"""What the network is shown of each channel at a point."""
OUTPUTS = 5
SCALES = (1 / 4, 1 / 2, 1.0, 2.0)
"""Lengths of the Gaussians in the covariance, in half-widths of the usual taper."""
LIMIT = 4.0
"""Of an input of the network."""
WIDEST = 1.5
"""Largest factor on the half-width of the usual taper, and one over the least."""
LARGEST = 2.0
"""Largest factor on the variance of the background, and one over the least."""
SHARE, RELAXATION = -3.0, -1.4
"""Logits of the climatological share and of the relaxation to the prior spread at the start."""


class Choices(NamedTuple):
    """What is chosen at a point.

    Attributes:
        widening: factor on the half-width of the taper.
        inflation: factor on the variance of the background.
        share: weight of the climatological covariance.
        relaxation: weight of the background's spread in that of the analysis, for each channel.
        after: logarithm of a factor on the analysis anomalies, for each channel.
    """

    widening: Float[Array, ""]
    inflation: Float[Array, ""]
    share: Float[Array, ""]
    relaxation: Float[Array, " channel"]
    after: Float[Array, " channel"]

    def fading(self, seen: Float[Array, ""]) -> "Choices":
        """The same with inflations that end where no record counts.

        Arguments:
            seen: 0 there, towards 1 where many records count.
        """
        return self._replace(inflation=self.inflation**seen, after=seen * self.after)


class TransformNetwork(AbstractNetwork):
    """Dense layers from what is seen at a point to what is chosen there; the same at all points.

    The last layer is zero at the start. No weight belongs to a place, a number of members or
    records, or a grid. It computes in the type of its weights and answers in that of its input.

    Attributes:
        layers: matrices and biases.
        roots: roots of the matrices of the covariance, one for each of `SCALES`.
        offsets: of `Choices.after`, for each channel.
        spread: typical standard deviation of the background errors of each channel, unit of the
            state; never trained.
    """

    layers: tuple[tuple[Float[Array, "_ _"], Float[Array, " _"]], ...]
    roots: Float[Array, "scale channel channel"]
    offsets: Float[Array, " channel"]
    spread: Float[Array, " channel"]

    @classmethod
    def create(
        cls,
        spread: Float[Array, " channel"],
        *,
        hidden: int = 24,
        depth: int = 2,
        key: PRNGKeyArray,
    ) -> "TransformNetwork":
        """Build an untrained network for states of so many channels."""
        channels = spread.shape[0]
        sizes = [INPUTS] + [hidden] * depth
        keys = jax.random.split(key, depth)
        made = [
            (jax.random.normal(k, (b, a)) * a**-0.5, jnp.zeros(b))
            for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        last = (jnp.zeros((OUTPUTS, hidden)), jnp.zeros(OUTPUTS))
        roots = jnp.stack([jnp.eye(channels)] * len(SCALES)) * len(SCALES) ** -0.5
        parts = ((*made, last), roots, jnp.zeros(channels), spread)
        return cls(*jax.tree.map(lambda x: x.astype(jnp.float32), parts))

    def __call__(self, inputs: Float[Array, "channel input"]) -> Choices:
        """Choose at a point.

        Arguments:
            inputs: what is seen there.
        """
        hidden = jnp.clip(inputs, -LIMIT, LIMIT).astype(self.roots.dtype)
        for matrix, bias in self.layers[:-1]:
            hidden = jax.nn.gelu(hidden @ matrix.T + bias[None])
        matrix, bias = self.layers[-1]
        out = (hidden @ matrix.T + bias[None]).astype(inputs.dtype)
        common = jnp.mean(out, axis=0)
        after = jnp.tanh(out[:, 4] + self.offsets.astype(out.dtype))
        return Choices(
            widening=WIDEST ** jnp.tanh(common[0]),
            inflation=LARGEST ** jnp.tanh(common[1]),
            share=jax.nn.sigmoid(common[2] + SHARE),
            relaxation=jax.nn.sigmoid(out[:, 3] + RELAXATION),
            after=after,
        )

    def covariance(
        self, distance: Float[Array, "*any"], half_width: float
    ) -> Float[Array, "channel channel *any"]:
        """The climatological covariance of background errors, in units of `spread`.

        A sum of Gaussians of the distance, each times a positive semi-definite matrix of the
        channels: so it is a covariance in any space in which distances are straight.

        Arguments:
            distance: in the grid's unit.
            half_width: of the usual taper, the same.
        """
        roots = self.roots.astype(distance.dtype)
        shapes = jnp.stack(
            [jnp.exp(-0.5 * (distance / (scale * half_width)) ** 2) for scale in SCALES], axis=-1
        )
        matrices = jnp.einsum("kab,kcb->kac", roots, roots)
        return jnp.einsum("kac,...k->ac...", matrices, shapes)
