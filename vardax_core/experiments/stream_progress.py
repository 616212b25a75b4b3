"""How far the streams of a backfill are: the `streams` group of its work branch."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vardax_core.cycling.passed import CycleState
from vardax_core.cycling.streams import Seam, Stream
from vardax_core.experiments.segments import state_arrays

STREAMS = "streams"
DONE, SEAM_MEAN = "done", "seam_mean"
SEAM_DIFFERENCE, SEAM_SPREAD = "seam_difference", "seam_spread"
PLAN = ("start", "first", "stop")
STATE = "state_"
"""Prefix of the states of the streams."""

Stored = Mapping[str, np.ndarray]
"""Arrays of the `streams` group."""


class StreamsUnfinishedError(ValueError):
    """Streams cannot be joined before all of them have ended."""


@dataclasses.dataclass(frozen=True)
class RoundReport:
    """What one commit of a backfill was.

    Attributes:
        cycles: cycles kept, of all streams together.
        spin_up: cycles run and not kept.
        flagged: kept cycles that ended with another code than OK.
        seconds: time of forecast, analysis and verification, without compilation.
    """

    cycles: int
    spin_up: int
    flagged: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Round:
    """The cycles of each stream of a group that one run of the program takes.

    Cycles are counted from the start of the experiment.
    """

    group: int
    spans: tuple[range, ...]


@dataclasses.dataclass(frozen=True)
class StreamProgress:
    """What the `streams` group says of the streams of a plan.

    Groups of streams keep their arrays apart, so that processes may run them side by side.

    Attributes:
        plan: the streams.
        width: streams of a group.
    """

    plan: tuple[Stream, ...]
    width: int

    @property
    def groups(self) -> tuple[tuple[Stream, ...], ...]:
        """The streams of each group."""
        lows = range(0, len(self.plan), self.width)
        return tuple(self.plan[low : low + self.width] for low in lows)

    def lanes(self, group: int) -> tuple[Stream, ...]:
        """The streams of a group, its last one again where the program is wider."""
        streams = self.groups[group]
        return streams + streams[-1:] * (self.width - len(streams))

    def plan_arrays(self) -> dict[str, np.ndarray]:
        """The plan as the group has it once the streams are joined."""
        return {k: np.array([getattr(stream, k) for stream in self.plan]) for k in PLAN}

    def joined(self, stored: Stored) -> bool:
        """Whether the group tells of these streams, and not of a backfill before."""
        plan = self.plan_arrays()
        return all(k in stored and np.array_equal(stored[k], plan[k]) for k in plan)

    def done(self, stored: Stored) -> list[int]:
        """Cycles that each stream has run, spin-up included."""
        if self.joined(stored):
            return [stream.length for stream in self.plan]
        parts = [
            stored.get(_of(DONE, number), np.zeros(len(group)))
            for number, group in enumerate(self.groups)
        ]
        return [int(n) for n in np.concatenate(parts)]

    def names_of_done(self, group: int) -> tuple[str, ...]:
        """Names of the arrays that `done` needs for a group."""
        return (*PLAN, _of(DONE, group))

    def names_of(self, group: int) -> tuple[str, ...]:
        """Names of the arrays that `record` needs."""
        return (*self.names_of_done(group), _of(SEAM_MEAN, group))

    def seam_means(self, stored: Stored) -> np.ndarray:
        """Of each stream the analysis mean that the stream before is compared with."""
        return np.concatenate([stored[_of(SEAM_MEAN, n)] for n in range(len(self.groups))])

    def joined_table(self, seams: Sequence[Seam], means: np.ndarray) -> dict[str, np.ndarray]:
        """What the group says once the streams are joined."""
        return {
            **self.plan_arrays(),
            SEAM_DIFFERENCE: np.array([np.nan, *(seam.difference for seam in seams)]),
            SEAM_SPREAD: np.array([np.nan, *(seam.spread for seam in seams)]),
            SEAM_MEAN: means,
        }

    def state_of(self, stored: Stored, stream: Stream) -> dict[str, np.ndarray]:
        """The state of a stream after its last cycle."""
        group, lane = divmod(stream.number, self.width)
        suffix = _of("", group)
        return {
            name.removeprefix(STATE).removesuffix(suffix): np.asarray(array[lane])
            for name, array in stored.items()
            if name.startswith(STATE) and name.endswith(suffix)
        }

    def record(
        self,
        group: int,
        spans: Sequence[range],
        stored: Stored,
        state: CycleState,
        seams: Mapping[int, np.ndarray | None],
    ) -> dict[str, np.ndarray]:
        """What a run of a group leaves, beside the records of other groups.

        A stream that ran no cycle keeps its state bit for bit.

        Arguments:
            spans: the cycles that each stream ran.
            state: of all lanes after them.
            seams: by stream the analysis mean at its seam, where the run had it.
        """
        streams = self.groups[group]
        done = self.done(stored)
        unknown = np.full((len(streams), *state.ensemble.shape[2:]), np.nan, state.ensemble.dtype)
        means = np.array(stored.get(_of(SEAM_MEAN, group), unknown))
        for lane, (stream, span) in enumerate(zip(streams, spans, strict=True)):
            if span:
                done[stream.number] = span.stop - stream.start
                mean = seams[stream.number]
                means[lane] = means[lane] if mean is None else mean
        arrays = state_arrays(state).items()
        record = {STATE + name: array[: len(streams)] for name, array in arrays}
        record[SEAM_MEAN] = means
        record[DONE] = np.array([done[stream.number] for stream in streams])
        return {_of(name, group): array for name, array in record.items()}


def _of(name: str, group: int) -> str:
    """Name of the array of a group."""
    return f"{name}-{group}"


def seams_of(arrays: Stored) -> tuple[Seam, ...]:
    """The seams that the `streams` group of a store tells of."""
    rows = zip(arrays["first"], arrays[SEAM_DIFFERENCE], arrays[SEAM_SPREAD], strict=True)
    return tuple(
        Seam(number, int(first) - 1, float(difference), float(spread))
        for number, (first, difference, spread) in enumerate(rows)
        if number
    )
