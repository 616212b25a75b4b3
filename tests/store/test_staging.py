"""Rows that are written before the lock is taken, and committed by their references."""

import itertools

import numpy as np
import pytest

from tests.store import twin
from vardax_core.store import OverwriteError, StructureError, content_digest
from vardax_core.store.staging import drop_unreferenced

NAME = "what-if"


def rows(first, last):
    groups, times, _ = twin.segment(first, last)
    return [(times, groups)]


def record(last):
    return {"state": twin.segment(last - 1, last)[2]}


@pytest.fixture
def whole(tmp_path):
    made = twin.create(tmp_path / "whole")
    with made.writer() as writer:
        twin.append(writer, 0, 16)
    return made


@pytest.fixture
def work(store):
    with store.writer() as writer:
        twin.append(writer, 0, 4)
    store.branches.start(NAME)
    made = store.on_branch(NAME)
    groups, times, _ = twin.segment(4, 16)
    with made.writer() as writer:
        writer.grow(list(groups), times, metadata={})
    return made


def published(store, whole):
    store.branches.publish(NAME)
    return content_digest(store) == content_digest(whole)


@pytest.mark.parametrize("bounds", [(4, 8, 12, 16), (4, 7, 13, 16)], ids=["apart", "shared"])
def test_rows_staged_side_by_side_are_those_written_one_after_another(store, work, whole, bounds):
    """Where the rows of two share objects, the second reads what the first left."""
    spans = list(itertools.pairwise(bounds))
    with (
        work.staged(rows(*spans[0]), put={}) as first,
        work.staged(rows(*spans[1]), put={}) as second,
        work.staged(rows(*spans[2]), put=record(16)) as third,
    ):
        for staged in (third, first, second):
            with work.writer() as writer:
                writer.commit(staged, metadata={"kind": "fill"})
    messages = [commit.message for commit in work.history()[:3]]
    assert len(set(messages)) == 3
    assert all("filled" in message for message in messages)
    assert published(store, whole)


def test_nothing_is_seen_of_what_was_staged_and_not_committed(work):
    before = content_digest(work)
    with work.staged(rows(4, 8), put={}):
        assert content_digest(work) == before
    assert content_digest(work) == before


def test_objects_that_are_staged_are_no_garbage(store, work, whole):
    with work.staged(rows(4, 16), put=record(16)) as staged:
        with work.writer():
            drop_unreferenced(work.location)
        with work.writer() as writer:
            writer.commit(staged, metadata={})
    with work.writer():
        drop_unreferenced(work.location)
    assert published(store, whole)


def test_rows_that_do_not_fit_are_refused_before_the_lock(work):
    with (
        pytest.raises(OverwriteError, match="has not the 4 times"),
        work.staged(rows(14, 18), put={}),
    ):
        pytest.fail("staged")
    with pytest.raises(StructureError, match="has no groups"), work.staged([], put={"none": {}}):
        pytest.fail("staged")
    wrong = [(times, {"analysis": {}}) for times, _ in rows(4, 8)]
    with (
        pytest.raises(StructureError, match="Pass every declared variable"),
        work.staged(wrong, put={}),
    ):
        pytest.fail("staged")


def test_arrays_are_read_by_name(work):
    all_of_them = work.arrays("state")
    found = work.arrays("state", names=["cycle", "none"])
    assert list(found) == ["cycle"]
    assert np.array_equal(found["cycle"], all_of_them["cycle"])
    assert work.arrays("nowhere", names=["cycle"]) == {}
