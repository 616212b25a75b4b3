"""An encoder that sets the background beside the observations."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from vardax_core.analysis.amortized.encoders import AbstractObsEncoder


class BesideBackground(AbstractObsEncoder):
    """The context of another encoder, then mean and spread of the background, flattened.

    Attributes:
        observations: the encoder of the observations, to a vector.
    """

    observations: AbstractObsEncoder

    def __call__(
        self,
        input: Float[Array, "*window"],
        mask: Float[Array, "*window"],
        background_mean: Float[Array, "*state"],
        background_spread: Float[Array, "*state"],
    ) -> Float[Array, " context"]:
        seen = self.observations(input, mask).reshape(-1)
        background = (background_mean.reshape(-1), background_spread.reshape(-1))
        return jnp.concatenate([seen, *background])
