"""Cycles of a segment in one scan."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_keys
from vardax_core.cycling.passed import CycleInput, CycleOutput, CycleState
from vardax_core.cycling.verification import Made, verify_cycles, with_sums


def scan_cycles(
    program: CycleProgram,
    state: CycleState,
    given: CycleInput,
    *,
    key: PRNGKeyArray,
    skips: bool = False,
) -> tuple[CycleState, CycleOutput, Key[Array, " cycle"]]:
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

    Returns:
        The state after the last cycle, the outputs without their verification, and its keys.
    """

    numbers = state.cycle + jnp.arange(given.valid.shape[0], dtype=state.cycle.dtype)
    keys = jax.vmap(lambda number: cycle_keys(key, number))(numbers)

    def cycle(
        state: CycleState, one: CycleInput, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        return program.advance(state, one, keys=keys)

    def nothing(
        state: CycleState, one: CycleInput, keys: Key[Array, " purpose"]
    ) -> tuple[CycleState, CycleOutput]:
        _, output = jax.eval_shape(cycle, state, one, keys)
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), output)

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
    return following, output, keys[:, Purpose.VERIFICATION]


@eqx.filter_jit
def run_segment(
    program: CycleProgram, state: CycleState, given: CycleInput, *, key: PRNGKeyArray
) -> tuple[CycleState, CycleOutput]:
    """Run and verify the cycles of one segment, compiled; see `scan_cycles`."""
    following, output, keys = scan_cycles(program, state, given, key=key)
    made = Made.of(output, given.truth)
    sums = verify_cycles(program.verification, made, given.valid, keys=keys)
    return following, with_sums(output, sums)
