"""Many cycles at once: streams on a work branch, joined and published in one step."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.cycling.engine import Engine, SegmentInput
from vardax_core.cycling.passed import CycleOutput, CycleState
from vardax_core.cycling.pipeline import overlapped
from vardax_core.cycling.streams import (
    Seam,
    Stream,
    StreamPlanError,
    cut_streams,
    seam_between,
)
from vardax_core.data.channels import stacked
from vardax_core.data.timeaxis import to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.assimilate import CYCLE_GROUPS, provenance, segment_record
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.segments import SegmentReader, restore_state
from vardax_core.experiments.stored_form import StoredForm
from vardax_core.experiments.stream_commits import COMMIT_WAIT, commit_round
from vardax_core.experiments.stream_progress import (
    STATE,
    STREAMS,
    Round,
    RoundReport,
    StreamProgress,
    StreamsUnfinishedError,
    seams_of,
)
from vardax_core.experiments.watched import hold_if_implausible
from vardax_core.store import ExperimentStore, Tip
from vardax_core.store.store import MADE_FROM

GROW = "grow"
"""Kind of the commit that a work branch begins with."""


@dataclasses.dataclass(frozen=True)
class _Started:
    round: Round
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

    A group of streams shares one compiled program, whose width is that of every group; the last is
    filled up with streams that run no cycle. Batched programs of different widths round
    differently, so the width belongs to the plan, and whatever process runs a group gets its bits.
    Groups keep their records apart, so that processes may run them side by side.

    Attributes:
        experiment: what is assimilated.
        store: what readers have.
        plan: the streams.
        width: streams of a group.
        groups: the streams of each group.
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
        width: int | None = None,
    ):
        """Arguments:
            times: the analysis times to fill, which follow the store's last cycle.
            streams: into how many the times are cut.
            overlap: cycles of spin-up.
            width: how many streams run side by side, a group of them; None for all.

        Raises:
            StreamPlanError: if there are too few cycles for the streams, or a host model makes the
                forecasts.
        """
        if prepared.hosted:
            raise StreamPlanError(
                f"{experiment.name}: its forecasts are made by a command or a function, which "
                "streams side by side do not run; assimilate it instead: vardax assimilate, with "
                "the same options."
            )
        self.experiment = experiment
        self.store = store
        self._prepared = prepared
        self._times = cycle_times(experiment.recipe)
        first = int(np.searchsorted(self._times, times[0]))
        segment = experiment.segment_length_of(store)
        self.plan = cut_streams(
            first,
            first + len(times),
            streams=streams,
            overlap=overlap,
            segment=segment,
        )
        self.width = min(width or streams, streams)
        self._progress = StreamProgress(self.plan, self.width)
        self.groups = self._progress.groups
        self.branch = f"backfill-{first}-{first + len(times)}-{streams}-{overlap}-{self.width}"
        self._reader = SegmentReader(
            store,
            experiment.recipe,
            experiment.settings,
            segment,
            prepared.program,
            even=True,
            as_of=self._begun_from(),
        )
        self._form = StoredForm.of(
            store, experiment.recipe, experiment.settings.dtype, self._reader.width
        )
        self._key = experiment_key(experiment.settings.seed)
        self.engine = Engine(prepared.program, key=self._key, streams=self.width)
        self._state: CycleState | None = None
        self._group: int | None = None
        self._ready_at = 0.0

    def _begun_from(self) -> str | None:
        """The snapshot of the observations that the work branch was begun from, if there is one."""
        branches = self.store.branches
        if self.branch not in branches.names() or branches.outdated(self.branch):
            return None
        history = self.store.on_branch(self.branch).history()
        return next(
            (r.metadata.get(MADE_FROM) for r in history if r.metadata["kind"] == GROW), None
        )

    def open_branch(self) -> ExperimentStore:
        """The store on the work branch, which is started if it is not there.

        A branch that was started before readers got other cycles is given up.
        """
        with self.store.writer(wait=COMMIT_WAIT) as writer:
            writer.append({}, {}, widths=self._form.widths, metadata={"kind": "widen"})
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
                smoothed = ("smoothed",) if self.experiment.settings.lag else ()
                made_from = {"kind": GROW, MADE_FROM: self._reader.snapshot}
                writer.grow((*CYCLE_GROUPS, *smoothed), times, metadata=made_from)
        return work

    def pending(self, work: ExperimentStore, groups: Sequence[int] | None = None) -> list[Round]:
        """The runs of the program that are still to be made, group by group.

        Arguments:
            work: the store on the work branch.
            groups: numbers of the groups that are asked for; None for all.
        """
        done = self.done(work)
        rounds = []
        for number in range(len(self.groups)) if groups is None else groups:
            spans = [range(s.start + done[s.number], s.stop) for s in self.groups[number]]
            cut = [self._reader.cut(span) for span in spans]
            rounds += [Round(number, r) for r in itertools.zip_longest(*cut, fillvalue=range(0))]
        return rounds

    def done(self, work: ExperimentStore) -> list[int]:
        """Cycles that each stream has run, spin-up included."""
        return self._progress.done(work.arrays(STREAMS, without=STATE))

    def run(
        self,
        work: ExperimentStore,
        rounds: Sequence[Round],
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> Iterator[RoundReport]:
        """Run streams, committing after every segment; a report follows each commit.

        Raises:
            SupersededError: if another process runs the same streams.
            StoreBusyError, StorageError: see `Writer.append`.
        """
        with_what = self._reader.circumstances.record(self.experiment.settings)
        made_from = {MADE_FROM: self._reader.snapshot, **with_what}
        record = {**(metadata or {}), **provenance(self.experiment, self._prepared), **made_from}
        self._group = None
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
        return self._first_state(work, first.group), self._read(first), sum(map(len, first.spans))

    def join(self, work: ExperimentStore) -> tuple[Tip, tuple[Seam, ...]]:
        """Measure the seams, and make the streams what readers have.

        Raises:
            StreamsUnfinishedError: a stream has cycles to run.
            SupersededError: readers have got other cycles since the backfill was started.
        """
        arrays = work.arrays(STREAMS, without=STATE)
        if not self._progress.joined(arrays):
            arrays = self._join_table(work)
        tip = self.store.branches.publish(self.branch)
        return tip, seams_of(arrays)

    def _join_table(self, work: ExperimentStore) -> dict[str, np.ndarray]:
        stored = work.arrays(STREAMS)
        done = self._progress.done(stored)
        open_ = [s.number for s in self.plan if done[s.number] < s.length]
        if open_:
            raise StreamsUnfinishedError(
                f"{self.experiment.name}: streams {open_} have cycles to run; run them, then join."
            )
        analysis = work.dataset("analysis")
        recipe = self.experiment.recipe
        means = self._progress.seam_means(stored)
        seams = []
        for stream in self.plan[1:]:
            before = analysis.sel(time=self._times[stream.first - 1])
            earlier_mean, earlier_spread = (
                stacked(before, recipe, f"_{which}").to_numpy() for which in ("mean", "spread")
            )
            seams.append(seam_between(stream, earlier_mean, earlier_spread, means[stream.number]))
        table = self._progress.joined_table(seams, means)
        state = self._progress.state_of(stored, self.plan[-1])
        with work.writer(wait=COMMIT_WAIT) as writer:
            writer.fill([], replace={STREAMS: table, "state": state}, metadata={"kind": "join"})
        return table

    def _read(self, round: Round) -> SegmentInput:
        lanes = []
        spans = itertools.chain(round.spans, itertools.repeat(range(0)))
        for stream, span in zip(self._progress.lanes(round.group), spans, strict=False):
            # A stream that has ended is given any cycle, and told that it is none.
            cycles = span or range(stream.start, stream.start + 1)
            arrays = self._reader.read(self._times[cycles.start : cycles.stop])
            lanes.append(arrays | ({} if span else {"valid": np.zeros_like(arrays["valid"])}))
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *lanes)
        return SegmentInput(**self.engine.place(stacked))

    def _start(self, work: ExperimentStore, round: Round, given: SegmentInput) -> _Started:
        if self._state is None or self._group != round.group:
            self._state, self._group = self._first_state(work, round.group), round.group
            self.engine.compile(self._state, given)
        at = time.perf_counter()
        self._state, kept, output = self.engine.start(self._state, given)
        return _Started(round, kept, output, at)

    def _first_state(self, work: ExperimentStore, group: int) -> CycleState:
        stored, before = work.arrays(STREAMS), work.state()
        states = [
            self._stream_state(stored, before, stream) for stream in self._progress.lanes(group)
        ]
        return self.engine.place_state(jax.tree.map(lambda *x: jnp.stack(x), *states))

    def _stream_state(
        self,
        stored: Mapping[str, np.ndarray],
        before: Mapping[str, np.ndarray] | None,
        stream: Stream,
    ) -> CycleState:
        if self._progress.done(stored)[stream.number]:
            return self._prepared.program.fitted(
                restore_state(self._progress.state_of(stored, stream))
            )
        if stream.number == 0 and before is not None:
            return self._prepared.program.fitted(restore_state(before))
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
        output, state = jax.tree.map(np.asarray, (started.output, started.state))
        pieces, kept_times, flagged, lost, spin_up = [], [], 0, 0, 0
        seams: dict[int, np.ndarray | None] = {}
        streams = self.groups[started.round.group]
        for number, (stream, span) in enumerate(zip(streams, started.round.spans, strict=True)):
            if not span:
                continue
            lane = jax.tree.map(lambda x, n=number: x[n], output)
            skipped = min(len(span), max(0, stream.first - span.start))
            rows = slice(skipped, len(span))
            kept = jax.tree.map(lambda x, rows=rows: x[rows], lane)
            times = self._times[span.start + skipped : span.stop]
            spin_up += skipped
            seams[stream.number] = self._seam_mean(stream, span, lane)
            if len(times):
                hold_if_implausible(self.experiment, times, kept)
                flagged += int(np.sum(kept.analysis.result != 0))
                lost += int(np.sum(kept.replaced_members))
                pieces.append((to_minutes(times), self._form.groups(kept)))
                kept_times.append(times)
        together = np.sort(np.concatenate([*kept_times, np.empty(0, self._times.dtype)]))
        facts = {"cycles": 0, "flagged": 0, "compute_seconds": started.seconds}
        if len(together):
            facts = segment_record(together, flagged, started.seconds, lost)
            if self._reader.forecast is not None:
                facts |= self._reader.forecast.record(together)
        metadata = {**record, **facts, "spin_up": spin_up}
        stored = work.arrays(STREAMS, names=self._progress.names_of(started.round.group))
        put = self._progress.record(started.round.group, started.round.spans, stored, state, seams)
        commit_round(work, self._progress, started.round, pieces, put, metadata=metadata)
        return RoundReport(len(together), spin_up, flagged, started.seconds)

    def _seam_mean(self, stream: Stream, span: range, lane: CycleOutput) -> np.ndarray | None:
        """The analysis mean that the stream before is compared with, if this span has it."""
        before = stream.first - 1
        return np.asarray(lane.analysis.mean[before - span.start]) if before in span else None


def backfill(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    times: np.ndarray,
    *,
    streams: int,
    overlap: int,
    width: int | None = None,
) -> tuple[Tip, tuple[Seam, ...]]:
    """Run a period in streams, and join them; see `Backfill`."""
    made = Backfill(
        experiment, store, prepared, times, streams=streams, overlap=overlap, width=width
    )
    work = made.open_branch()
    for _ in made.run(work, made.pending(work)):
        pass
    return made.join(work)
