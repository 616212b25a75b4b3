"""Cycles of a segment in one scan, and their verification after it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_keys
from vardax_core.cycling.passed import CycleInput, CycleOutput, CycleState

VERIFIED_CYCLES, VERIFIED_VALUES = 64, 2**20
"""Cycles, and values of their members, that are verified at once: small states cost what their many
small operations do, large ones the memory."""


def scan_cycles(
    program: CycleProgram,
    state: CycleState,
    given: CycleInput,
    *,
    key: PRNGKeyArray,
    skips: bool = False,
) -> tuple[CycleState, CycleOutput]:
    """Run the cycles of one segment in one scan.

    A cycle gives the same bits wherever a segment is cut, because every segment has the same
    length: the last one is padded with cycles that are not `valid`, which leave the state as it
    was and whose output is to be dropped.

    Arguments:
        program: the method.
        state: before the first cycle of the segment.
        given: stacked inputs of all cycles, padding included.
        key: the experiment's key.
        skips: whether the padding is passed over instead of computed, and its output zero. To ask
            costs a GPU more than most cycles, and streams side by side are computed in any case.
    """

    length = given.valid.shape[0]
    numbers = state.cycle + jnp.arange(length, dtype=state.cycle.dtype)
    keys = jax.vmap(lambda number: cycle_keys(key, number))(numbers)

    def cycle(
        state: CycleState, one: CycleInput, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        return program.advance(state, one, keys=keys)

    def nothing(
        state: CycleState, one: CycleInput, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        _, output = jax.eval_shape(cycle, state, one, keys)
        return state, _zeros(output)

    def body(
        state: CycleState, at: tuple[CycleInput, Key[Array, " purpose"]]
    ) -> tuple[CycleState, CycleOutput]:
        one, keys = at
        if skips:
            return jax.lax.cond(one.valid, cycle, nothing, state, one, keys)
        following, output = cycle(state, one, keys)
        kept = jax.tree.map(lambda new, old: jnp.where(one.valid, new, old), following, state)
        return kept, output

    following, output = jax.lax.scan(body, state, (given, keys))

    verify = jax.vmap(lambda made, truth, key: program.verified(made, truth, key=key))

    def verified(
        some: tuple[CycleOutput, Float[Array, "cycle *state"], Key[Array, " cycle"]],
    ) -> dict[str, Array]:
        return verify(*some).statistics

    def of_group(at: tuple[PyTree, Bool[Array, " cycle"]]) -> dict[str, Array]:
        some, valid = at
        if not skips:
            return verified(some)
        none = _zeros(jax.eval_shape(verified, some))
        return jax.lax.cond(jnp.any(valid), verified, lambda _: none, some)

    group = _group(length, output.background[0].size)
    some = (output, given.truth, keys[:, Purpose.VERIFICATION])
    cut = jax.tree.map(lambda x: x.reshape(-1, group, *x.shape[1:]), (some, given.valid))
    found = jax.lax.map(of_group, cut)
    statistics = jax.tree.map(lambda x: x.reshape(length, *x.shape[2:]), found)
    joined = jax.vmap(lambda one, sums: dataclasses.replace(one, statistics=sums))
    return following, joined(output, statistics)


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _group(cycles: int, size: int) -> int:
    """How many cycles are verified at once: as many as divide a segment and are small enough."""
    most = max(1, min(VERIFIED_CYCLES, VERIFIED_VALUES // size))
    return max(n for n in range(1, min(most, cycles) + 1) if cycles % n == 0)


run_segment = eqx.filter_jit(scan_cycles)
"""`scan_cycles`, compiled."""
