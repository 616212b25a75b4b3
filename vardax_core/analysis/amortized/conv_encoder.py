"""An encoder of gridded observations that works on grids of any size."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.checks import MissingFieldError
from vardax_core.analysis.amortized.encoders import AbstractObsEncoder, EncoderInputError
from vardax_core.analysis.amortized.grid import GridConv, UNet
from vardax_core.analysis.amortized.successive_corrections import successive_corrections

GridField = Literal["background_mean", "background_spread", "error_sd"]


class ConvObsEncoder(AbstractObsEncoder):
    """Convolutions from observations on the state's grid to a context field (channel, *grid).

    Channels of the input: the values, the mask, and what `fields` names. With a background mean
    the values are given as innovations too; the error enters as 1 / sd where observed. With
    `scales`, successive corrections of the observations (of the innovations, if there are any)
    spare the network the weighing of unevenly spread observations.

    Attributes:
        layers: the plain convolutions, or empty.
        unet: the U-Net, or None.
        n_window: number of rows of the window.
        n_variables: variables of the state; 1 for fields without a variable axis.
        n_dims: number of grid dimensions, 1 or 2.
        fields: the optional fields of the batch that the network sees.
        scales: lengths of the successive corrections, in grid points; empty for none.
        periodic: whether the grid closes on itself.
    """

    layers: list[GridConv]
    unet: UNet | None
    n_window: int = eqx.field(static=True)
    n_variables: int = eqx.field(static=True)
    n_dims: int = eqx.field(static=True)
    fields: tuple[GridField, ...] = eqx.field(static=True)
    scales: tuple[float, ...] = eqx.field(static=True)
    periodic: bool = eqx.field(static=True)

    def __init__(
        self,
        n_window: int,
        context_channels: int,
        *,
        n_dims: int,
        n_variables: int = 1,
        fields: tuple[GridField, ...] = (),
        hidden_channels: int = 48,
        depth: int = 3,
        kernel: int = 5,
        periodic: bool = True,
        levels: int = 0,
        patch: int = 2,
        scales: tuple[float, ...] = (),
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            n_window: number of rows of the window.
            context_channels: channels of the context field.
            n_dims: number of grid dimensions, 1 or 2.
            n_variables: length of the variable axis of `Batch2DMultivar`; 1 without one.
            fields: which of background_mean, background_spread and error_sd the network sees.
            hidden_channels, depth, kernel: of plain convolutions.
            periodic: whether the grid closes on itself.
            levels: 0 for plain convolutions, whose reach is depth * kernel / 2 points; else the
                levels of a U-Net, whose reach doubles with each.
            patch: see `UNet`.
            scales: see the attributes; from the widest to the narrowest.
            key: for the initial weights.

        Raises:
            ValueError: if a scale is not positive.
        """
        if any(scale <= 0 for scale in scales):
            raise ValueError(
                f"ConvObsEncoder: the scales are lengths in grid points and must be positive, got "
                f"{scales}."
            )
        with_background = "background_mean" in fields
        n_in = n_window * n_variables * (2 + with_background + ("error_sd" in fields))
        n_in += n_window * n_variables * 2 * len(scales)
        n_in += n_variables * (with_background + ("background_spread" in fields))
        if levels:
            self.layers = []
            self.unet = UNet(
                n_in,
                context_channels,
                width=hidden_channels,
                levels=levels,
                patch=patch,
                periodic=periodic,
                n_dims=n_dims,
                key=key,
            )
        else:
            widths = [n_in, *[hidden_channels] * (depth - 1), context_channels]
            keys = jax.random.split(key, depth)
            self.unet = None
            self.layers = [
                GridConv(a, b, kernel=kernel, periodic=periodic, n_dims=n_dims, key=k)
                for a, b, k in zip(widths[:-1], widths[1:], keys, strict=True)
            ]
        self.n_window = n_window
        self.n_variables = n_variables
        self.n_dims = n_dims
        self.fields = fields
        self.scales = tuple(scales)
        self.periodic = periodic

    def __call__(
        self,
        input: Float[Array, "*window"],
        mask: Float[Array, "*window"],
        background_mean: Float[Array, "*state"] | None = None,
        background_spread: Float[Array, "*state"] | None = None,
        error_sd: Float[Array, "*window"] | None = None,
    ) -> Float[Array, "channel *grid"]:
        grid = input.shape[input.ndim - self.n_dims :]
        wanted = self.n_window * self.n_variables
        if input.size != wanted * math.prod(grid):
            raise EncoderInputError(
                f"ConvObsEncoder: built for {self.n_window} rows of {self.n_variables} variables "
                f"on a {self.n_dims}-dimensional grid, got one sample of shape {input.shape}; "
                "build it with the n_window, n_variables and n_dims of the data."
            )
        given = {
            "background_mean": background_mean,
            "background_spread": background_spread,
            "error_sd": error_sd,
        }
        seen: dict[str, Array] = {}
        for name in self.fields:
            value = given[name]
            if value is None:
                raise MissingFieldError(
                    f"ConvObsEncoder: built with fields={self.fields}, but {name} is None; pass "
                    "it with the batch, or build the encoder without it."
                )
            seen[name] = value
        channels = [input * mask, mask]
        departure = input
        if "background_mean" in seen:
            mean = seen["background_mean"]
            window = input.reshape(self.n_window, self.n_variables, *grid)
            departure = (window - mean.reshape(1, self.n_variables, *grid)).reshape(input.shape)
            channels += [departure * mask, mean]
        if self.scales:
            channels += successive_corrections(
                departure.reshape(-1, *grid),
                mask.reshape(-1, *grid),
                scales=self.scales,
                periodic=self.periodic,
            )
        if "background_spread" in seen:
            channels.append(seen["background_spread"])
        if "error_sd" in seen:
            channels.append(mask / seen["error_sd"])
        hidden = jnp.concatenate([c.reshape(-1, *grid) for c in channels])
        if self.unet is not None:
            return self.unet(hidden)
        for layer in self.layers[:-1]:
            hidden = jax.nn.silu(layer(hidden))
        return self.layers[-1](hidden)
