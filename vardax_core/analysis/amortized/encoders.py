"""What every observation encoder is, and the two encoders for vectors."""

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

OPTIONAL_FIELDS = (
    "background_mean",
    "background_spread",
    "error_sd",
    "positions",
    "times",
)
"""Fields of a batch that an encoder may ask for by naming a parameter after them."""


class EncoderSignatureError(ValueError):
    """An encoder asks for something that no batch has."""


class EncoderInputError(ValueError):
    """The observations do not have the shape that the encoder was built for."""


class AbstractObsEncoder(eqx.Module):
    """A map from one sample's observations to the context that a head sees.

    Implementations write `__call__(self, input, mask)` for one sample, without a batch axis. One
    that needs more declares further parameters named after `OPTIONAL_FIELDS`; the posterior
    passes the fields of the batch by these names.
    """

    @abstractmethod
    def __call__(
        self, input: Float[Array, "*window"], mask: Float[Array, "*window"]
    ) -> Float[Array, "*context"]:
        """The context of one sample.

        Arguments:
            input: observations of one window, zero where missing.
            mask: 1 where observed, 0 where not.
        """


def requested_fields(encoder: Callable[..., Array]) -> dict[str, bool]:
    """The optional fields of a batch that an encoder declares, and whether it needs them.

    A parameter without a default is needed; one with a default gets the field if there is one.

    Raises:
        EncoderSignatureError: if it declares a parameter that is no field of a batch.
    """
    declared = list(inspect.signature(encoder).parameters.values())[2:]
    unknown = [p.name for p in declared if p.name not in OPTIONAL_FIELDS]
    if unknown:
        raise EncoderSignatureError(
            f"{type(encoder).__name__}: the parameters {unknown} after (input, mask) are no "
            f"fields of a batch; an encoder may ask for any of {list(OPTIONAL_FIELDS)}."
        )
    return {p.name: p.default is inspect.Parameter.empty for p in declared}


class IdentityObsEncoder(AbstractObsEncoder):
    """The flattened input followed by the flattened mask; nothing is learned."""

    def __call__(
        self, input: Float[Array, "*window"], mask: Float[Array, "*window"]
    ) -> Float[Array, " context"]:
        return jnp.concatenate([input.reshape(-1), mask.reshape(-1)])


class MLPObsEncoder(AbstractObsEncoder):
    """A multilayer perceptron on the flattened input and mask.

    Attributes:
        mlp: from twice the input size to the context.
        input_size: number of elements of one sample's input.
    """

    mlp: eqx.nn.MLP
    input_size: int = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        context_dim: int,
        *,
        hidden_dim: int = 64,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            input_size: number of elements of one sample's input: window times n, or
                window times y times x.
            context_dim: length of the context vector.
            hidden_dim, depth: width and number of the hidden layers.
            key: for the initial weights.
        """
        self.input_size = input_size
        self.mlp = eqx.nn.MLP(
            in_size=2 * input_size,
            out_size=context_dim,
            width_size=hidden_dim,
            depth=depth,
            activation=jax.nn.silu,
            key=key,
        )

    def __call__(
        self, input: Float[Array, "*window"], mask: Float[Array, "*window"]
    ) -> Float[Array, " context"]:
        if math.prod(input.shape) != self.input_size:
            raise EncoderInputError(
                f"MLPObsEncoder: built for input_size {self.input_size}, got one sample of shape "
                f"{input.shape} with {math.prod(input.shape)} elements; build the encoder with "
                f"input_size={math.prod(input.shape)}."
            )
        return self.mlp(jnp.concatenate([input.reshape(-1), mask.reshape(-1)]))
