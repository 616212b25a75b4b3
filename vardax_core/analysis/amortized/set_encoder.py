"""An encoder of observations at arbitrary places and times."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.encoders import AbstractObsEncoder, EncoderInputError


class SetObsEncoder(AbstractObsEncoder):
    """Attention pooling over an unordered set of observations of any number.

    Every observation is a token of value, error, position and time; tokens of missing
    observations have no weight. A fixed number of learned queries attend to the tokens, twice:
    first to inform a few summary vectors, which then exchange what they know with the tokens. The
    result does not depend on the order of the stations.

    Attributes:
        embed: from one token's numbers to its vector.
        queries: start of the summary vectors.
        keys_values: projections of the tokens, one for each round.
        updates: perceptrons that renew the summaries, one for each round.
        outlet: from all summaries to the context.
        max_observations: largest set; larger ones are refused.
        n_coordinates: coordinates of a position.
        n_heads: attention heads.
        length_scale: period, in units of the positions, of the slowest position feature.
        time_scale: minutes of the slowest time feature.

    Source: Lee et al. (2019), arXiv:1810.00825; Jaegle et al. (2021), arXiv:2103.03206.
    """

    embed: eqx.nn.MLP
    queries: Float[Array, "query width"]
    keys_values: list[eqx.nn.Linear]
    updates: list[eqx.nn.MLP]
    outlet: eqx.nn.Linear
    max_observations: int = eqx.field(static=True)
    n_coordinates: int = eqx.field(static=True)
    n_heads: int = eqx.field(static=True)
    length_scale: float = eqx.field(static=True)
    time_scale: float = eqx.field(static=True)

    def __init__(
        self,
        context_dim: int,
        *,
        n_coordinates: int = 1,
        max_observations: int = 1024,
        width: int = 64,
        n_queries: int = 8,
        n_rounds: int = 2,
        n_heads: int = 4,
        length_scale: float = 1.0,
        time_scale: float = 360.0,
        key: PRNGKeyArray,
    ):
        """Build the network.

        Arguments:
            context_dim: length of the context vector.
            n_coordinates: coordinates of a position.
            max_observations: largest set that is accepted.
            width: length of token and summary vectors, a multiple of `n_heads`.
            n_queries: number of summary vectors.
            n_rounds: how often the summaries attend to the tokens.
            n_heads: attention heads.
            length_scale: extent of the domain, in units of the positions.
            time_scale: extent of a window in minutes.
            key: for the initial weights.
        """
        if width % n_heads:
            raise ValueError(
                f"SetObsEncoder: width must be a multiple of n_heads, got {width} and {n_heads}."
            )
        keys = iter(jax.random.split(key, 3 + 2 * n_rounds))
        n_features = 3 + (n_coordinates + 1) * (1 + 2 * _N_FREQUENCIES)
        self.embed = eqx.nn.MLP(n_features, width, width, 2, activation=jax.nn.silu, key=next(keys))
        self.queries = jax.random.normal(next(keys), (n_queries, width)) * 0.5
        self.keys_values = [
            eqx.nn.Linear(width, 2 * width, key=next(keys)) for _ in range(n_rounds)
        ]
        self.updates = [
            eqx.nn.MLP(2 * width, width, width, 1, activation=jax.nn.silu, key=next(keys))
            for _ in range(n_rounds)
        ]
        self.outlet = eqx.nn.Linear(n_queries * width, context_dim, key=next(keys))
        self.max_observations = max_observations
        self.n_coordinates = n_coordinates
        self.n_heads = n_heads
        self.length_scale = length_scale
        self.time_scale = time_scale

    def __call__(
        self,
        input: Float[Array, "window obs"],
        mask: Float[Array, "window obs"],
        positions: Float[Array, "obs coordinate"],
        error_sd: Float[Array, "window obs"] | None = None,
        times: Float[Array, " window"] | None = None,
    ) -> Float[Array, " context"]:
        window, n = input.shape
        if window * n > self.max_observations or positions.shape != (n, self.n_coordinates):
            raise EncoderInputError(
                f"SetObsEncoder: built for at most {self.max_observations} observations with "
                f"{self.n_coordinates} coordinates, got {window} rows of {n} with positions of "
                f"shape {positions.shape}; pass positions of shape (n, {self.n_coordinates}) and "
                "build the encoder for the largest set."
            )
        sd = jnp.ones_like(input) if error_sd is None else error_sd
        when = jnp.zeros((window,), input.dtype) if times is None else times
        places = waves(positions / self.length_scale)
        moments = waves(when[:, None] / self.time_scale)
        features = jnp.concatenate(
            [
                jnp.stack([input, jnp.log(sd), 1 / sd], axis=-1),
                jnp.broadcast_to(places[None], (window, *places.shape)),
                jnp.broadcast_to(moments[:, None], (window, n, moments.shape[-1])),
            ],
            axis=-1,
        )
        present = mask.reshape(-1) > 0
        # Missing tokens become ordinary numbers before any network, so no gradient is undefined.
        tokens = jnp.where(present[:, None], features.reshape(window * n, -1), 0.0)
        tokens = jax.vmap(self.embed)(tokens)
        summaries = self.queries
        for project, update in zip(self.keys_values, self.updates, strict=True):
            seen = self._attend(summaries, jax.vmap(project)(tokens), present)
            summaries = summaries + jax.vmap(update)(jnp.concatenate([summaries, seen], axis=-1))
        return self.outlet(summaries.reshape(-1))

    def _attend(
        self,
        queries: Float[Array, "query width"],
        keys_values: Float[Array, "token both"],
        present: Array,
    ) -> Float[Array, "query width"]:
        n_queries, width = queries.shape
        size = width // self.n_heads
        keys, values = jnp.split(keys_values, 2, axis=-1)
        keys = keys.reshape(-1, self.n_heads, size)
        values = values.reshape(-1, self.n_heads, size)
        scores = jnp.einsum("qhs,ths->qht", queries.reshape(n_queries, -1, size), keys)
        scores = jnp.where(present[None, None], scores * size**-0.5, -jnp.inf)
        # A last, empty token takes the weight when nothing is observed.
        scores = jnp.concatenate([scores, jnp.zeros((*scores.shape[:2], 1), scores.dtype)], axis=2)
        weights = jax.nn.softmax(scores, axis=-1)[..., :-1]
        return jnp.einsum("qht,ths->qhs", weights, values).reshape(n_queries, width)


_N_FREQUENCIES = 5


def waves(x: Float[Array, "*point coordinate"]) -> Float[Array, "*point feature"]:
    """Each coordinate with its sines and cosines at periods 2, 1, 1/2, 1/4 and 1/8."""
    frequencies = jnp.pi * 2 ** jnp.arange(_N_FREQUENCIES).astype(x.dtype)
    angles = (x[..., None] * frequencies[(None,) * x.ndim]).reshape(*x.shape[:-1], -1)
    return jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
