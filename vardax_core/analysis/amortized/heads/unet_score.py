"""The U-Net of score diffusion on fields."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.grid import UNet
from vardax_core.analysis.amortized.heads.score_networks import (
    AbstractScoreNetwork,
    noise_features,
)


class UNetScoreNetwork(AbstractScoreNetwork):
    """F of a noisy field: a U-Net that sees it beside the context field, at every noise level.

    Attributes:
        unet: the network.
        embed: from noise features to the vector that modulates it.
        context_shape: (channel, *grid).
        state_shape: (*grid) or (variable, *grid).
        n_frequencies: number of noise frequencies.
    """

    unet: UNet
    embed: eqx.nn.MLP
    context_shape: tuple[int, ...] = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)
    n_frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        context_shape: tuple[int, ...],
        state_shape: tuple[int, ...],
        *,
        width: int = 48,
        levels: int = 3,
        patch: int = 2,
        periodic: bool = True,
        embedding: int = 64,
        n_frequencies: int = 8,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            context_shape: (channel, *grid).
            state_shape: (*grid) or (variable, *grid).
            width, levels, patch, periodic: see `UNet`.
            embedding: length of the vector that carries the noise level.
            n_frequencies: number of noise frequencies.
            key: for the initial weights.

        Raises:
            ValueError: if the context and the state are not on one grid.
        """
        grid = tuple(context_shape[1:])
        if state_shape[len(state_shape) - len(grid) :] != grid or len(state_shape) > len(grid) + 1:
            raise ValueError(
                f"UNetScoreNetwork: a context of shape {context_shape} is on the grid {grid}, "
                f"which does not fit states of shape {state_shape}; make the encoder give "
                "(channel, *grid) for states (*grid) or (variable, *grid)."
            )
        n_variables = state_shape[0] if len(state_shape) > len(grid) else 1
        unet_key, embed_key = jax.random.split(key)
        self.unet = UNet(
            context_shape[0] + n_variables,
            n_variables,
            width=width,
            levels=levels,
            patch=patch,
            embedding=embedding,
            periodic=periodic,
            n_dims=len(grid),
            key=unet_key,
        )
        self.embed = eqx.nn.MLP(
            2 * n_frequencies, embedding, embedding, 1, activation=jax.nn.silu, key=embed_key
        )
        self.context_shape = tuple(context_shape)
        self.state_shape = tuple(state_shape)
        self.n_frequencies = n_frequencies

    def __call__(
        self,
        z: Float[Array, "*state"],
        log_sigma: Float[Array, ""],
        ctx: Float[Array, "*context"],
    ) -> Float[Array, "*state"]:
        vector = jax.nn.silu(self.embed(noise_features(log_sigma, self.n_frequencies)))
        field = jnp.concatenate([z.reshape(-1, *ctx.shape[1:]), ctx])
        return self.unet(field, vector).reshape(z.shape)
