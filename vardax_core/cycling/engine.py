"""Segments of cycles on the device: one compiled program to a shape, alone or in streams."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput, CycleOutput, CycleState
from vardax_core.cycling.scan import scan_cycles
from vardax_core.cycling.threads import require_threads
from vardax_core.cycling.verification import Made, Verification, verify_cycles, with_sums
from vardax_core.observations.placement import Placement
from vardax_core.observations.quality import QualityCode
from vardax_core.types import Observations

STREAM = "stream"
STREAMS = PartitionSpec(STREAM)


class SegmentInput(eqx.Module):
    """What the cycles of one segment are given, as arrays of the host or of the device.

    With streams every array has the stream as one more leading axis.

    Attributes:
        values, error_sd: observed values, NaN where missing, and their error standard deviations;
            at the analysis time the values of withheld stations are among them.
        minutes: valid times since `MINUTES_EPOCH`, the analysis time last.
        quality: quality-control codes at the analysis time.
        truth: true state at the analysis time, NaN where not known.
        valid: False for padding.
        placement: where the observations are; None for an observing network that stays.
        background, forecast: see `CycleInput`.
    """

    values: Float[Array, "*stream cycle window obs"]
    error_sd: Float[Array, "*stream cycle window obs"]
    minutes: Int[Array, "*stream cycle window"]
    quality: Int[Array, "*stream cycle obs"]
    truth: Float[Array, "*shape"]
    valid: Bool[Array, "*stream cycle"]
    placement: Placement | None = None
    background: Float[Array, "*shape_of_background"] | None = None
    forecast: Float[Array, "*shape_of_forecast"] | None = None

    def cycles(self) -> CycleInput:
        """The inputs of the cycles of one stream, stacked."""
        last = self.values[:, -1]
        hidden = self.quality == int(QualityCode.WITHHELD)
        values = self.values.at[:, -1].set(jnp.where(hidden, jnp.nan, last))
        observations = jax.vmap(Observations.from_values)(values, self.error_sd, self.minutes)
        last = jnp.where(hidden, last, jnp.nan)[:, None]
        withheld = jax.vmap(Observations.from_values)(
            last, self.error_sd[:, -1:], self.minutes[:, -1:]
        )
        return jax.vmap(CycleInput)(
            observations,
            self.quality,
            self.truth,
            self.valid,
            withheld,
            self.placement,
            self.background,
            self.forecast,
        )


def usable_devices(streams: int, devices: Sequence[jax.Device]) -> list[jax.Device]:
    """As many of the devices as the streams can be spread over evenly."""
    count = max(n for n in range(1, len(devices) + 1) if streams % n == 0)
    return list(devices[:count])


class Engine:
    """Runs segments of one method without waiting for them.

    A segment of given shape is compiled once. The state handed in is donated to the program, so
    that it must not be used again; a copy of the new one comes back beside it for the store.

    Attributes:
        program: the method.
        streams: number of streams that run side by side; None for one chain without that axis.
        devices: over which the streams are spread.

    Raises:
        TooFewThreadsError: if simulated devices would wait for each other for ever.
    """

    def __init__(
        self,
        program: CycleProgram,
        *,
        key: PRNGKeyArray,
        streams: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.program = program
        self.streams = streams
        there = jax.local_devices() if devices is None else list(devices)
        self.devices = there[:1] if streams is None else usable_devices(streams, there)
        if self.devices[0].platform == "cpu":
            require_threads(len(self.devices))
        arrays, static = eqx.partition(program, eqx.is_array)
        leaves, structure = jax.tree.flatten(static)
        self._static = (tuple(leaves), structure)
        self._sharding = everywhere = None
        if len(self.devices) > 1:
            mesh = Mesh(np.array(self.devices), (STREAM,))
            self._sharding = NamedSharding(mesh, STREAMS)
            everywhere = NamedSharding(mesh, PartitionSpec())
        fixed = (arrays, key, program.verification)
        self._arrays, self._key, self._verification = jax.device_put(
            fixed, everywhere or self.devices[0]
        )

    def place(self, tree: Any) -> Any:
        """Start the transfer of arrays of the host to where the segments run."""
        return jax.device_put(tree, self._sharding or self.devices[0])

    def place_state(self, state: CycleState) -> CycleState:
        """A copy of a state, whose buffers may be donated."""
        return jax.tree.map(jnp.copy, self.place(state))

    def compile(self, state: CycleState, given: SegmentInput) -> tuple[Any, Any]:
        """The compiled cycles of a segment of a shape, and their verification; each is made at its
        first use in this process, and the second is the same for all methods."""
        leaves, structure = jax.tree.flatten(((self._arrays, given, self._key), state))
        batched = self.streams is not None
        skips = not batched and self.devices[0].platform == "cpu"
        where = (batched, skips, self._sharding)
        cycles = _compiled_cycles(*self._static, *where, _shapes(leaves), structure)
        _, output, keys = cycles.out_info
        looked_at = (self._verification, Made.of(output, given.truth), given.valid, keys)
        leaves, structure = jax.tree.flatten(looked_at)
        return cycles, _compiled_verification(*where, _shapes(leaves), structure)

    def start(
        self, state: CycleState, given: SegmentInput
    ) -> tuple[CycleState, CycleState, CycleOutput]:
        """Start a segment and return at once, before the device has run it.

        Arguments:
            state: before the first cycle; its buffers are taken.
            given: inputs of all cycles, padding included.

        Returns:
            The state after the last cycle, to be donated to the next segment; a copy of it; and
            the output of every cycle, padding included.
        """
        cycles, verify = self.compile(state, given)
        following, output, keys = cycles((self._arrays, given, self._key), state)
        sums = verify(self._verification, Made.of(output, given.truth), given.valid, keys)
        return following, jax.tree.map(jnp.copy, following), with_sums(output, sums)


def _shapes(leaves: list[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for x in leaves)


@functools.lru_cache(maxsize=8)
def _compiled_cycles(
    leaves: tuple,
    structure: Any,
    batched: bool,
    skips: bool,
    sharding: NamedSharding | None,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    arguments: Any,
) -> Any:
    static = jax.tree.unflatten(structure, leaves)

    def one(arrays, given: SegmentInput, key: PRNGKeyArray, state: CycleState):
        program = eqx.combine(arrays, static)
        return scan_cycles(program, state, given.cycles(), key=key, skips=skips)

    def segment(fixed, state: CycleState):
        arrays, given, key = fixed
        if not batched:
            return one(arrays, given, key, state)
        return jax.vmap(lambda g, s: one(arrays, g, key, s))(given, state)

    split, whole = STREAMS, PartitionSpec()
    function = _spread(segment, sharding, ((whole, split, whole), split))
    fixed, state = jax.tree.unflatten(arguments, shapes)
    return jax.jit(function, donate_argnums=(1,)).lower(fixed, state).compile()


@functools.lru_cache(maxsize=8)
def _compiled_verification(
    batched: bool,
    skips: bool,
    sharding: NamedSharding | None,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    arguments: Any,
) -> Any:
    def verify(verification: Verification, made: Made, valid: Array, keys: Array):
        one = functools.partial(verify_cycles, verification, skips=skips)
        if not batched:
            return one(made, valid, keys=keys)
        return jax.vmap(lambda m, v, k: one(m, v, keys=k))(made, valid, keys)

    function = _spread(verify, sharding, (PartitionSpec(), STREAMS, STREAMS, STREAMS))
    return jax.jit(function).lower(*jax.tree.unflatten(arguments, shapes)).compile()


def _spread(function: Any, sharding: NamedSharding | None, inputs: Any) -> Any:
    """The function with its streams over the devices, if there are several."""
    if sharding is None:
        return function
    return jax.shard_map(
        function, mesh=sharding.mesh, in_specs=inputs, out_specs=STREAMS, check_vma=False
    )
