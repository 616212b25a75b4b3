"""Processes that die, rivals, and storage that goes away."""

import functools
import signal
import threading
import time

import numpy as np
import pytest

from tests.experiments import small
from tests.faults import backfill_twin
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.backfill import Backfill
from vardax_core.store import (
    StorageError,
    StoreBusyError,
    StoreNotFoundError,
    SupersededError,
    content_digest,
)

COMMITTING = 2.0
"""Seconds over which the moments of death are spread, counted from the first commit."""


@pytest.fixture(scope="module")
def backfill_digest(tmp_path_factory):
    """What a backfill that nobody disturbs leaves."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr, backfill_twin.SEGMENT)
        root = tmp_path_factory.mktemp("whole")
        backfill_twin.backfill(root)
        return content_digest(backfill_twin.experiment(root, None).open_store())


def killed_and_run_again(root, stores, seconds, run_module, monkeypatch):
    """Kill a backfill, run it again to the end; its digest, and whether it died."""
    ended = run_module("backfill_twin", root, stores, seconds)
    made = backfill_twin.experiment(root, stores)
    died = ended.returncode == -signal.SIGKILL
    assert died or ended.returncode == 0, ended.stderr
    # Readers have all of the backfill or nothing of it.
    assert made.open_store().tip().cycles in (0, small.CYCLES)
    with monkeypatch.context() as patch:
        small.shorten_segments(patch.setattr, backfill_twin.SEGMENT)
        backfill_twin.backfill(root, stores)
    assert made.open_store().tip().cycles == small.CYCLES
    return content_digest(made.open_store()), died


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "s3"])
def test_kill_9_of_a_backfill_and_then_a_rerun(
    tmp_path, s3, run_module, monkeypatch, backfill_digest, place
):
    stores = {"local": str(tmp_path / "stores"), "s3": s3}[place]
    # So soon after the first commit has begun that there is work left.
    digest, died = killed_and_run_again(tmp_path, stores, 0.05, run_module, monkeypatch)
    assert died
    assert digest == backfill_digest


@pytest.mark.ladder
@pytest.mark.slow
def test_groups_that_commit_at_once_where_nobody_locks(tmp_path, s3, monkeypatch):
    small.shorten_segments(monkeypatch.setattr, backfill_twin.SEGMENT)
    digests = []
    for rivals in (False, True):
        made = backfill_twin.experiment(tmp_path, f"{s3}/{rivals}")
        store = small.ingested_store(made)
        times, prepared = pending_cycles(made, store), made.prepare(store)
        one, other = (
            Backfill(made, store, prepared, times, streams=2, overlap=4, width=1) for _ in range(2)
        )
        mine, theirs = one.open_branch(), other.open_branch()
        rounds = other.pending(theirs, [1])
        rival = other.run(theirs, rounds)
        if rivals:  # comes in between a commit and its publication
            mine.writer = functools.partial(mine.writer, before_publish=lambda r=rival: next(r, 0))
        for _ in one.run(mine, one.pending(mine, [0])):
            pass
        assert len(list(rival)) == (0 if rivals else len(rounds))
        one.join(theirs)
        digests.append(content_digest(made.open_store()))
    assert digests[0] == digests[1]


@pytest.mark.ladder
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["local", "s3"])
def test_kill_9_at_20_random_moments(tmp_path, s3, run_module, monkeypatch, backfill_digest, place):
    deaths = 0
    folder = {"local": str(tmp_path), "s3": s3}[place]
    for number, seconds in enumerate(np.random.default_rng(0).uniform(0, COMMITTING, 20)):
        stores = f"{folder}/stores-{number}"
        digest, died = killed_and_run_again(tmp_path, stores, seconds, run_module, monkeypatch)
        assert digest == backfill_digest
        deaths += died
    assert deaths >= 10, f"only {deaths} of 20 processes were still at work when they were to die"


@pytest.fixture(scope="module")
def chain_digest(tmp_path_factory, observed):
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        made = small.experiment_of(tmp_path_factory.mktemp("chain"), "etkf")
        store = small.ingested_store(made, observed)
        small.catch_up(made, store)
    return content_digest(store)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [2, 4])
def test_runs_at_once_leave_one_gapless_chain(tmp_path, observed, chain_digest, runs):
    made = small.experiment_of(tmp_path, "etkf")
    small.ingested_store(made, observed)
    prepared = made.prepare(made.open_store())
    outcomes, together = [], threading.Barrier(runs)

    def catch_up():
        store = made.open_store()
        times = pending_cycles(made, store)
        together.wait()
        try:
            outcomes.append(sum(r.cycles for r in Assimilation(made, store, prepared).run(times)))
        except SupersededError:
            outcomes.append("superseded")

    threads = [threading.Thread(target=catch_up) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == runs
    # The one that loses a commit stops, so that at most one gets to the end.
    assert outcomes.count("superseded") >= runs - 1
    small.catch_up(made, made.open_store())
    assert content_digest(made.open_store()) == chain_digest


@pytest.mark.slow
def test_calls_in_any_order_leave_the_content_of_one(tmp_path, observed, chain_digest):
    made = small.experiment_of(tmp_path, "etkf")
    store = small.ingested_store(made, observed)
    for until in ("2000-01-04T00", "2000-01-01T06", "2000-01-06T12", "2000-01-02T00", None):
        small.catch_up(made, store, until)
    assert content_digest(store) == chain_digest


@pytest.mark.slow
def test_storage_that_goes_away_and_comes_back(tmp_path, observed, chain_digest):
    made = small.experiment_of(tmp_path, "etkf")
    store = small.ingested_store(made, observed)
    reports = Assimilation(made, store, made.prepare(store)).run(pending_cycles(made, store))
    next(reports)
    away = tmp_path / "away"
    with store.writer(wait=60.0):  # between two commits
        store.path.rename(away)
    with pytest.raises((StorageError, StoreNotFoundError)):
        list(reports)
    # What icechunk may have put in its place is none of the store.
    if store.path.exists():
        store.path.rename(tmp_path / "remains")
    away.rename(store.path)
    again = made.open_store()
    assert again.tip().cycles in (small.SEGMENT, 2 * small.SEGMENT)
    small.catch_up(made, again)
    assert content_digest(again) == chain_digest


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(tmp_path, observed, chain_digest, monkeypatch):
    made = small.experiment_of(tmp_path, "etkf")
    store = small.ingested_store(made, observed)
    clock, jumps = time.time, iter((-1e8, 1e9, 0.0, -3e7) * 1000)
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps))
    small.catch_up(made, store)
    assert content_digest(store) == chain_digest


@pytest.mark.slow
def test_a_writer_that_stays_is_named_and_nothing_is_lost(tmp_path, observed, chain_digest):
    made = small.experiment_of(tmp_path, "etkf")
    store = small.ingested_store(made, observed)
    rival = made.open_store()
    with (
        store.writer(),
        pytest.raises(StoreBusyError, match="is being written by process"),
        rival.writer(wait=0.1),
    ):
        pytest.fail("two writers at once")
    small.catch_up(made, store)
    assert content_digest(store) == chain_digest
