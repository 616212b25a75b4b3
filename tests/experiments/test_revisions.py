"""Real observations that came, or were corrected, after their times had been taken."""

import datetime
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.experiments import reported
from tests.experiments.earlier import store_with_its_observations
from vardax_core.data import ingest
from vardax_core.experiments import ingesting
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.comparable import comparable
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.ingesting import take_observations
from vardax_core.experiments.outdated import outdated_cycles, outdated_sentence
from vardax_core.experiments.segments import SegmentReader
from vardax_core.experiments.settings import default_settings
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

pytestmark = pytest.mark.slow

HEADER = "buoy,time,lat,lon,sst\n"
FIRST, LATER = np.datetime64("2019-03-01T00:00"), np.datetime64("2019-03-10T00:00")
DAY = np.datetime64("2019-03-05T12:00")
NEW = "b99,2019-03-05T11:00:00Z,41.2,-4.1,12.5\n"


def recipe(**changes):
    values = reported.values(**changes)
    del values["observations"][0]["source"]["delay"]  # they arrive when a file is modified
    return reported.validate_recipe(values, "buoys")


def modified(path, when):
    seconds = (when - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    os.utime(path, (seconds, seconds))


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name, value in reported.write_all(tmp_path).items():
        monkeypatch.setenv(name, value)
    reported.write_buoys(tmp_path / "data" / "buoys-1.csv", buoys=12)
    modified(tmp_path / "data" / "buoys-1.csv", FIRST)
    return tmp_path


def experiment(root, **changes):
    made = recipe()
    chosen = default_settings(made, "climatology").model_copy(update=changes)
    return Experiment(made, chosen, root)


def correction(place):
    """A file with another value of a record of the 5th, and its value before and after."""
    lines = (place / "data" / "buoys-1.csv").read_text().splitlines()
    line = next(row for row in lines if ",2019-03-05T1" in row and row.split(",")[4])
    *where, value = line.split(",")
    late = place / "data" / "buoys-2.csv"
    late.write_text(HEADER + ",".join([*where, f"{float(value) + 1:.3f}"]) + "\n" + NEW)
    modified(late, LATER)
    return np.float32(float(value) + 273.15), np.float32(float(value) + 274.15)


def values_at(made, program, day=DAY):
    """The values that the cycle of a day assimilates or is verified with."""
    store = made.open_store()
    length = made.segment_length_of(store)
    reader = SegmentReader(store, made.recipe, made.settings, length, program)
    given = reader.read(np.array([day]))
    quality, values = given["quality"][0], given["values"][0][-1]
    shown = np.isin(quality, [QualityCode.KEPT, QualityCode.WITHHELD])
    return values[: len(quality)][shown]


def cycle(made, made_ready, until=None):
    store = made.open_store()
    times = pending_cycles(made, store, until)
    for _ in Assimilation(made, store, made_ready).run(times):
        pass


def records(store):
    """What a store knows of every record, whatever its column."""
    names = (
        *("sst", "sst_error", QUALITY_CONTROL, "own_quality_control", "arrival_time"),
        *("superseded_time", "observation_id", "observation_time", "latitude", "longitude"),
    )
    observed = store.dataset("observations").load()
    rows, columns = np.nonzero(observed[QUALITY_CONTROL].to_numpy() != QualityCode.MISSING)
    platforms = store.arrays("platforms")["name"]
    found = [observed[name].to_numpy()[rows, columns].tolist() for name in names]
    numbers = observed["platform"].to_numpy()[rows, columns]
    return sorted(zip(rows.tolist(), [str(platforms[n]) for n in numbers], *found, strict=True))


@pytest.mark.slow
def test_early_and_late_runs_use_what_they_could_know(place):
    early = experiment(place / "root", cut_off=datetime.timedelta(hours=3))
    late = experiment(place / "root")
    for made in (early, late):
        take_observations(made)
    learnable = late.training_run()
    late.train(learnable, lambda *_: None)
    ready = {made.name: made.prepare(made.open_store()) for made in (early, late)}
    modified(place / "data" / "buoys-1.csv", FIRST + np.timedelta64(1, "h"))
    assert late.trained_version(late.training_run()) == late.trained_version(learnable)
    cycle(late, ready[late.name], np.datetime64("2019-03-08T12:00"))
    store = late.open_store()
    snapshot, whole = store.observations.tip().snapshot_id, store.dataset("observations").load()
    before, after = correction(place)
    said = []
    assert take_observations(late, warn=said.append) == 0
    (text,) = said
    assert "recorded: 2, 1 of them corrections (2019-03-05T12:00)" in text

    value = values_at(late, ready[late.name].program)
    assert after in value
    assert before not in value
    assert np.float32(12.5 + 273.15) in value
    value = values_at(early, ready[early.name].program)
    assert before in value
    assert after not in value
    assert np.float32(12.5 + 273.15) not in value

    # What was learned is of other records; cycles go on with it until it is learned again.
    (version,) = ready[late.name].versions.values()
    assert late.trained_version(learnable) == version
    assert late.trained_version(late.training_run()) is None
    assert late.trained_from(str(store.experiment["source_sha256"])) == version

    # Windows have two days before and two after: the cycles from the 3rd to the 7th.
    assert (outdated_cycles(late, store), outdated_cycles(early, early.open_store())) == (5, 0)
    assert outdated_sentence(late, store).startswith("5 cycles of 6 would differ")
    cycle(early, ready[early.name], np.datetime64("2019-03-08T12:00"))
    alike, left_out = comparable([late, early], late)
    assert alike == [late]
    assert "revised between its cycles and those of climatology" in left_out["climatology"]
    kept = store.dataset("observations", as_of=store.tip().snapshot_id)
    assert kept.load().equals(whole)
    assert store.observations.dataset("observations", as_of=snapshot).equals(whole)
    observed = store.dataset("observations").sel(time=DAY)
    row = observed.isel(station=np.flatnonzero(observed["sst"].to_numpy() == before))
    assert row[QUALITY_CONTROL].item() == QualityCode.SUPERSEDED
    assert row["own_quality_control"].item() in (QualityCode.KEPT, QualityCode.WITHHELD)
    assert row["superseded_time"].values[0] == LATER
    # No column changes its record.
    places = ("observation_id", "platform", "latitude")
    width = whole.sizes["station"]
    now = store.dataset("observations").load().isel(station=slice(0, width))
    for name in places:
        there = (whole[QUALITY_CONTROL] != QualityCode.MISSING).to_numpy()
        np.testing.assert_array_equal(now[name].to_numpy()[there], whole[name].to_numpy()[there])


def test_the_same_files_again_are_nothing_new(place, monkeypatch):
    made = experiment(place / "root")
    take_observations(made)
    correction(place)
    take_observations(made)
    kept = made.open_observations()
    snapshot = kept.tip().snapshot_id
    modified(place / "data" / "buoys-1.csv", LATER - np.timedelta64(1, "h"))
    assert take_observations(made) == 0
    (place / "data" / "observations.seen.json").unlink(missing_ok=True)
    assert take_observations(made) == 0
    assert kept.tip().snapshot_id == snapshot
    monkeypatch.setattr(ingesting, "ingest", None)
    assert take_observations(made) == 0


def test_a_store_of_an_earlier_version_says_what_came_too_late(place):
    made = experiment(place / "root")
    ingested = ingest(made.recipe, start=made.recipe.period.start, partly=True)
    store = store_with_its_observations(made, ingested, 4)
    said = []
    taken = made.append_observations(store, ingested, said.append)
    assert (taken, store.tip("observations").cycles, said) == (14, 14, [])
    before, after = correction(place)
    assert take_observations(made, warn=said.append) == 0
    (text,) = said
    assert "not used: 2 (2019-03-05T12:00); another root" in text
    values = store.dataset("observations")["sst"].sel(time=DAY).to_numpy()
    assert before in values
    assert after not in values


def test_a_record_of_long_ago_is_not_lost(place, monkeypatch):
    monkeypatch.setattr(ingesting, "LOOK_BACK", datetime.timedelta(days=1))
    made = experiment(place / "root")
    take_observations(made)
    before, after = correction(place)
    take_observations(made)
    values = made.open_store().dataset("observations")["sst"].sel(time=DAY).to_numpy()
    assert {before, after} <= set(values.tolist())


def test_a_file_that_is_overwritten_loses_nothing(place):
    made = experiment(place / "root")
    take_observations(made)
    before, after = correction(place)
    data = place / "data"
    text = (data / "buoys-1.csv").read_text()
    old = f"{before - np.float32(273.15):.3f}"
    where = next(row for row in (data / "buoys-2.csv").read_text().splitlines()[1:])
    stem = where.rsplit(",", 1)[0]
    (data / "buoys-2.csv").unlink()
    (data / "buoys-1.csv").write_text(text.replace(f"{stem},{old}", where))
    modified(data / "buoys-1.csv", LATER)
    take_observations(made)
    observed = made.open_store().dataset("observations").sel(time=DAY)
    values = observed["sst"].to_numpy()
    assert observed[QUALITY_CONTROL].to_numpy()[values == before] == QualityCode.SUPERSEDED
    assert observed[QUALITY_CONTROL].to_numpy()[values == after] != QualityCode.SUPERSEDED


ROW = st.tuples(st.integers(0, 3), st.integers(3, 6), st.integers(0, 2))
"""Buoy, day and value."""


@pytest.mark.slow
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(ROW, min_size=1, max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_files_one_by_one_and_all_at_once_give_the_same_records(place, files):
    data = place / "data"
    for path in data.glob("buoys-[2-9].csv"):
        path.unlink()
    number = len(list(place.glob("one-*")))
    step, once = experiment(place / f"one-{number}"), experiment(place / f"all-{number}")
    take_observations(step)
    for n, rows in enumerate(files, 2):
        lines = [
            f"c{b},2019-03-{day:02d}T12:00:00Z,41.{b},-4.1,{10 + value}" for b, day, value in rows
        ]
        path = data / f"buoys-{n}.csv"
        path.write_text(HEADER + "\n".join(lines) + "\n")
        modified(path, FIRST + np.timedelta64(n, "h"))
        take_observations(step)
    take_observations(once)
    assert records(step.open_store()) == records(once.open_store())
