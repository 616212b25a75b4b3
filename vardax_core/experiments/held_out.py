"""Held-out pairs of a twin: truths that no training met, and the analyses of the cycle there."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.gates.context import Pairs
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.types import Observations, ensemble_spread


class HeldOutPlan(NamedTuple):
    """How held-out pairs are made.

    Attributes:
        streams: independent twins run in parallel.
        per_stream: pairs taken from each.
        settle: cycles before the first pair, from an ensemble of climatology.
        gap: cycles between two pairs of a stream, some correlation times of the error.
        members: ensemble size.
    """

    streams: int = 64
    per_stream: int = 8
    settle: int = 100
    gap: int = 25
    members: int = 24


def twin_pairs(
    step: AbstractAnalysisStep,
    model: AbstractForecastModel,
    climatology: Climatology,
    error_sd: float,
    plan: HeldOutPlan,
    *,
    key: PRNGKeyArray,
) -> tuple[Pairs, dict[str, np.ndarray]]:
    """Run independent twins with the analysis in their cycle, and take pairs far apart.

    The truths start from draws of climatology of their own, so that training never met them.

    Returns:
        Truth and analysis members of every pair, and the strata: how certain the background was.
    """
    start_key, key = jax.random.split(key)
    dtype = climatology.mean.dtype
    shape = (plan.streams, plan.members + 1, *model.state_shape)
    now = jnp.zeros((), jnp.int32)
    drawn = climatology.forecast(
        jnp.zeros((shape[0] * shape[1], *shape[2:]), dtype), now, key=start_key
    ).reshape(shape)
    obs_size = step.operator.obs_size
    sd = jnp.full((1, obs_size), error_sd, dtype)

    def one(truth: Array, ensemble: Array, key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        keys = jax.random.split(key, 4)
        truth = model.step(truth, now, key=keys[0])
        background = model.forecast(ensemble, now, key=keys[1])
        noise = error_sd * jax.random.normal(keys[2], (1, obs_size), dtype)
        values = step.operator(truth)[None] + noise
        observations = Observations.from_values(values, sd, now[None])
        analysis = step(background, observations, key=keys[3])
        return truth, analysis.ensemble, jnp.mean(ensemble_spread(background))

    @eqx.filter_jit
    def run(carry: tuple[Array, Array], keys: Array):
        def cycle(carry: tuple[Array, Array], key: PRNGKeyArray):
            each = jax.random.split(key, plan.streams)
            truth, ensemble, spread = jax.vmap(one)(carry[0], carry[1], each)
            return (truth, ensemble), spread

        carry, spreads = jax.lax.scan(cycle, carry, keys)
        return carry, spreads[-1]

    carry = (drawn[:, 0], drawn[:, 1:])
    taken = []
    # Pieces of one length, so that they are compiled once.
    pieces = -(-plan.settle // plan.gap) + plan.per_stream
    for keys in jax.random.split(key, (pieces, plan.gap)):
        carry, spread = run(carry, keys)
        taken.append((*carry, spread))
    taken = taken[-plan.per_stream :]
    truth, draws, spread = (jnp.concatenate(parts) for parts in zip(*taken, strict=True))
    thirds = np.searchsorted(np.quantile(np.asarray(spread), [1 / 3, 2 / 3]), np.asarray(spread))
    names = np.array(["small", "medium", "large"])
    return Pairs(truth=truth, draws=draws), {"background spread": names[thirds]}
