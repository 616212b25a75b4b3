"""The untrained posterior of a recipe, of each kind of head and encoder."""

import math
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from vardax_core.analysis.amortized.background_encoder import BesideBackground
from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.encoders import (
    AbstractObsEncoder,
    IdentityObsEncoder,
    MLPObsEncoder,
)
from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead
from vardax_core.analysis.amortized.heads.noise import VarianceExploding
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport, Box

HeadName = Literal["regression", "low-rank", "flow", "score"]
EncoderName = Literal["identity", "mlp"]

FLOW_LAYERS, SCORE_STEPS = 4, 16
RANK = 4
"""Points of a state for each column of a low-rank covariance."""


class PosteriorShape(NamedTuple):
    """What the network of a posterior looks like.

    Attributes:
        head: family of the density.
        encoder: what becomes of the observations before the head sees them.
        width: of all hidden layers, and of the context of the encoder that has one.
        obs: observations at the analysis time.
        state_shape: shape of one state.
        bounds: smallest and largest possible value, if the density knows them; either may be
            infinite.
    """

    head: HeadName
    encoder: EncoderName
    width: int
    obs: int
    state_shape: tuple[int, ...]
    bounds: tuple[float, float] | None = None

    @property
    def numbers(self) -> dict[str, Any]:
        """As JSON values, in which an infinite bound is null."""
        found = {**self._asdict(), "state_shape": list(self.state_shape)}
        del found["bounds"]
        if self.bounds is None:
            return found
        return found | {"bounds": [v if math.isfinite(v) else None for v in self.bounds]}


def untrained(shape: PosteriorShape, *, key: PRNGKeyArray) -> AmortizedPosterior:
    """The posterior with fresh weights, in single precision and not standardised."""
    encoder_key, head_key = jax.random.split(key)
    points = math.prod(shape.state_shape)
    encoder: AbstractObsEncoder = IdentityObsEncoder()
    context = 2 * shape.obs
    if shape.encoder == "mlp":
        context = shape.width
        encoder = MLPObsEncoder(shape.obs, context, hidden_dim=shape.width, key=encoder_key)
    head = _head(shape, context + 2 * points, key=head_key)
    posterior = AmortizedPosterior(BesideBackground(encoder), head, AmortizedConfig(head.head_type))
    return single(posterior)


def single(posterior: AmortizedPosterior) -> AmortizedPosterior:
    """The posterior with all its numbers in single precision."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, posterior
    )


def posterior_like(
    *,
    head: HeadName,
    encoder: EncoderName,
    width: int,
    obs: int,
    state_shape: list[int],
    bounds: list[float | None] | None = None,
) -> AmortizedPosterior:
    """The factory that the model registry calls: a posterior of the size of one that was trained,
    with standard units for every element."""
    known = None
    if bounds is not None:
        low, high = bounds
        known = (-math.inf if low is None else low, math.inf if high is None else high)
    shape = PosteriorShape(head, encoder, width, obs, tuple(state_shape), known)
    state, window = jnp.zeros(shape.state_shape), jnp.zeros((1, obs))
    return single(
        eqx.tree_at(
            lambda p: (p.head.scaling, p.input_scaling),
            untrained(shape, key=jax.random.key(0)),
            (AffineScaling(state, state + 1), AffineScaling(window, window + 1)),
            is_leaf=lambda x: x is None,
        )
    )


def _head(shape: PosteriorShape, context: int, *, key: PRNGKeyArray) -> AbstractPosteriorHead:
    state, width = shape.state_shape, shape.width
    support = EVERYWHERE if shape.bounds is None else _within(state, *shape.bounds)
    if shape.head == "flow":
        # Couplings: an autoregressive flow would take a pass for every point of a draw.
        return ConditionalFlowHead(
            context,
            state,
            hidden_dim=width,
            n_layers=FLOW_LAYERS,
            autoregressive=False,
            support=support,
            key=key,
        )
    if shape.head == "score":
        process = VarianceExploding(log_mean=-2.0)
        return ScoreDiffusionHead(
            context,
            state,
            hidden_dim=width,
            process=process,
            n_steps=SCORE_STEPS,
            support=support,
            key=key,
        )
    rank = max(1, math.prod(state) // RANK) if shape.head == "low-rank" else 0
    return RegressionHead(context, state, hidden_dim=width, rank=rank, support=support, key=key)


def _within(state: tuple[int, ...], low: float, high: float) -> AbstractSupport:
    """States of which every element is between two bounds."""
    ones = jnp.ones((1,) * len(state))
    return Box(low * ones, high * ones)
