"""Many cycles at once: streams on a work branch, joined and published in one step."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.cycling.cycle import CycleOutput, CycleState
from vardax_core.cycling.engine import Engine, SegmentInput
from vardax_core.cycling.pipeline import overlapped
from vardax_core.cycling.streams import Seam, Stream, cut_streams, seam_between
from vardax_core.data.timeaxis import to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.assimilate import (
    CYCLE_GROUPS,
    provenance,
    segment_record,
)
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.segments import (
    SegmentReader,
    restore_state,
    state_arrays,
    stored_groups,
)
from vardax_core.store import ExperimentStore, SupersededError, Tip

STREAMS = "streams"
SEAM_MEAN = "seam_mean"


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
class _Round:
    """The cycles of each stream that one run of the program takes; numbers from the start."""

    spans: tuple[range, ...]


@dataclasses.dataclass(frozen=True)
class _Started:
    round: _Round
    state: CycleState
    output: CycleOutput
    at: float
    seconds: float = 0.0


class Backfill:
    """A period in streams that run side by side, from where the store stands.

    The first stream goes on from the store's last cycle; the others start from climatology and
    spin up before the cycles that are kept. They are committed to a work branch, from which a
    process that died is resumed, and appear to readers all at once when they are joined. What
    they give depends on the plan, and not on how often the work was interrupted or which streams
    ran when.

    Attributes:
        experiment: what is assimilated.
        store: what readers have.
        plan: the streams.
        branch: name of the work branch, made from the plan.
        engine: what runs its segments.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: ExperimentStore,
        prepared: Prepared,
        times: np.ndarray,
        *,
        streams: int,
        overlap: int,
    ):
        """Arguments:
            times: the analysis times to fill, which follow the store's last cycle.
            streams: how many run side by side.
            overlap: cycles of spin-up.

        Raises:
            StreamPlanError: if there are too few cycles for the streams.
        """
        self.experiment = experiment
        self.store = store
        self._prepared = prepared
        self._times = cycle_times(experiment.recipe)
        first = int(np.searchsorted(self._times, times[0]))
        self.plan = cut_streams(first, first + len(times), streams=streams, overlap=overlap)
        self.branch = f"backfill-{first}-{first + len(times)}-{streams}-{overlap}"
        self._key = experiment_key(experiment.settings.seed)
        self._reader = SegmentReader(store, experiment.recipe, experiment.segment_length_of(store))
        self.engine = Engine(prepared.program, key=self._key, streams=streams)
        self._state: CycleState | None = None
        self._ready_at = 0.0

    def open_branch(self) -> ExperimentStore:
        """The store on the work branch, which is started if it is not there.

        A branch that was started before readers got other cycles is given up.
        """
        branches = self.store.branches
        if self.branch in branches.names() and branches.outdated(self.branch):
            branches.delete(self.branch)
        if self.branch not in branches.names():
            branches.start(self.branch)
        work = self.store.on_branch(self.branch)
        last = to_minutes(self._times[self.plan[-1].stop - 1 :][:1])[0]
        if work.tip().last_time != last:
            times = to_minutes(self._times[self.plan[0].first : self.plan[-1].stop])
            with work.writer(wait=60.0) as writer:
                writer.grow(CYCLE_GROUPS, times, metadata={"kind": "grow"})
        return work

    def pending(self, work: ExperimentStore, numbers: Sequence[int] | None = None) -> list[_Round]:
        """The runs of the program that are still to be made."""
        done = self._done(work)
        chosen = range(len(self.plan)) if numbers is None else numbers
        spans = [
            range(s.start + done[s.number], s.stop) if s.number in chosen else range(0)
            for s in self.plan
        ]
        length = self._reader.length
        count = max(-(-len(span) // length) for span in spans)
        return [
            _Round(tuple(span[n * length : (n + 1) * length] for span in spans))
            for n in range(count)
        ]

    def run(
        self,
        work: ExperimentStore,
        rounds: Sequence[_Round],
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> Iterator[RoundReport]:
        """Run streams, committing after every segment; a report follows each commit.

        Raises:
            SupersededError: if another process runs the same streams.
            StoreBusyError, StorageError: see `Writer.append`.
        """
        record = {**(metadata or {}), **provenance(self.experiment, self._prepared)}
        self._state = None
        return overlapped(
            rounds,
            read=self._read,
            start=lambda round, given: self._start(work, round, given),
            finish=self._finish,
            commit=lambda started: self._commit(work, started, record),
        )

    def first_inputs(self, work: ExperimentStore) -> tuple[CycleState, SegmentInput, int]:
        """The state, the inputs and the number of cycles of the first run of the program."""
        first = self.pending(work)[0]
        return self._first_state(work), self._read(first), sum(map(len, first.spans))

    def join(self, work: ExperimentStore) -> tuple[Tip, tuple[Seam, ...]]:
        """Measure the seams, and make the streams what readers have.

        Raises:
            StreamsUnfinishedError: a stream has cycles to run.
            SupersededError: readers have got other cycles since the backfill was started.
        """
        arrays = dict(work.arrays(STREAMS))
        if SEAM_MEAN not in arrays:
            arrays = self._join_table(work)
        tip = self.store.branches.publish(self.branch)
        return tip, seams_of(arrays)

    def _join_table(self, work: ExperimentStore) -> dict[str, np.ndarray]:
        done = self._done(work)
        open_ = [s.number for s in self.plan if done[s.number] < s.length]
        if open_:
            raise StreamsUnfinishedError(
                f"{self.experiment.name}: streams {open_} have cycles to run; run them, then join."
            )
        stored = work.arrays(STREAMS)
        analysis = work.dataset("analysis")
        name = self.experiment.recipe.variable.name
        means = [stored[f"{SEAM_MEAN}_{s.number}"] for s in self.plan]
        seams = []
        for stream, mean in zip(self.plan[1:], means[1:], strict=True):
            before = analysis.sel(time=self._times[stream.first - 1])
            earlier_mean, earlier_spread = (
                before[f"{name}_{which}"].to_numpy() for which in ("mean", "spread")
            )
            seams.append(seam_between(stream, earlier_mean, earlier_spread, mean))
        table = {
            "start": np.array([s.start for s in self.plan]),
            "first": np.array([s.first for s in self.plan]),
            "stop": np.array([s.stop for s in self.plan]),
            "seam_difference": np.array([np.nan, *(s.difference for s in seams)]),
            "seam_spread": np.array([np.nan, *(s.spread for s in seams)]),
            SEAM_MEAN: np.stack(means),
        }
        last = self.plan[-1].number
        state = {k: stored[f"{k}_{last}"] for k in STATE_ARRAYS}
        with work.writer(wait=60.0) as writer:
            writer.fill([], replace={STREAMS: table, "state": state}, metadata={"kind": "join"})
        return table

    def _done(self, work: ExperimentStore) -> list[int]:
        arrays = work.arrays(STREAMS)
        if SEAM_MEAN in arrays:
            return [stream.length for stream in self.plan]
        return [int(arrays.get(f"done_{stream.number}", 0)) for stream in self.plan]

    def _read(self, round: _Round) -> SegmentInput:
        lanes = []
        for stream, span in zip(self.plan, round.spans, strict=True):
            # A stream that has ended is given any cycle, and told that it is none.
            cycles = span or range(stream.start, stream.start + 1)
            arrays = self._reader.read(self._times[cycles.start : cycles.stop])
            lanes.append(arrays | ({} if span else {"valid": np.zeros_like(arrays["valid"])}))
        stacked = {name: np.stack([lane[name] for lane in lanes]) for name in lanes[0]}
        return SegmentInput(**self.engine.place(stacked))

    def _start(self, work: ExperimentStore, round: _Round, given: SegmentInput) -> _Started:
        if self._state is None:
            self._state = self._first_state(work)
            self.engine.compile(self._state, given)
        at = time.perf_counter()
        self._state, kept, output = self.engine.start(self._state, given)
        return _Started(round, kept, output, at)

    def _first_state(self, work: ExperimentStore) -> CycleState:
        states = [self._stream_state(work, stream) for stream in self.plan]
        return self.engine.place_state(jax.tree.map(lambda *x: jnp.stack(x), *states))

    def _stream_state(self, work: ExperimentStore, stream: Stream) -> CycleState:
        stored = work.arrays(STREAMS)
        if f"done_{stream.number}" in stored:
            return restore_state({k: stored[f"{k}_{stream.number}"] for k in STATE_ARRAYS})
        before = self.store.state()
        if stream.number == 0 and before is not None:
            return restore_state(before)
        first = int(to_minutes(self._times[stream.start :][:1])[0])
        return self._prepared.initial_state(first, key=self._key, number=stream.start)

    def _finish(self, started: _Started) -> _Started:
        jax.block_until_ready((started.state, started.output))
        now, before = time.perf_counter(), self._ready_at
        self._ready_at = now
        return dataclasses.replace(started, seconds=now - max(started.at, before))

    def _commit(
        self, work: ExperimentStore, started: _Started, record: Mapping[str, Any]
    ) -> RoundReport:
        name = self.experiment.recipe.variable.name
        output, state = jax.tree.map(np.asarray, (started.output, started.state))
        put: dict[str, np.ndarray] = {}
        pieces, kept_times, flagged, spin_up = [], [], 0, 0
        for stream, span in zip(self.plan, started.round.spans, strict=True):
            if not span:
                continue
            lane = jax.tree.map(lambda x, n=stream.number: x[n], output)
            skipped = min(len(span), max(0, stream.first - span.start))
            rows = slice(skipped, len(span))
            kept = jax.tree.map(lambda x, rows=rows: x[rows], lane)
            times = self._times[span.start + skipped : span.stop]
            spin_up += skipped
            put |= self._stream_record(stream, span, lane, state)
            if len(times):
                flagged += int(np.sum(kept.analysis.result != 0))
                pieces.append((to_minutes(times), stored_groups(kept, name, "float32")))
                kept_times.append(times)
        together = np.sort(np.concatenate([*kept_times, np.empty(0, self._times.dtype)]))
        facts = {"cycles": 0, "flagged": 0, "compute_seconds": started.seconds}
        if len(together):
            facts = segment_record(together, flagged, started.seconds)
        with work.writer(wait=60.0) as writer:
            self._refuse_overtaken(work, started.round)
            writer.fill(
                pieces, put={STREAMS: put}, metadata={**record, **facts, "spin_up": spin_up}
            )
        return RoundReport(len(together), spin_up, flagged, started.seconds)

    def _refuse_overtaken(self, work: ExperimentStore, round: _Round) -> None:
        """Another process may have run the same streams, or joined them."""
        if self.branch not in self.store.branches.names():
            raise SupersededError(work.location, f"branch {self.branch}", "a joined backfill")
        done = self._done(work)
        for stream, span in zip(self.plan, round.spans, strict=True):
            if span and done[stream.number] != span.start - stream.start:
                raise SupersededError(
                    work.location,
                    f"{span.start - stream.start} cycles of stream {stream.number}",
                    f"{done[stream.number]} cycles",
                )

    def _stream_record(
        self, stream: Stream, span: range, lane: CycleOutput, state: CycleState
    ) -> dict[str, np.ndarray]:
        number = stream.number
        mine = state_arrays(jax.tree.map(lambda x: x[number], state))
        record = {f"{k}_{number}": v for k, v in mine.items()}
        record[f"done_{number}"] = np.asarray(span.stop - stream.start)
        before = stream.first - 1
        if before in span:
            record[f"{SEAM_MEAN}_{number}"] = np.asarray(lane.analysis.mean[before - span.start])
        elif span.start == stream.start:
            record[f"{SEAM_MEAN}_{number}"] = np.full_like(lane.analysis.mean[0], np.nan)
        return record


STATE_ARRAYS = (
    "ensemble",
    "cycle",
    "valid_time",
    "spread_squared_error",
    "spread_variance",
    "spread_weight",
)


def seams_of(arrays: Mapping[str, np.ndarray]) -> tuple[Seam, ...]:
    """The seams that the `streams` group of a store tells of."""
    rows = zip(arrays["first"], arrays["seam_difference"], arrays["seam_spread"], strict=True)
    return tuple(
        Seam(number, int(first) - 1, float(difference), float(spread))
        for number, (first, difference, spread) in enumerate(rows)
        if number
    )


def backfill(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    times: np.ndarray,
    *,
    streams: int,
    overlap: int,
) -> tuple[Tip, tuple[Seam, ...]]:
    """Run a period in streams, and join them; see `Backfill`."""
    made = Backfill(experiment, store, prepared, times, streams=streams, overlap=overlap)
    work = made.open_branch()
    for _ in made.run(work, made.pending(work)):
        pass
    return made.join(work)
