"""Old ensembles, old snapshots, garbage, and copies for others."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from tests.store import twin
from vardax_core.store import (
    ExperimentStore,
    ExportError,
    RetentionError,
    SnapshotNotFoundError,
    StoreExistsError,
    collect,
    export,
    thin,
)
from vardax_core.store.files import list_files

WEEK = timedelta(days=7)


@pytest.fixture
def filled(store):
    with store.writer() as writer:
        twin.append(writer, 0, 4)
        twin.append(writer, 4, 8)
    return store


def test_old_ensembles_keep_some_members_and_all_their_statistics(filled):
    before = {g: filled.dataset(g).load() for g in ("background", "analysis", "diagnostics")}
    state = filled.state()
    cut = before["analysis"]["time"].values[5]
    assert thin(filled, cut, members=1) == 5
    assert thin(filled, cut, members=1) == 0
    for group in ("background", "analysis"):
        after = filled.dataset(group).load()
        old, new = slice(0, 5), slice(5, None)
        xr.testing.assert_equal(after.isel(time=new), before[group].isel(time=new))
        ensemble = after["t2m"].isel(time=old)
        assert np.isnan(ensemble.isel(member=slice(1, None))).all()
        kept = before[group]["t2m"].isel(time=old, member=0)
        np.testing.assert_array_equal(ensemble.isel(member=0), kept)
    for name in ("t2m_mean", "t2m_spread"):
        np.testing.assert_array_equal(filled.dataset("analysis")[name], before["analysis"][name])
    xr.testing.assert_equal(filled.dataset("diagnostics").load(), before["diagnostics"])
    np.testing.assert_array_equal(filled.state()["ensemble"], state["ensemble"])
    # The chain goes on.
    with filled.writer() as writer:
        assert twin.append(writer, 8, 9).cycles == 9


def test_the_last_cycle_and_the_last_member_stay(filled):
    last = filled.dataset("analysis")["time"].values[-1]
    for before, members in ((last + np.timedelta64(1, "h"), 1), (last, 0)):
        with pytest.raises(RetentionError, match="members must be at least 1"):
            thin(filled, before, members=members)
    assert np.isfinite(filled.dataset("analysis")["t2m"]).all()


def test_garbage_goes_when_nothing_can_need_it(filled):
    whole = {name: filled.dataset(name).load() for name in ("analysis", "observations")}
    first = filled.history()[1].snapshot_id
    now = datetime.now(UTC)
    assert collect(filled, keep=WEEK, now=now).objects == 0
    assert filled.dataset("analysis", as_of=first).sizes["time"] == 4
    found = collect(filled, keep=WEEK, now=now + 2 * WEEK)
    assert found.snapshots >= 1
    assert found.objects > 0
    assert found.bytes > 0
    reopened = ExperimentStore.open(filled.path)
    for name, dataset in whole.items():
        xr.testing.assert_equal(reopened.dataset(name).load(), dataset)
    with pytest.raises(SnapshotNotFoundError):
        reopened.dataset("analysis", as_of=first)
    with reopened.writer() as writer:
        assert twin.append(writer, 8, 9).cycles == 9


def test_garbage_is_not_collected_too_early_or_by_a_wrong_clock(filled):
    files = list_files(filled.path)
    with pytest.raises(RetentionError, match="keep longer"):
        collect(filled, keep=timedelta(hours=1))
    with pytest.raises(RetentionError, match="set the clock"):
        collect(filled, keep=WEEK, now=datetime(2001, 1, 1, tzinfo=UTC))
    assert list_files(filled.path) == files


@pytest.mark.parametrize("format", ["zarr", "netcdf"])
def test_an_export_reads_the_same_without_icechunk(filled, tmp_path, format):
    target = tmp_path / "copies" / "copy"
    names = export(filled, target, format=format)
    assert "analysis" in names
    assert "state" not in names
    for name in names:
        if format == "zarr":
            copy = xr.open_zarr(target, group=name, consolidated=False, chunks=None)
        else:
            copy = xr.open_dataset(target, group=name, engine="netcdf4")
        with copy:
            xr.testing.assert_equal(copy.load(), filled.dataset(name).load())
        assert copy["time"].attrs["standard_name"] == "time"
    with pytest.raises(StoreExistsError):
        export(filled, target, format=format)
    assert sorted(p.name for p in target.parent.iterdir()) == ["copy"]
    with pytest.raises(ExportError, match="'zarr' or 'netcdf'"):
        export(filled, tmp_path / "other", format="csv")


def test_an_export_may_be_of_an_earlier_snapshot(filled, tmp_path):
    export(filled, tmp_path / "then", as_of=filled.history()[1].snapshot_id)
    then = xr.open_zarr(tmp_path / "then", group="analysis", consolidated=False)
    assert then.sizes["time"] == 4
