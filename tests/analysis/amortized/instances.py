"""One constructor for each concrete head and encoder; the laws run over these tables."""

import equinox as eqx
import jax
import jax.numpy as jnp

from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder, MLPObsEncoder
from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead, leading_eofs
from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead
from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead
from vardax_core.analysis.amortized.heads.unet_score import UNetScoreNetwork
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.set_encoder import SetObsEncoder

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


def _sharper(head, where, factor):
    """Larger last weights, so that an untrained density is far from a standard normal."""
    return eqx.tree_at(where, head, replace_fn=lambda w: factor * w)


def _flow(size, key):
    head = ConditionalFlowHead(
        CONTEXT_DIM, (size,), hidden_dim=8, depth=1, n_layers=2, knots=5, key=key
    )
    return _sharper(head, lambda h: h.affine.skip.weight, 5.0)


def _eof_flow(size, key):
    n_modes = max(1, size - 1)
    basis_key, key = jax.random.split(key)
    eofs = leading_eofs(jax.random.normal(basis_key, (20, size)), n_modes)
    return EOFFlowHead(
        CONTEXT_DIM, (size,), eofs, hidden_dim=8, depth=1, n_layers=2, knots=5, key=key
    )


def _score(size, key):
    head = ScoreDiffusionHead(CONTEXT_DIM, (size,), hidden_dim=8, depth=1, n_steps=24, key=key)
    return _sharper(head, lambda h: h.network.outer.weight, 30.0)


VECTOR_HEADS = {
    "regression": _regression,
    "low-rank regression": _low_rank,
    "autoregressive flow": _flow,
    "EOF flow, of coupling layers": _eof_flow,
    "score diffusion": _score,
}
"""Heads on a context vector: (size of the state, key) -> head."""


def make_head(name, size, key=None):
    """A head of the table with a scaling that is not the identity."""
    key = jax.random.key(7) if key is None else key
    return scaled(VECTOR_HEADS[name](size, key), 0.5, 2.0)


def _field_regression(key):
    network = FieldNetwork(FIELD_CONTEXT, FIELD_STATE, 4, hidden_dim=8, key=key)
    return RegressionHead(FIELD_CONTEXT, FIELD_STATE, rank=2, network=network, key=key)


def _field_flow(key):
    eofs = leading_eofs(jax.random.normal(key, (20, 2, 8, 4)), 6)
    return EOFFlowHead(FIELD_CONTEXT, FIELD_STATE, eofs, hidden_dim=8, n_layers=2, key=key)


def _field_score(key):
    network = UNetScoreNetwork(FIELD_CONTEXT, FIELD_STATE, width=4, levels=1, patch=2, key=key)
    return ScoreDiffusionHead(
        FIELD_CONTEXT, FIELD_STATE, network=network, n_steps=8, n_probes=4, rtol=1e-2, key=key
    )


def _field_score_around_a_gaussian(key):
    network = UNetScoreNetwork(FIELD_CONTEXT, FIELD_STATE, width=4, levels=1, patch=2, key=key)
    gaussian = FieldNetwork(FIELD_CONTEXT, FIELD_STATE, 2, hidden_dim=8, key=key)
    return ScoreDiffusionHead(
        FIELD_CONTEXT,
        FIELD_STATE,
        network=network,
        gaussian=gaussian,
        n_steps=8,
        n_probes=4,
        rtol=1e-2,
        key=key,
    )


FIELD_CONTEXT, FIELD_STATE = (4, 8, 4), (2, 8, 4)

FIELD_HEADS = {
    "field regression": _field_regression,
    "field EOF flow": _field_flow,
    "field score": _field_score,
    "field score around a Gaussian": _field_score_around_a_gaussian,
}
"""Heads on a context field for states with two variables: key -> head."""


ENCODERS = {
    "identity": lambda key: IdentityObsEncoder(),
    "mlp": lambda key: MLPObsEncoder(10, 4, hidden_dim=8, key=key),
    "convolutions": lambda key: ConvObsEncoder(
        2, 3, n_dims=1, hidden_channels=6, depth=2, kernel=3, key=key
    ),
    "convolutions with background": lambda key: ConvObsEncoder(
        2,
        3,
        n_dims=1,
        fields=("background_mean", "background_spread", "error_sd"),
        hidden_channels=6,
        depth=2,
        kernel=3,
        periodic=False,
        scales=(2.0, 1.0),
        key=key,
    ),
    "set": lambda key: SetObsEncoder(4, width=8, n_queries=2, n_heads=2, key=key),
}
"""Encoders of windows (2, 5): key -> encoder."""
