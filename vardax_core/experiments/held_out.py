"""Held-out pairs of a twin: truths that no training met, and the analyses of the cycle there."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from vardax_core.calibration.gates.context import Pairs
from vardax_core.cycling.cycle import CycleInput, CycleOutput, CycleProgram
from vardax_core.models.climatology import Climatology
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.twin_cycles import cycle_twin
from vardax_core.types import ensemble_spread


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
    program: CycleProgram,
    climatology: Climatology,
    error_sd: float,
    plan: HeldOutPlan,
    *,
    key: PRNGKeyArray,
) -> tuple[Pairs, dict[str, np.ndarray]]:
    """Run independent twins with the analysis in their cycle, and take pairs far apart.

    The truths start from draws of climatology of their own, so that training never met them. The
    cycle is the operational one but for its guard, which would hide what the analysis gets wrong.

    Returns:
        Truth and analysis members of every pair, and the strata: how certain the background was.
    """
    start_key, key = jax.random.split(key)
    dtype = climatology.mean.dtype
    shape = (plan.streams, plan.members + 1, *program.model.state_shape)
    drawn = climatology.forecast(
        jnp.zeros((shape[0] * shape[1], *shape[2:]), dtype),
        jnp.zeros((), jnp.int32),
        key=start_key,
    ).reshape(shape)
    unguarded = replace(program, guard=None)
    cycles = (-(-plan.settle // plan.gap) + plan.per_stream) * plan.gap

    def look(
        memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[tuple, tuple]:
        spread = jnp.mean(ensemble_spread(output.background))
        return memory, (truth, output.analysis.ensemble, spread)

    @eqx.filter_jit
    def run(program: CycleProgram, drawn: Array, keys: Array) -> tuple[Array, Array, Array]:
        def one(drawn: Array, key: PRNGKeyArray) -> tuple[Array, Array, Array]:
            observing = FixedNetwork(error_sd)
            return cycle_twin(
                program, observing, drawn[0], drawn[1:], cycles, look, every=plan.gap, key=key
            )

        return jax.vmap(one)(drawn, keys)

    taken = run(unguarded, drawn, jax.random.split(key, plan.streams))
    truth, draws, spread = (
        part[:, -plan.per_stream :].reshape(-1, *part.shape[2:]) for part in taken
    )
    thirds = np.searchsorted(np.quantile(np.asarray(spread), [1 / 3, 2 / 3]), np.asarray(spread))
    names = np.array(["small", "medium", "large"])
    return Pairs(truth=truth, draws=draws), {"background spread": names[thirds]}
