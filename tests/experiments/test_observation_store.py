"""Observations are kept once, whatever methods are run on them."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.experiments import small
from tests.experiments.earlier import store_with_its_observations
from vardax_core.data import ingest
from vardax_core.experiments import experiment as experiment_module
from vardax_core.experiments import ingesting
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.ingesting import take_observations
from vardax_core.store import (
    ExperimentStore,
    ObservationsNotFoundError,
    StoreNotFoundError,
    content_digest,
    export,
    groups_digest,
    render,
    summarize,
)
from vardax_core.store.experiment import OBSERVED
from vardax_core.store.store import MADE_FROM

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)


@pytest.fixture
def calls(monkeypatch):
    """Counts how often a source is read."""
    made = []

    def counted(*args, **kwargs):
        made.append(args)
        return ingest(*args, **kwargs)

    monkeypatch.setattr(ingesting, "ingest", counted)
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two methods that share their observations."""
    root = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        experiments = [small.experiment_of(root, name) for name in ("climatology", "etkf")]
        for made in experiments:
            take_observations(made)
            small.catch_up(made, made.open_store())
    return experiments


def test_all_methods_read_what_was_taken_once(tmp_path, calls):
    experiments = [small.experiment_of(tmp_path, name) for name in ("etkf", "oi", "climatology")]
    taken = [take_observations(made) for made in (*experiments, *experiments)]
    assert (taken, len(calls)) == ([small.CYCLES, 0, 0, 0, 0, 0], 1)
    stores = [made.open_store() for made in experiments]
    assert {str(store.observations.location) for store in stores} == {
        str(tmp_path / "experiments" / "small" / "observations")
    }
    for store in stores:
        assert not set(OBSERVED) & set(store.root().group_keys())
        assert store.dataset("nature_run").sizes["time"] == small.CYCLES


def test_two_at_once_take_them_one_after_the_other(tmp_path, calls):
    experiments = [small.experiment_of(tmp_path, name) for name in ("etkf", "oi")]
    taken = []
    threads = [
        threading.Thread(target=lambda made=made: taken.append(take_observations(made)))
        for made in experiments
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(taken), len(calls)) == ([0, small.CYCLES], 1)
    assert all(made.store_location.exists() for made in experiments)


def test_every_segment_says_what_it_was_made_from(run):
    store = run[1].open_store()
    snapshot = store.observations.tip().snapshot_id
    segments = [r for r in store.history() if r.metadata.get("kind") == "segment"]
    assert len(segments) == 3
    assert {record.metadata[MADE_FROM] for record in segments} == {snapshot}
    for as_of in (None, segments[-1].snapshot_id, store.history()[-1].snapshot_id):
        assert store.dataset("observations", as_of=as_of).sizes["time"] == small.CYCLES
    assert compare(run, run[1]).markdown.exists()


@pytest.mark.slow
def test_a_store_that_holds_them_itself_is_cycled_and_reported_alike(run, tmp_path):
    made = small.experiment_of(tmp_path, "etkf")
    ingested = ingest(made.recipe)
    store = store_with_its_observations(made, ingested, small.SEGMENT)
    assert made.append_observations(store, ingested) == small.CYCLES
    assert store.observations is store
    assert take_observations(made) == 0
    assert not made.observations_location.exists()
    small.catch_up(made, made.open_store())
    names = ("observations", "nature_run", "analysis", "innovations", "diagnostics")
    assert groups_digest(store, names) == groups_digest(run[1].open_store(), names)
    assert compare([made], made).markdown.exists()


def test_a_root_that_was_moved_or_linked_to_is_read_as_before(run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(run[0].root, moved)
    link = tmp_path / "link"
    link.symlink_to(moved / "experiments" / "small" / "etkf")
    whole = content_digest(run[1].open_store())
    for place in (moved / "experiments" / "small" / "etkf", link):
        assert content_digest(ExperimentStore.open(place)) == whole
    shutil.rmtree(moved / "experiments" / "small" / "observations")
    alone = ExperimentStore.open(link)
    assert alone.dataset("analysis").sizes["time"] == small.CYCLES
    with pytest.raises(ObservationsNotFoundError, match=r"kept in .*small/observations.*Put the"):
        alone.dataset("observations")
    with pytest.raises(ObservationsNotFoundError):
        take_observations(dataclasses.replace(run[1], root=moved))


def test_exports_and_summaries_have_them(run, tmp_path):
    store = run[1].open_store()
    names = export(store, tmp_path / "plain")
    assert {"observations", "nature_run", "analysis"} <= set(names)
    plain = xr.open_zarr(tmp_path / "plain", group="observations", consolidated=False)
    xr.testing.assert_equal(plain.load(), store.dataset("observations").load())
    text = render(summarize(store))
    assert f"observed    in {store.observations.location}" in text
    assert "── nature_run, 2000-01-01T00:00 to 2000-01-08T06:00" in text
    assert "times       30," in render(summarize(store.observations))


def test_a_double_precision_experiment_reads_the_same_numbers(run, tmp_path):
    made = small.experiment_of(run[0].root, "climatology", precision="float64")
    take_observations(made)
    store = made.open_store()
    assert store.observations.location == run[0].open_store().observations.location
    assert store.dataset("observations")["x"].dtype == np.float32
    assert store.dataset("innovations")["background_departure"].dtype == np.float64


@pytest.mark.slow
def test_what_was_ingested_is_there_whole_or_not_at_all_after_a_kill(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.experiments import small\n"
        "from vardax_core.experiments.ingesting import take_observations\n"
        "from vardax_core.store.writer import Writer\n"
        "Writer._publish = small.die\n"
        "take_observations(small.experiment_of(Path(sys.argv[1]), 'etkf'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment)
    assert ended.returncode == -9
    made = small.experiment_of(tmp_path, "etkf")
    assert made.open_observations().tip().cycles == 0
    with pytest.raises(StoreNotFoundError):
        ExperimentStore.open(made.store_location)
    assert take_observations(made) == small.CYCLES
    assert made.open_store().tip("observations").cycles == small.CYCLES


def test_a_recipe_with_other_observations_is_refused(tmp_path):
    take_observations(small.experiment_of(tmp_path, "etkf"))
    other = dataclasses.replace(
        small.experiment_of(tmp_path, "oi"), recipe=small.recipe(spin_up_steps=101)
    )
    with pytest.raises(experiment_module.ForeignObservationsError, match="another --root"):
        take_observations(other)
