"""Reruns of history beside what readers have, and the guards of what is published."""

import numpy as np
import pytest
import zarr

from tests.store import twin
from vardax_core.store import (
    BranchError,
    ExperimentStore,
    ForeignExperimentError,
    OverwriteError,
    RetractionError,
    StructureDriftError,
    SupersededError,
    content_digest,
)

NAME = "what-if"


@pytest.fixture
def filled(store):
    with store.writer() as writer:
        twin.append(writer, 0, 4)
        twin.append(writer, 4, 8)
    return store


def rerun(store, last, as_of):
    """Cycles 4 .. last - 1 once more, on a branch from before them."""
    store.branches.start(NAME, as_of=as_of)
    with store.on_branch(NAME).writer() as writer:
        twin.append(writer, 4, last)


def test_history_rerun_on_a_branch_replaces_what_readers_have_when_asked(filled):
    before = filled.history()
    rerun(filled, 10, before[1].snapshot_id)
    assert filled.tip().cycles == 8
    assert filled.on_branch(NAME).tip().cycles == 10
    with pytest.raises(OverwriteError, match="goes back behind cycles"):
        filled.branches.publish(NAME)
    assert filled.branches.publish(NAME, rewrite=True).cycles == 10
    assert filled.branches.names() == []
    assert ExperimentStore.open(filled.path).tip().cycles == 10
    # What readers had stays readable.
    assert filled.dataset("analysis", as_of=before[0].snapshot_id).sizes["time"] == 8


def test_a_branch_that_adds_cycles_needs_no_leave(filled):
    filled.branches.start(NAME)
    with filled.on_branch(NAME).writer() as writer:
        twin.append(writer, 8, 9)
    assert filled.branches.publish(NAME).cycles == 9


def test_a_branch_behind_which_main_has_moved_is_superseded(filled):
    filled.branches.start(NAME)
    with filled.on_branch(NAME).writer() as writer:
        twin.append(writer, 8, 9)
    with filled.writer() as writer:
        twin.append(writer, 8, 9)
    assert filled.branches.outdated(NAME)
    digest = content_digest(filled)
    with pytest.raises(SupersededError, match="another process works on it"):
        filled.branches.publish(NAME)
    assert content_digest(filled) == digest
    filled.branches.delete(NAME)
    assert filled.branches.names() == []


def edited(edit):
    def make(store):
        store.branches.start(NAME)
        with store.on_branch(NAME).writer() as writer:
            writer.rewrite(edit, message="edited", metadata={})

    return make


def drop_member(root):
    del root["analysis"]["t2m"]
    root["analysis"].create_array(
        "t2m", shape=(8, 2, 12), dtype="float32", dimension_names=("time", "member", "x")
    )


def other_record(root):
    root.attrs["experiment"] = {"name": "other", "digest": "b" * 64}


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda s: rerun(s, 6, s.history()[1].snapshot_id),
            RetractionError,
            "lacks 2 cycles .* first 2000-01-01T18:00",
        ),
        (edited(drop_member), StructureDriftError, r"differs from main in \['analysis/t2m'\]"),
        (
            edited(lambda root: root["analysis"]["t2m"].attrs.update(units="degC")),
            StructureDriftError,
            "analysis/t2m",
        ),
        (edited(other_record), ForeignExperimentError, "holds the experiment 'twin'"),
    ],
)
def test_guards_refuse_by_name_and_readers_keep_what_they_have(filled, make, error, says):
    digest = content_digest(filled)
    make(filled)
    with pytest.raises(error, match=says):
        filled.branches.publish(NAME, rewrite=True)
    assert content_digest(ExperimentStore.open(filled.path)) == digest


def test_main_is_neither_grown_nor_rewritten_nor_started(filled):
    times = np.array([8 * twin.STEP])
    with filled.writer() as writer:
        for act in (
            lambda: writer.grow(["analysis"], times, metadata={}),
            lambda: writer.fill([], metadata={}),
            lambda: writer.rewrite(zarr.Group.tree, message="", metadata={}),
        ):
            with pytest.raises(OverwriteError, match="Start a branch"):
                act()
    for name in ("main", "a/b", "x.base"):
        with pytest.raises(BranchError, match="choose another name"):
            filled.branches.start(name)
    for act in (filled.on_branch, filled.branches.publish):
        with pytest.raises(BranchError, match="has no branch 'none'"):
            act("none")


def test_rows_are_filled_where_the_branch_has_their_times(filled, tmp_path):
    filled.branches.start(NAME)
    work = filled.on_branch(NAME)
    groups, times, state = twin.segment(8, 12)
    whole = twin.create(tmp_path / "whole")
    with whole.writer() as writer:
        twin.append(writer, 0, 12)
    with work.writer() as writer:
        with pytest.raises(OverwriteError, match="has not the 4 times from 2000-01-02T00:00"):
            writer.fill([(times, groups)], metadata={})
        writer.grow(list(groups), times, metadata={})
        halves = [
            (times[rows], {g: {n: v[rows] for n, v in vs.items()} for g, vs in groups.items()})
            for rows in (slice(3, 4), slice(0, 3))
        ]
        # The two share an object of each array.
        writer.fill(halves, replace={"state": state}, metadata={})
    filled.branches.publish(NAME)
    assert content_digest(filled) == content_digest(whole)


def test_a_branch_that_another_process_took_away_is_said_to_be_superseded(filled):
    filled.branches.start(NAME)
    work = filled.on_branch(NAME)
    filled.branches.delete(NAME)
    with pytest.raises(SupersededError, match=f"branch {NAME}"):
        work.tip()
