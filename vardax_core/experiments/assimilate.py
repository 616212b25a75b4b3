"""Catching up the cycles of a store, segment by segment."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import vardax_core
from vardax_core.cycling.engine import Engine, SegmentInput
from vardax_core.cycling.passed import CycleOutput, CycleState
from vardax_core.cycling.pipeline import overlapped
from vardax_core.data.errors import PeriodError
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.host_forecast import HostForecast
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.segments import (
    SegmentReader,
    on_host,
    restore_state,
    state_arrays,
)
from vardax_core.experiments.stored_form import StoredForm
from vardax_core.experiments.watched import hold_if_implausible, said
from vardax_core.store import ExperimentStore, SupersededError, Tip
from vardax_core.store.experiment import OBSERVATIONS
from vardax_core.store.repository import MAIN
from vardax_core.store.store import MADE_FROM


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """What one committed segment was.

    Attributes:
        first, last: analysis times of its first and last cycle.
        cycles: how many there are.
        flagged: how many ended with another code than OK.
        seconds: time of forecast, analysis and verification, without compilation.
        tip: where the store stands after it.
        warnings: what somebody who runs this should see.
    """

    first: np.datetime64
    last: np.datetime64
    cycles: int
    flagged: int
    seconds: float
    tip: Tip
    warnings: tuple[str, ...] = ()


def pending_cycles(
    experiment: Experiment, store: ExperimentStore, target: np.datetime64 | None = None
) -> np.ndarray:
    """Analysis times (datetime64) that are not in the store but have their observations.

    Arguments:
        target: last time to reach; by default the end of the recipe's period.

    Raises:
        PeriodError: if the target is beyond the last ingested observation's cycle.
    """
    return _due(experiment, store, target)[0]


def waiting_cycles(
    experiment: Experiment, store: ExperimentStore, target: np.datetime64 | None = None
) -> np.ndarray:
    """Analysis times up to a target time that wait for observations; see `pending_cycles`."""
    return _due(experiment, store, target)[1]


def _due(
    experiment: Experiment, store: ExperimentStore, target: np.datetime64 | None
) -> tuple[np.ndarray, np.ndarray]:
    recipe = experiment.recipe
    times = cycle_times(recipe)
    minutes = to_minutes(times)
    wanted = minutes[-1] if target is None else to_minutes(np.asarray([target]))[0]
    if wanted > minutes[-1] or wanted < minutes[0]:
        asked = from_minutes(np.asarray([wanted]))[0]
        raise PeriodError(
            f"{experiment.name}: asked for cycles up to {asked}, but the recipe's period "
            f"runs from {times[0]} to {times[-1]}; choose a time in it."
        )
    ingested = store.tip(OBSERVATIONS).last_time
    available = minutes[0] - 1 if ingested is None else ingested
    done = store.tip().last_time
    after = minutes[0] - 1 if done is None else done
    due = (minutes > after) & (minutes <= wanted)
    return times[due & (minutes <= available)], times[due & (minutes > available)]


CYCLE_GROUPS = ("background", "analysis", "innovations", "diagnostics")
"""What every cycle writes to; with a lag also to `smoothed`."""
"""The groups with one time step for each cycle."""


@dataclasses.dataclass(frozen=True)
class _Started:
    """A segment that the device was given at the time `at`."""

    times: np.ndarray
    state: CycleState
    output: CycleOutput
    at: float
    seconds: float = 0.0


def provenance(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    """What every commit of cycles says about what made them."""
    versions = prepared.versions.values()
    return {
        "kind": "segment",
        "method": experiment.settings.method,
        "model_version": ", ".join(v.path.name for v in versions) or "none",
        "model_sha256": ", ".join(v.sha256 for v in versions) or "none",
        "configuration": experiment.digest,
        "code_version": vardax_core.__version__,
        "seed": experiment.settings.seed,
    }


def segment_record(
    times: np.ndarray, flagged: int, seconds: float, lost: int = 0
) -> dict[str, Any]:
    """What a commit says about its cycles, the members that were left out of them included."""
    return {
        **({"lost_members": lost} if lost else {}),
        "first_cycle": str(times[0].astype("datetime64[m]")),
        "last_cycle": str(times[-1].astype("datetime64[m]")),
        "cycles": len(times),
        "flagged": flagged,
        "compute_seconds": seconds,
    }


def _cycle_name(minutes: int | None) -> str:
    return "no cycle" if minutes is None else f"cycle {from_minutes(np.asarray([minutes]))[0]}"


class Assimilation:
    """The cycles of one experiment, from where its store stands.

    Attributes:
        experiment: what is assimilated.
        store: where the cycles are committed.
        prepared: the method.
        engine: what runs its segments.
        host: what makes the forecasts, where it is not the program.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: ExperimentStore,
        prepared: Prepared,
        circumstances: Circumstances | None = None,
    ):
        """Arguments:
        circumstances: what the cycles are made with; None for the usual.
        """
        self.experiment = experiment
        self.store = store
        self.prepared = prepared
        self._key = experiment_key(experiment.settings.seed)
        self.host = None
        if prepared.hosted:
            self.host = HostForecast.of(experiment, store, prepared.program)
        self._reader = SegmentReader(
            store,
            experiment.recipe,
            experiment.settings,
            experiment.segment_length_of(store) if self.host is None else 1,
            prepared.program,
            circumstances=circumstances,
        )
        self._form = StoredForm.of(
            store, experiment.recipe, experiment.settings.dtype, self._reader.width
        )
        self.engine = Engine(prepared.program, key=self._key)
        self._state: CycleState | None = None
        self._ready_at = 0.0
        self._committed: int | None = None

    def segments(self, times: np.ndarray) -> list[np.ndarray]:
        """Cut analysis times that follow the store's last cycle into segments."""
        return self._reader.segments(times, self.store.tip().cycles)

    def run(
        self, times: np.ndarray, *, metadata: Mapping[str, str] | None = None
    ) -> Iterator[SegmentReport]:
        """Run cycles segment by segment, each committed whole; a report follows each commit.

        While a segment is computed the observations of the next are read and the last is
        committed. Nothing runs before the first report is asked for. With a host model a segment
        is one cycle, and its forecast starts when the last is committed.

        Arguments:
            times: analysis times that follow the store's last cycle.
            metadata: more to record with the commits, such as the flow run.

        Raises:
            StoreBusyError: if another process is writing.
            SupersededError: if another process has published these cycles meanwhile.
            ImplausibleIncrementError: if the recipe holds the experiment at such an increment.
            StorageError: if the file system refuses.
            HostForecastError: if a host model loses more than half of the members.
        """
        with_what = self._reader.circumstances.record(self.experiment.settings)
        made_from = {MADE_FROM: self._reader.snapshot, **with_what}
        record = {**(metadata or {}), **provenance(self.experiment, self.prepared), **made_from}
        self._state = None
        self._committed = self.store.tip().last_time
        if self.host is not None:
            return self._hosted(self.host, times, record)
        return overlapped(
            self.segments(times),
            read=self._read,
            start=self._start,
            finish=self._finish,
            commit=lambda started: self._commit(started, record),
        )

    def first_inputs(self, times: np.ndarray) -> tuple[CycleState, SegmentInput, int]:
        """The state, the inputs and the number of cycles of the first segment."""
        first = self.segments(times)[0]
        state, given = self._stored_state(first), self._read(first)
        if self.host is not None:
            given = self._with_forecast(given, self.host.background(state, first[0]).members)
        return self.engine.place_state(state), given, len(first)

    def _hosted(
        self, host: HostForecast, times: np.ndarray, record: Mapping[str, Any]
    ) -> Iterator[SegmentReport]:
        for segment in self.segments(times):
            state = self._state
            if state is None:
                state = self._stored_state(segment)
            made = host.background(state, segment[0])
            given = self._with_forecast(self._read(segment), made.members)
            started = self._finish(self._start(segment, given))
            report = self._commit(started, record)
            host.clear(segment[0])
            yield dataclasses.replace(report, warnings=(*made.warnings(), *report.warnings))

    def _with_forecast(self, given: SegmentInput, members: np.ndarray) -> SegmentInput:
        return dataclasses.replace(given, forecast=self.engine.place(members[None]))

    def _read(self, times: np.ndarray) -> SegmentInput:
        return SegmentInput(**self.engine.place(self._reader.read(times)))

    def _start(self, times: np.ndarray, given: SegmentInput) -> _Started:
        if self._state is None:
            self._state = self.engine.place_state(self._stored_state(times))
            self.engine.compile(self._state, given)
        at = time.perf_counter()
        self._state, kept, output = self.engine.start(self._state, given)
        return _Started(times, kept, output, at)

    def _finish(self, started: _Started) -> _Started:
        jax.block_until_ready((started.state, started.output))
        now, before = time.perf_counter(), self._ready_at
        self._ready_at = now
        return dataclasses.replace(started, seconds=now - max(started.at, before))

    def _commit(self, started: _Started, record: Mapping[str, Any]) -> SegmentReport:
        times, seconds, forecast = started.times, started.seconds, self._reader.forecast
        output = on_host(started.output, len(times))
        if self.store.branch == MAIN:
            hold_if_implausible(self.experiment, times, output)
        flagged = int(np.sum(output.analysis.result != 0))
        before = self._committed
        with self.store.writer(wait=60.0) as writer:
            found = self.store.tip()
            if found.last_time != before:
                raise SupersededError(
                    self.store.location, *(_cycle_name(t) for t in (before, found.last_time))
                )
            tip = writer.append(
                self._form.groups(output),
                to_minutes(times),
                state=state_arrays(started.state),
                widths=self._form.widths,
                metadata={
                    **record,
                    **segment_record(times, flagged, seconds, int(np.sum(output.replaced_members))),
                    **({} if forecast is None else forecast.record(times)),
                },
            )
        self._committed = tip.last_time
        warnings = said(times, output)
        warnings += () if forecast is None else forecast.warnings(times)
        return SegmentReport(times[0], times[-1], len(times), flagged, seconds, tip, warnings)

    def _stored_state(self, times: np.ndarray) -> CycleState:
        arrays = self.store.state()
        if arrays is not None:
            return self.prepared.program.fitted(restore_state(arrays))
        return self.prepared.initial_state(int(to_minutes(times[:1])[0]), key=self._key)
