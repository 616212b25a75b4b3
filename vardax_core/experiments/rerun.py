"""A part of an experiment's history made again on a branch, in other circumstances."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np
import zarr

from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.assimilate import Assimilation, SegmentReport
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared
from vardax_core.store import ExperimentStore, Tip
from vardax_core.store.errors import StoreError

VALID_TIME = "valid_time"
"""Of a stored state: the analysis time of the cycle that left it."""


class RerunError(StoreError):
    """Cycles that cannot be made again."""


@dataclasses.dataclass(frozen=True)
class Fork:
    """Where history is left.

    Attributes:
        snapshot: of the store.
        cycles: how many it has.
    """

    snapshot: str
    cycles: int


def fork_before(store: ExperimentStore, first: int) -> Fork:
    """The last snapshot before a cycle from which cycles can go on.

    Of cycles that streams made side by side only the last one left a state, so that those are made
    again from the first on.

    Arguments:
        store: what readers have.
        first: analysis time, minutes since `MINUTES_EPOCH`.

    Raises:
        RerunError: the snapshots before it have expired.
    """
    history = store.history()
    for record in history:
        last = record.metadata.get("last_cycle")
        if last is None or int(to_minutes(np.array([last], "M8[m]"))[0]) >= first:
            continue
        cycles = _cycles_with_state(store, record.snapshot_id)
        if cycles:
            return Fork(record.snapshot_id, cycles)
    oldest = history[-1].snapshot_id
    if store.dataset(store.cycle_group, as_of=oldest).sizes["time"]:
        when = from_minutes(np.array([first]))[0].astype("datetime64[m]")
        raise RerunError(
            f"{store.location}: cycles from {when} on cannot be made again: the snapshots before "
            "them have expired. Name a later cycle, or keep snapshots longer (vardax collect)."
        )
    return Fork(oldest, 0)


def _cycles_with_state(store: ExperimentStore, snapshot: str) -> int:
    """Cycles of a snapshot whose state its last cycle left; 0 of any other."""
    root = store.root(snapshot)
    times = store.dataset(store.cycle_group, as_of=snapshot)["time"].values
    path = f"state/{VALID_TIME}"
    if not times.size or path not in root:
        return 0
    valid = int(np.asarray(zarr.open_array(root.store, path=path, mode="r")[...]))
    return int(times.size) if valid == int(to_minutes(times[-1:])[0]) else 0


class Rerun:
    """Cycles of an experiment made again on a branch, from the last commit before them on.

    No observation is copied, and the branch shares every object of the cycles before. Its name is
    made from where it begins and in which circumstances, so that a process that died is resumed and
    a longer period carries it on. It shows to readers only if it is published.

    Attributes:
        experiment: what is made again.
        store: what readers have.
        circumstances: what is different.
        fork: where the branch begins.
        times: all its analysis times after that.
        branch: its name.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: ExperimentStore,
        prepared: Prepared,
        circumstances: Circumstances,
        *,
        first: np.datetime64,
        last: np.datetime64,
        purpose: str,
    ):
        """Arguments:
            prepared: the method.
            first, last: analysis times of the cycles that are asked for; those from the commit
                before on are made again, too.
            purpose: one word, which begins the branch's name.

        Raises:
            RerunError: the store lacks these cycles, or what is needed to make them again.
        """
        self.experiment = experiment
        self.store = store
        self.circumstances = circumstances
        self._prepared = prepared
        have = store.dataset(store.cycle_group)["time"].values
        if not have.size or first > last or last > have[-1] or first < have[0]:
            span = f"those from {have[0]} to {have[-1]}" if have.size else "no cycle"
            raise RerunError(
                f"{store.location}: asked for the cycles from {first} to {last} again, but it has "
                f"{span}; choose a period in that."
            )
        self.fork = fork_before(store, int(to_minutes(np.array([first]))[0]))
        times = cycle_times(experiment.recipe)[self.fork.cycles :]
        self.times = times[times <= last]
        said = [self.fork.snapshot, circumstances.record(experiment.settings), experiment.digest]
        text = json.dumps(said, sort_keys=True)
        self.branch = f"{purpose}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def open_branch(self) -> ExperimentStore:
        """The store on the branch, which is started if it is not there."""
        branches = self.store.branches
        if self.branch not in branches.names():
            branches.start(self.branch, as_of=self.fork.snapshot)
        return self.store.on_branch(self.branch)

    def pending(self, work: ExperimentStore) -> np.ndarray:
        """Analysis times that the branch has not yet."""
        return self.times[work.tip().cycles - self.fork.cycles :]

    def segments(self, work: ExperimentStore) -> list[np.ndarray]:
        """The analysis times that the branch has not yet, by commit."""
        return self._assimilation(work).segments(self.pending(work))

    def run(
        self, work: ExperimentStore, *, metadata: Mapping[str, str] | None = None
    ) -> Iterator[SegmentReport]:
        """Make the cycles; see `Assimilation.run`."""
        return self._assimilation(work).run(self.pending(work), metadata=metadata)

    def _assimilation(self, work: ExperimentStore) -> Assimilation:
        return Assimilation(self.experiment, work, self._prepared, self.circumstances)

    def finish(self) -> ExperimentStore:
        """Make all cycles that the branch lacks; the store on the branch."""
        work = self.open_branch()
        if len(self.pending(work)):
            for _ in self.run(work):
                pass
        return work

    def publish(self) -> Tip:
        """Make the branch what readers have; the cycles that they had stay readable by `as_of`.

        Raises:
            BranchError: there is no such branch.
            RetractionError: readers have cycles that the branch lacks.
            SupersededError: readers got others meanwhile; run it again, and publish then.
        """
        self.store.branches.renew(self.branch, self.fork.snapshot)
        return self.store.branches.publish(self.branch, rewrite=True)

    def drop(self) -> None:
        """Give the branch up."""
        self.store.branches.delete(self.branch)
