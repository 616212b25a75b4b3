"""What a reader sees: through vardax, and through plain icechunk and xarray."""

import os

import icechunk
import numpy as np
import pytest
import xarray as xr

from tests.store import twin
from vardax_core.store import StructureError, content_digest, render, summarize
from vardax_core.store.experiment import NOT_ARRIVED
from vardax_core.store.files import list_files


@pytest.fixture
def filled(store):
    with store.writer() as writer:
        twin.append(writer, 0, 3)
        twin.append(writer, 3, 8)
    return store


def test_plain_xarray_opens_every_group_and_reads_back_what_was_appended(filled):
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(filled.path)))
    session = repository.readonly_session("main")
    groups, times, state = twin.segment(0, 8)
    for name, variables in groups.items():
        dataset = xr.open_zarr(session.store, group=name, consolidated=False, chunks=None)
        expected = np.datetime64("2000-01-01") + times.astype("m8[m]")
        np.testing.assert_array_equal(dataset["time"].values, expected)
        for variable, values in variables.items():
            found = dataset[variable].values
            if variable == "arrival_time":
                values = np.datetime64("2000-01-01") + values.astype("m8[m]")
            np.testing.assert_array_equal(found, values)
            assert found.dtype.kind == values.dtype.kind
    carried = xr.open_zarr(session.store, group="state", consolidated=False, chunks=None)
    np.testing.assert_array_equal(carried["ensemble"].values, state["ensemble"])
    xr.open_zarr(session.store, group="calibration", consolidated=False).load()


def test_names_and_attributes_follow_cf(filled):
    assert filled.root().attrs["Conventions"] == "CF-1.11"
    analysis = filled.dataset("analysis")
    assert analysis["t2m"].dims == ("time", "member", "x")
    assert analysis["time"].attrs["standard_name"] == "time"
    assert analysis["time"].encoding["calendar"] == "proleptic_gregorian"
    assert analysis["member"].attrs["standard_name"] == "realization"
    assert analysis["t2m_spread"].attrs["cell_methods"] == "realization: standard_deviation"
    assert analysis["t2m_mean"].attrs["units"] == "K"
    observations = filled.dataset("observations")
    assert set(observations["t2m"].coords) == {"time", "station", "latitude"}
    assert observations["station"].values.tolist() == ["ab", "c", "de", "f"]
    quality = observations["quality_control"]
    assert quality.attrs["flag_meanings"] == "used missing"
    assert list(quality.attrs["flag_values"]) == [0, 1]
    variance = filled.dataset("innovations")["background_equivalent_variance"]
    assert variance.attrs["units"] == "K2"


def test_an_observation_that_never_arrived_has_no_arrival_time(store):
    groups, times, _ = twin.segment(0, 2)
    groups["observations"]["arrival_time"][1, 2] = NOT_ARRIVED
    with store.writer() as writer:
        writer.append({"observations": groups["observations"]}, times, metadata={})
    missing = np.isnat(store.dataset("observations")["arrival_time"].values)
    np.testing.assert_array_equal(np.argwhere(missing), [[1, 2]])


def test_datasets_are_lazy_and_may_be_dask(filled):
    lazy = filled.dataset("analysis", chunks={})["t2m"]
    assert lazy.chunks == ((4, 4), (twin.N_MEMBERS,), (twin.N_STATE,))
    xr.testing.assert_equal(lazy.compute(), filled.dataset("analysis")["t2m"])
    with pytest.raises(StructureError, match="has no group 'analyses'"):
        filled.dataset("analyses")
    with pytest.raises(StructureError, match="has no time axis"):
        filled.tip("state")


def test_opening_and_reading_write_nothing(filled):
    def listing():
        parent = filled.path.parent
        paths = [str(parent), *map(str, parent.rglob("*"))]
        return {p: (os.stat(p).st_mtime_ns, os.stat(p).st_size) for p in paths}

    before = listing()
    store = type(filled).open(filled.path, expected_digest=twin.DIGEST)
    store.tip()
    store.state()
    store.history()
    store.dataset("analysis").load()
    content_digest(store)
    render(summarize(store))
    assert listing() == before


def _append(store, change=lambda groups: None, **keywords):
    groups, times, state = twin.segment(0, 4)
    change(groups)
    with store.writer() as writer:
        writer.append(groups, times, state=state, metadata={}, **keywords)
    return store


def _nudge(groups):
    groups["analysis"]["t2m"][2, 1, 5] = np.nextafter(
        groups["analysis"]["t2m"][2, 1, 5], np.float32(np.inf)
    )


def _other_nan(groups):
    """The same missing values with other payload bits."""
    values = groups["observations"]["t2m"]
    values.view(np.uint32)[np.isnan(values)] |= 1


def test_digest_sees_one_bit_of_content_and_nothing_else(tmp_path):
    report = {"calibration": {"crps": np.array([0.5])}}
    reference = content_digest(_append(twin.create(tmp_path / "reference")))
    nudged = _append(twin.create(tmp_path / "nudged"), _nudge)
    assert content_digest(nudged) != reference
    assert content_digest(_append(twin.create(tmp_path / "nan"), _other_nan)) == reference
    reported = _append(twin.create(tmp_path / "reported"), replace=report)
    assert content_digest(reported) != reference
    without = content_digest(reported, exclude=["calibration"])
    assert without != content_digest(nudged, exclude=["calibration"])
    bare = twin.create(tmp_path / "bare")
    assert without == content_digest(_append(bare), exclude=["calibration"])


def test_summary_says_what_is_there(filled):
    with filled.writer() as writer:
        writer.append({}, {}, state={"cycle": np.array(8)}, metadata={"model_version": "1-abc"})
    summary = summarize(filled)
    assert (summary.cycles, summary.commits) == (8, 4)
    assert str(summary.first) == "2000-01-01T00:00"
    assert str(summary.last) == "2000-01-01T21:00"
    assert (summary.method, summary.model_version) == ("etkf", "1-abc")
    assert summary.size_on_disk == sum(os.stat(f).st_size for f in list_files(filled.path))
    group = next(g for g in summary.groups if g.name == "background")
    variable = next(v for v in group.variables if v.name == "t2m")
    assert variable.sizes == {"time": 8, "member": 3, "x": 12}
    assert variable.size == 8 * 3 * 12 * 4
    text = render(summary).splitlines()
    assert "│   ├── t2m (time 8, member 3, x 12) float32 [K] 1.2 kB" in text
    assert "  model       1-abc" in text
    assert "└── streams" in text
