"""What an append accepts, refuses and leaves behind."""

import numpy as np
import pytest
import xarray as xr

from tests.store import twin
from vardax_core.store import (
    ExperimentStore,
    ForeignExperimentError,
    OverwriteError,
    SnapshotNotFoundError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
    StructureError,
    content_digest,
)
from vardax_core.store.files import list_files


def test_any_cut_into_segments_gives_the_same_digest(tmp_path):
    cuts = {"whole": [10], "uneven": [3, 7], "single": [1] * 10}
    digests = set()
    for name, lengths in cuts.items():
        # The chunk plan is no content either.
        store = twin.create(tmp_path / name, segment_length=lengths[0])
        with store.writer() as writer:
            for last, length in zip(np.cumsum(lengths), lengths, strict=True):
                twin.append(writer, int(last) - length, int(last))
        assert store.tip().cycles == 10
        assert len(store.history()) == len(lengths) + 1
        digests.add(content_digest(store))
    assert len(digests) == 1


def _forget_a_variable(groups, times):
    del groups["analysis"]["t2m_mean"]


def _add_a_variable(groups, times):
    groups["analysis"]["surprise"] = groups["analysis"]["t2m_mean"]


def _other_dtype(groups, times):
    groups["background"]["t2m"] = groups["background"]["t2m"].astype(np.float64)


def _other_shape(groups, times):
    groups["background"]["t2m"] = groups["background"]["t2m"][:, :-1]


def _fewer_cycles(groups, times):
    groups["diagnostics"]["chi2"] = groups["diagnostics"]["chi2"][:-1]


def _unknown_group(groups, times):
    groups["analyses"] = groups["analysis"]


def _overlap(groups, times):
    times -= twin.STEP


def _duplicate(groups, times):
    times[2] = times[1]


def _unsorted(groups, times):
    times[:] = times[::-1].copy()


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (_forget_a_variable, StructureError, r"missing \['t2m_mean'\]"),
        (_add_a_variable, StructureError, r"unknown \['surprise'\]"),
        (_other_dtype, StructureError, "background/t2m: .*float32, got .*float64"),
        (_other_shape, StructureError, r"background/t2m: .*\(4, 3, 12\).*got \(4, 2, 12\)"),
        (_fewer_cycles, StructureError, r"diagnostics/chi2: expected shape \(4,\)"),
        (_unknown_group, StructureError, "'analyses'"),
        (_overlap, OverwriteError, "reaches 2000-01-01T09:00, .* begin at 2000-01-01T09:00"),
        (_duplicate, OverwriteError, "2000-01-01T15:00 after 2000-01-01T15:00"),
        (_unsorted, OverwriteError, "strictly increasing"),
    ],
)
def test_a_faulty_append_is_refused_before_anything_is_written(store, fault, error, says):
    with store.writer() as writer:
        tip = twin.append(writer, 0, 4)
        files = list_files(store.path)
        groups, times, state = twin.segment(4, 8)
        fault(groups, times)
        with pytest.raises(error, match=says):
            writer.append(groups, times, state=state, metadata={})
        assert list_files(store.path) == files
        assert store.tip() == tip
        assert twin.append(writer, 4, 8).cycles == 8


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"metadata": {"seed": np.int64(3)}}, "commit metadata"),
        ({"metadata": {"rmse": float("nan")}}, "commit metadata"),
        ({"metadata": {}, "replace": {"analysis": {}}}, "has a time axis"),
        ({"metadata": {}, "replace": {"calibraton": {}}}, "calibraton"),
        (
            {
                "metadata": {},
                "replace": {"calibration": {"a": xr.DataArray(1.0, attrs={"n": np.int64(1)})}},
            },
            "attributes of calibration/a",
        ),
        (
            {"metadata": {}, "replace": {"calibration": {"when": np.array(["2000"], "M8[m]")}}},
            "calibration/when: dtype datetime64",
        ),
        (
            {
                "metadata": {},
                "replace": {
                    "calibration": {
                        "a": xr.DataArray(np.zeros(2), dims="bin"),
                        "b": xr.DataArray(np.zeros(3), dims="bin"),
                    }
                },
            },
            "dimension 'bin' has length 3 here and 2",
        ),
    ],
)
def test_faulty_whole_arrays_and_metadata_are_refused(store, keywords, says):
    files = list_files(store.path)
    with store.writer() as writer, pytest.raises(StructureError, match=says):
        writer.append({}, {}, **keywords)
    assert list_files(store.path) == files


def test_groups_may_advance_apart(store):
    groups, times, _ = twin.segment(0, 4)
    observed = {name: groups.pop(name) for name in ("observations", "nature_run")}
    with store.writer() as writer:
        assert writer.append(observed, times, metadata={}).cycles == 0
        by_group = dict.fromkeys(groups, times[:0])
        empty = {g: {n: v[:0] for n, v in vs.items()} for g, vs in groups.items()}
        assert writer.append(empty, by_group, metadata={}).last_time is None
        tip = writer.append(groups, times, metadata={})
    assert (tip.cycles, tip.last_time) == (4, 3 * twin.STEP)
    assert store.tip("observations").cycles == 4


def test_an_append_of_nothing_makes_no_commit(store):
    tip, files = store.tip(), list_files(store.path)
    with store.writer() as writer:
        assert writer.append({}, {}, replace={"calibration": {}}, metadata={}) == tip
        assert writer.append({}, {}, metadata={}) == tip
    assert list_files(store.path) == files


def test_whole_groups_are_replaced_whole(store):
    with store.writer() as writer:
        writer.append(
            {}, {}, state={"old": np.zeros(3), "key": np.arange(2, dtype=np.uint32)}, metadata={}
        )
        assert set(store.state()) == {"old", "key"}
        ranks = xr.DataArray([3, 1], dims="bin", attrs={"long_name": "rank histogram"})
        writer.append(
            {},
            {},
            state={"key": np.arange(4, dtype=np.uint32), "done": np.array(True)},
            replace={"calibration": {"ranks": ranks, "gate": np.array(["sbc", "coverage"])}},
            metadata={},
        )
    state = store.state()
    assert set(state) == {"key", "done"}
    np.testing.assert_array_equal(state["key"], np.arange(4, dtype=np.uint32))
    assert state["key"].dtype == np.uint32
    assert state["done"].dtype == bool
    report = store.dataset("calibration").load()
    xr.testing.assert_identical(report["ranks"], ranks.rename("ranks"))
    assert report["gate"].values.tolist() == ["sbc", "coverage"]


def test_every_commit_adds_the_same_number_of_files(store):
    added = []
    with store.writer() as writer:
        for first in range(0, 40, 4):
            before = list_files(store.path)
            twin.append(writer, first, first + 4)
            added.append(len(list_files(store.path) - before))
    assert len(set(added[1:])) == 1


def test_history_and_earlier_snapshots_stay_readable(store):
    with store.writer() as writer:
        first = twin.append(writer, 0, 4)
        twin.append(writer, 4, 8)
    newest, older, created = store.history()
    assert newest.metadata == {"method": "etkf", "first": 4}
    assert older.snapshot_id == first.snapshot_id
    assert created.message == "create twin"
    assert newest.written_at > older.written_at
    assert store.dataset("analysis").sizes["time"] == 8
    assert store.dataset("analysis", as_of=first.snapshot_id).sizes["time"] == 4
    with pytest.raises(SnapshotNotFoundError, match="history"):
        store.dataset("analysis", as_of="1CECHNKREP0F1RSTCMT9")


def test_a_store_of_another_experiment_is_refused(store):
    ExperimentStore.open(store.path, expected_digest=twin.DIGEST)
    with pytest.raises(ForeignExperimentError, match=f"another path.*{twin.DIGEST[:12]}.*bbbbb"):
        ExperimentStore.open(store.path, expected_digest="b" * 64)


def test_paths_that_hold_no_store_or_cannot(store, tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"ExperimentStore\.create"):
        ExperimentStore.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(StoreExistsError):
        twin.create(store.path)
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageError, match="file"):
        twin.create(tmp_path / "file" / "store")
    with pytest.raises(StructureError, match="'digest'"):
        ExperimentStore.create(tmp_path / "new", twin.layout(), {"name": "twin"})
