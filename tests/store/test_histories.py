"""Appends, branches, backfills, publishing, holds, thinning, collection and deaths in any order
leave what a list in memory says."""

import dataclasses
import pathlib
import tempfile
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.store import twin
from vardax_core.store import (
    BranchError,
    ExperimentStore,
    RetractionError,
    SupersededError,
)
from vardax_core.store.hold import held, hold, release
from vardax_core.store.retention import RetentionError, collect, thin

GROUPS = ("observations", "nature_run", "background", "analysis", "innovations", "diagnostics")
COUNT = st.integers(1, 3)


class Died(BaseException):
    """A process that ends between two steps."""


@dataclasses.dataclass(frozen=True)
class History:
    """What a branch should hold: which list each cycle was made with, and how many are thinned."""

    lists: tuple[int, ...] = ()
    thinned: int = 0


@dataclasses.dataclass
class Work:
    """A work branch.

    Attributes:
        name: of it.
        fork, base: snapshots where it begins, and that readers had.
        history: what it should hold.
    """

    name: str
    fork: str
    base: str
    history: History


def cycles(first, last, number):
    """Cycles as they are made with the reject list of some number."""
    groups, times, state = twin.segment(first, last)
    groups["analysis"]["t2m_mean"] = groups["analysis"]["t2m_mean"] + np.float32(number)
    return groups, times, state


class Histories(RuleBasedStateMachine):
    """Whatever is done, readers have one history, whole."""

    works = Bundle("works")

    @initialize()
    def create(self):
        self.folder = tempfile.TemporaryDirectory()
        self.store = twin.create(pathlib.Path(self.folder.name) / "store")
        self.main = History()
        self.snapshots = {self.tip(): self.main}
        self.made = 0
        self.reason = None

    def teardown(self):
        self.folder.cleanup()

    def tip(self):
        return self.store.tip().snapshot_id

    def any_snapshot(self, data):
        """One by its number: names of snapshots are drawn at random."""
        number = data.draw(st.integers(0, len(self.snapshots) - 1), label="snapshot")
        return list(self.snapshots)[number]

    def moved(self, history):
        """Readers have another history."""
        self.main = history
        self.snapshots[self.tip()] = history

    @rule(count=COUNT, dies=st.booleans())
    def append(self, count, dies):
        first = len(self.main.lists)
        groups, times, state = cycles(first, first + count, 0)

        def die():
            raise Died

        if dies:
            with pytest.raises(Died), self.store.writer(before_publish=die) as writer:
                writer.append(groups, times, state=state, metadata={})
            return
        with self.store.writer() as writer:
            writer.append(groups, times, state=state, metadata={})
        self.moved(dataclasses.replace(self.main, lists=(*self.main.lists, *[0] * count)))

    @rule(target=works, data=st.data())
    def start(self, data):
        self.made += 1
        fork = self.any_snapshot(data)
        work = Work(f"work-{self.made}", fork, self.tip(), self.snapshots[fork])
        self.store.branches.start(work.name, as_of=fork)
        return work

    @rule(work=works, count=COUNT, number=st.integers(1, 3))
    def rerun(self, work, count, number):
        first = len(work.history.lists)
        groups, times, state = cycles(first, first + count, number)
        with self.store.on_branch(work.name).writer() as writer:
            writer.append(groups, times, state=state, metadata={})
        lists = (*work.history.lists, *[number] * count)
        work.history = dataclasses.replace(work.history, lists=lists)

    @rule(work=works, count=COUNT, number=st.integers(1, 3))
    def backfill(self, work, count, number):
        """The last cycles first, as streams may end."""
        first = len(work.history.lists)
        groups, times, state = cycles(first, first + count, number)
        with self.store.on_branch(work.name).writer() as writer:
            writer.grow(GROUPS, times, metadata={})
            for n in reversed(range(count)):
                row = {g: {k: v[n : n + 1] for k, v in of.items()} for g, of in groups.items()}
                replace = {} if n else {"state": state}
                writer.fill([(times[n : n + 1], row)], replace=replace, metadata={})
        lists = (*work.history.lists, *[number] * count)
        work.history = dataclasses.replace(work.history, lists=lists)

    @rule(work=consumes(works), renewed=st.booleans())
    def publish(self, work, renewed):
        branches, lost = self.store.branches, len(work.history.lists) < len(self.main.lists)
        known = work.fork in {record.snapshot_id for record in self.store.history()}
        if renewed and not known:
            with pytest.raises(BranchError, match="no part of the history"):
                branches.renew(work.name, work.fork)
        elif renewed:
            branches.renew(work.name, work.fork)
            work.base = self.tip()
        if work.base != self.tip():
            with pytest.raises(SupersededError):
                branches.publish(work.name, rewrite=True)
            branches.delete(work.name)
        elif lost:
            with pytest.raises(RetractionError):
                branches.publish(work.name, rewrite=True)
            branches.delete(work.name)
        else:
            branches.publish(work.name, rewrite=True)
            self.moved(work.history)
        assert work.name not in branches.names()

    @rule(work=consumes(works))
    def give_up(self, work):
        self.store.branches.delete(work.name)

    @rule(share=st.floats(0, 1))
    def thin_old_cycles(self, share):
        count = len(self.main.lists)
        before = int(share * count)
        moment = np.datetime64("2000-01-01") + np.timedelta64(before * twin.STEP, "m")
        if count and before == count:
            with pytest.raises(RetentionError):
                thin(self.store, moment, members=1)
            return
        if thin(self.store, moment, members=1):
            self.moved(dataclasses.replace(self.main, thinned=before))

    @rule()
    def collect_garbage(self):
        """Two days later, when all snapshots but those that a branch names have expired."""
        later = datetime.now(UTC) + timedelta(days=2)
        collect(self.store, keep=timedelta(days=1), now=later)
        # What was read before is remembered, also where it is gone.
        self.store = ExperimentStore.open(self.store.path)
        kept = {record.snapshot_id for record in self.store.history()}
        self.snapshots = {s: h for s, h in self.snapshots.items() if s in kept}
        self.snapshots[self.tip()] = self.main

    @rule(reason=st.sampled_from(["storm", "fouled"]))
    def hold_it(self, reason):
        hold(self.store.location, reason)
        self.reason = reason

    @precondition(lambda self: self.reason)
    @rule()
    def let_it_go_on(self):
        assert release(self.store.location).reason == self.reason
        self.reason = None

    @invariant()
    def readers_have_one_history(self):
        fresh = ExperimentStore.open(self.store.path)
        assert fresh.tip().cycles == len(self.main.lists)
        note = held(fresh.location)
        assert (note.reason if note else None) == self.reason
        self.holds(fresh, self.main)

    @rule(work=works)
    def a_branch_has_its_own(self, work):
        self.holds(self.store.on_branch(work.name), work.history)

    @rule(data=st.data())
    def what_readers_had_stays(self, data):
        old = self.any_snapshot(data)
        lists = self.snapshots[old].lists
        assert self.store.dataset("analysis", as_of=old).sizes["time"] == len(lists)

    def holds(self, store, history):
        """Every mean, every member that was not thinned, and the state of the last cycle."""
        count = len(history.lists)
        found = store.dataset("analysis")
        assert found.sizes["time"] == count
        if not count:
            return
        expected = twin.segment(0, count)[0]["analysis"]
        means = expected["t2m_mean"] + np.array(history.lists, np.float32)[:, None]
        np.testing.assert_array_equal(found["t2m_mean"].to_numpy(), means)
        members = expected["t2m"].copy()
        members[: history.thinned, 1:] = np.nan
        np.testing.assert_array_equal(found["t2m"].to_numpy(), members)
        assert store.state()["cycle"] == count


TestHistories = pytest.mark.slow(Histories.TestCase)
TestHistories.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
