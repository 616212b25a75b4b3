"""One constructor for each concrete head and encoder; the laws run over these tables."""

import equinox as eqx
import jax
import jax.numpy as jnp

from vardax_core.analysis.amortized.encoders import IdentityObsEncoder, MLPObsEncoder
from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.scaling import AffineScaling

CONTEXT_DIM = 3


def scaled(head, shift, scale):
    """The head with a scaling other than the identity, the same number for every element."""
    shape = (1,) * len(head.state_shape)
    scaling = AffineScaling(jnp.full(shape, shift), jnp.full(shape, scale))
    return eqx.tree_at(lambda h: h.scaling, head, scaling)


def _regression(size, key):
    return RegressionHead(CONTEXT_DIM, (size,), hidden_dim=8, key=key)


def _low_rank(size, key):
    head = RegressionHead(CONTEXT_DIM, (size,), hidden_dim=8, rank=2, key=key)
    return eqx.tree_at(lambda h: h.network.skip.weight, head, 10 * head.network.skip.weight)


VECTOR_HEADS = {
    "regression": _regression,
    "low-rank regression": _low_rank,
}
"""Heads on a context vector: (size of the state, key) -> head."""


def make_head(name, size, key=None):
    """A head of the table with a scaling that is not the identity."""
    key = jax.random.key(7) if key is None else key
    return scaled(VECTOR_HEADS[name](size, key), 0.5, 2.0)


def _field_regression(key):
    network = FieldNetwork((4, 6, 5), (2, 6, 5), 4, hidden_dim=8, key=key)
    return RegressionHead((4, 6, 5), (2, 6, 5), rank=2, network=network, key=key)


FIELD_HEADS = {
    "field regression": _field_regression,
}
"""Heads on a context field (4, 6, 5) for states (2, 6, 5): key -> head."""


ENCODERS = {
    "identity": lambda key: IdentityObsEncoder(),
    "mlp": lambda key: MLPObsEncoder(10, 4, hidden_dim=8, key=key),
}
"""Encoders of windows (2, 5): key -> encoder."""
