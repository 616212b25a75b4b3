"""Streams: what they give does not depend on interruptions, and their seams are measured."""

import threading

import numpy as np
import pytest

from tests.experiments import small
from vardax_core.cycling.streams import Stream, StreamPlanError, cut_streams, seam_between
from vardax_core.experiments.assimilate import pending_cycles
from vardax_core.experiments.backfill import Backfill, backfill
from vardax_core.experiments.stream_progress import StreamsUnfinishedError, seams_of
from vardax_core.store import SupersededError, content_digest
from vardax_core.store.branches import Branches

pytestmark = pytest.mark.slow

STREAMS, OVERLAP = 2, 5


def test_streams_cover_the_period_once_and_start_early():
    streams = cut_streams(10, 31, streams=3, overlap=4)
    assert streams == (Stream(0, 10, 10, 17), Stream(1, 13, 17, 24), Stream(2, 20, 24, 31))
    # There are not so many cycles before.
    assert cut_streams(0, 4, streams=2, overlap=100)[1] == Stream(1, 0, 2, 4)


@pytest.mark.parametrize(("streams", "overlap"), [(0, 1), (3, -1), (6, 1)])
def test_a_period_that_cannot_be_cut_is_refused(streams, overlap):
    with pytest.raises(StreamPlanError, match="10 cycles cannot be cut"):
        cut_streams(0, 10, streams=streams, overlap=overlap)


def test_a_seam_is_the_difference_over_the_spread():
    seam = seam_between(
        Stream(1, 3, 8, 12), np.zeros(4), np.full(4, 2.0), np.array([3.0, -3.0, 3.0, np.nan])
    )
    assert (seam.cycle, seam.difference, seam.spread, seam.ratio) == (7, 3.0, 2.0, 1.5)


def made_for(root, observed):
    made = small.experiment_of(root, "etkf")
    return made, small.ingested_store(made, observed)


def started(made, store, streams=STREAMS, width=None):
    times = pending_cycles(made, store)
    prepared = made.prepare(store)
    return Backfill(made, store, prepared, times, streams=streams, overlap=OVERLAP, width=width)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, observed):
    """A period backfilled in one go."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        made, store = made_for(tmp_path_factory.mktemp("whole"), observed)
        prepared, times = made.prepare(store), pending_cycles(made, store)
        tip, seams = backfill(made, store, prepared, times, streams=STREAMS, overlap=OVERLAP)
    assert tip.cycles == small.CYCLES
    return made, store, seams


def test_the_first_stream_is_the_chain_and_the_others_meet_it(whole, tmp_path, observed):
    _, store, seams = whole
    made, chain = made_for(tmp_path, observed)
    small.catch_up(made, chain, "2000-01-04T12")
    one, other = (s.dataset("analysis")["x_mean"].values for s in (store, chain))
    assert len(other) == small.CYCLES // 2
    # A batched program may round another way.
    np.testing.assert_allclose(one[: len(other)], other, atol=0.05)
    assert np.isfinite(one).all()
    assert [s.stream for s in seams] == [1]
    assert seams == seams_of(store.arrays("streams"))
    # Five cycles after a climatological start the streams have come together in part: the
    # difference is less than the climatological one, 3.6 times the square root of two.
    assert 0 < seams[0].difference < 3.6 * 2**0.5
    assert store.branches.names() == []


def test_the_operational_chain_goes_on_after_the_last_stream(whole):
    made, store, _ = whole
    assert not len(pending_cycles(made, store))
    state = store.state()
    assert int(state["cycle"]) == small.CYCLES
    last = store.dataset("analysis")["x"].isel(time=-1).values
    np.testing.assert_array_equal(state["ensemble"], last)


def test_readers_see_nothing_before_and_everything_after(tmp_path, observed, whole):
    made, store = made_for(tmp_path, observed)
    work = started(made, store)
    branch = work.open_branch()
    with pytest.raises(StreamsUnfinishedError, match=r"streams \[0, 1\] have cycles to run"):
        work.join(branch)
    reports = work.run(branch, work.pending(branch))
    first = next(reports)
    # Both run to where the first segment of the store ends: 12 cycles, and 2 from cycle 10 on.
    assert (first.cycles, first.spin_up) == (small.SEGMENT, 2)
    reports.close()
    assert store.tip().cycles == 0

    # Another process goes on.
    again = started(made, made.open_store())
    branch = again.open_branch()
    for _ in again.run(branch, again.pending(branch)):
        pass
    assert made.open_store().tip().cycles == 0
    again.join(branch)
    assert made.open_store().tip().cycles == small.CYCLES
    assert content_digest(made.open_store()) == content_digest(whole[1])


@pytest.fixture(scope="module")
def in_groups(tmp_path_factory, observed):
    """Three streams in groups of two, one after another: the last program has an idle lane."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        made, store = made_for(tmp_path_factory.mktemp("groups"), observed)
        work = started(made, store, 3, width=2)
        assert [len(group) for group in work.groups] == [2, 1]
        branch = work.open_branch()
        for _ in work.run(branch, work.pending(branch)):
            pass
        work.join(branch)
    return content_digest(store)


@pytest.mark.slow
def test_processes_that_take_a_group_each_leave_the_same(tmp_path, observed, in_groups):
    made, store = made_for(tmp_path, observed)
    branch = started(made, store, 3, width=2).open_branch()

    def run(number, rounds=None):
        work = started(made, made.open_store(), 3, width=2)
        for _ in work.run(branch, work.pending(branch, [number])[:rounds]):
            pass

    run(1, rounds=1)  # dies after its first commit
    both = [threading.Thread(target=run, args=[number]) for number in (0, 1)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    work = started(made, store, 3, width=2)
    assert work.done(branch) == [stream.length for stream in work.plan]
    work.join(branch)
    assert content_digest(store) == in_groups


def test_another_width_is_another_plan(tmp_path, observed):
    made, store = made_for(tmp_path, observed)
    widths = (1, 2, 3, None)
    assert len({started(made, store, 3, width).branch for width in widths}) == 3


@pytest.mark.slow
def test_a_backfill_that_was_overtaken_is_superseded(tmp_path, observed):
    made, store = made_for(tmp_path, observed)
    slow, fast = started(made, store), started(made, made.open_store())
    branch = slow.open_branch()
    rounds = slow.pending(branch)
    for _ in fast.run(fast.open_branch(), rounds):
        pass
    with pytest.raises(SupersededError, match="0 cycles of stream 0 to 15 cycles"):
        next(slow.run(branch, rounds))
    small.catch_up(made, store, "2000-01-01T00")
    with pytest.raises(SupersededError, match="another process works on it"):
        fast.join(branch)
    # The branch was started before readers got that cycle: it is begun again.
    third = started(made, made.open_store())
    work = third.open_branch()
    left = [
        sum(map(len, each)) for each in zip(*(r.spans for r in third.pending(work)), strict=True)
    ]
    assert left == [stream.length for stream in third.plan]


@pytest.mark.slow
def test_streams_that_died_between_their_table_and_their_publication(tmp_path, observed, whole):
    made, store = made_for(tmp_path, observed)
    work = started(made, store)
    branch = work.open_branch()
    for _ in work.run(branch, work.pending(branch)):
        pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Branches, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            work.join(branch)
    again = started(made, made.open_store())
    branch = again.open_branch()
    assert again.pending(branch) == []
    again.join(branch)
    assert content_digest(made.open_store()) == content_digest(whole[1])


@pytest.mark.slow
def test_a_second_backfill_follows_the_first(tmp_path, observed):
    made, store = made_for(tmp_path, observed)
    prepared = made.prepare(store)
    for until in ("2000-01-03T18", None):
        times = pending_cycles(made, store, until and np.datetime64(until))
        work = Backfill(made, store, prepared, times, streams=STREAMS, overlap=OVERLAP)
        branch = work.open_branch()
        with pytest.raises(StreamsUnfinishedError):
            work.join(branch)
        for _ in work.run(branch, work.pending(branch)):
            pass
        work.join(branch)
    assert np.isfinite(store.dataset("analysis")["x"].values).all()
    assert store.arrays("streams")["first"].tolist() == [12, 21]


def test_streams_start_where_segments_do():
    streams = cut_streams(0, 80, streams=4, overlap=7, segment=5)
    assert [s.start % 5 for s in streams] == [0] * 4
    assert [s.first - s.start for s in streams] == [0, 7, 7, 7]
    assert [s.stop for s in streams][:-1] == [s.first for s in streams][1:]
    # Where a stream is shorter than two segments, equal lengths come first.
    assert [s.first for s in cut_streams(0, 32, streams=4, overlap=3, segment=5)] == [0, 8, 16, 24]
