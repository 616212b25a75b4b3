"""A network that corrects a local interpolation of records by what it is shown of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.base import AbstractNetwork
from vardax_core.analysis.amortized.local_views import INPUTS, RIVALS, LocalViews

MEAN_LIMIT = 2.0
LOG_SPREAD_LIMIT = 1.0


class RecordNetwork(AbstractNetwork):
    """Dense layers from the statistics of a target's neighbours to how it is corrected.

    The last layer is zero at the start. No weight belongs to a place, a number of records or a
    grid. It computes in the type of its weights and answers in that of its input.

    Attributes:
        layers: matrices and biases.
    """

    layers: tuple[tuple[Float[Array, "output input"], Float[Array, " output"]], ...]

    def __init__(self, *, hidden: int = 24, depth: int = 2, key: PRNGKeyArray):
        sizes = [INPUTS] + [hidden] * depth
        keys = jax.random.split(key, depth)
        made = [
            (jax.random.normal(k, (b, a)) * a**-0.5, jnp.zeros(b))
            for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        last = (jnp.zeros((1 + RIVALS, hidden)), jnp.zeros(1 + RIVALS))
        self.layers = jax.tree.map(lambda x: x.astype(jnp.float32), (*made, last))

    def __call__(self, inputs: Float[Array, " input"]) -> Float[Array, " output"]:
        """A correction of the logarithm of the spread, and the share of each rival."""
        hidden = inputs.astype(self.layers[0][0].dtype)
        for matrix, bias in self.layers[:-1]:
            hidden = jax.nn.gelu(matrix @ hidden + bias)
        matrix, bias = self.layers[-1]
        return (matrix @ hidden + bias).astype(inputs.dtype)


class Correction(NamedTuple):
    """Of an interpolation at every target.

    Attributes:
        shift: of the increment, unit of the state.
        factor: on the standard deviation.
    """

    shift: Float[Array, " target"]
    factor: Float[Array, " target"]


def correction(
    network: RecordNetwork, views: LocalViews, place: Float[Array, " target"]
) -> Correction:
    """How a network corrects an interpolation.

    The mean moves towards rivals of the interpolation by two of its standard deviations at most,
    the spread changes by a factor e at most, and both shrink with the share of the variance that
    the records explain: where none is in reach, the interpolation stays, bit for bit. With all
    innovations of the other sign, so is the correction of the mean.

    Arguments:
        network: that corrects.
        views: of the records around each target.
        place: what is known of each target's place, see `LocalViews.inputs`.
    """
    found = jax.vmap(network)(views.inputs(place))
    spread, explained = jnp.sqrt(views.variance), views.explained
    shift = jnp.sum(found[:, 1:] * views.rivals, axis=1) / spread
    shift = explained * MEAN_LIMIT * jnp.tanh(shift / MEAN_LIMIT)
    log_factor = explained * LOG_SPREAD_LIMIT * jnp.tanh(found[:, 0] / LOG_SPREAD_LIMIT)
    return Correction(spread * shift, jnp.exp(log_factor))
