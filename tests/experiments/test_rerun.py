"""History made again on a branch: the same bits where nothing changed, and what a change does."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

from tests.experiments import small
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.beside import IncomparableRunsError, beside
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.outdated import relisted_cycles
from vardax_core.experiments.relist import relisting
from vardax_core.experiments.replay import replay, replayed
from vardax_core.experiments.rerun import Rerun, RerunError, fork_before
from vardax_core.experiments.worth import (
    NothingWithheldError,
    Verdict,
    entries_of,
    rerun_without,
    worth,
)
from vardax_core.store import ExperimentStore, RetractionError, groups_digest
from vardax_core.store.retention import collect

pytestmark = pytest.mark.slow

GROUPS = ("analysis", "background", "innovations", "diagnostics", "state")


@pytest.fixture
def ran(tmp_path, observed, monkeypatch):
    """30 cycles in commits of 12, with a recipe that has a folder of its own."""
    small.write_recipe(tmp_path / "datasets")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    made = small.experiment_of(tmp_path / "root", "etkf")
    store = small.ingested_store(made, observed)
    small.catch_up(made, store)
    return made, store, made.prepare(store)


def times_of(store):
    return store.dataset("analysis")["time"].values


def reject(tmp_path, station, since):
    entry = {"platform": str(station), "from": f"{since}Z", "reason": "fouled", "decided_by": "me"}
    (tmp_path / "datasets" / "small" / "rejected.yaml").write_text(yaml.safe_dump([entry]))


def test_a_rerun_in_the_same_circumstances_gives_the_same_bits_and_shares_what_is_before(ran):
    made, store, prepared = ran
    times = times_of(store)
    kept, size = store.observations.tip().snapshot_id, store.observations.location.size()
    usual = Circumstances.usual(made.recipe, made.settings)
    again = Rerun(made, store, prepared, usual, first=times[15], last=times[-1], purpose="test")
    assert again.fork.cycles == 12
    work = again.open_branch()
    before = store.location.size()
    first = next(again.run(work))
    assert first.cycles == 12
    # Another process goes on where this one stopped.
    done = again.finish()
    assert groups_digest(done, GROUPS) == groups_digest(store, GROUPS)
    runs = beside(made, store, done, ("one", "again"))
    assert runs.parted is None
    assert all(row.found.mean == 0 for row in runs.rows)
    assert (store.observations.tip().snapshot_id, store.observations.location.size()) == (
        kept,
        size,
    )
    assert store.location.size() - before < 0.9 * before
    again.drop()
    assert store.branches.names() == []


def test_a_period_that_is_not_there_is_refused(ran):
    made, store, prepared = ran
    usual = Circumstances.usual(made.recipe, made.settings)
    with pytest.raises(RerunError, match="choose a period in that"):
        Rerun(
            *(made, store, prepared, usual),
            first=np.datetime64("1999-01-01"),
            last=times_of(store)[-1],
            purpose="test",
        )
    assert fork_before(store, int(to_minutes(times_of(store)[:1])[0])).cycles == 0
    with pytest.raises(IncomparableRunsError, match="no cycle in common"):
        beside(made, store, store, ("a", "b"), np.datetime64("2010-01-01"))


@pytest.mark.slow
def test_a_changed_list_makes_its_cycles_again_and_readers_get_them_when_asked(ran, tmp_path):
    made, store, prepared = ran
    assert relisting(made, store, prepared) is None
    times = times_of(store)
    reject(tmp_path, 3, times[20].astype("datetime64[m]"))
    assert relisted_cycles(made, store)[0] == 10
    asked = relisting(made, store, prepared)
    assert asked.first == times[20]
    work = asked.rerun.finish()
    assert relisted_cycles(made, store)[0] == 10
    runs = beside(made, store, work, ("before", "after"), times[0])
    assert runs.parted == times[20]
    old = store.tip().snapshot_id
    asked.rerun.publish()
    assert relisted_cycles(made, store)[0] == 0
    fresh = ExperimentStore.open(store.location)
    codes = fresh.dataset("innovations")["quality_control"].to_numpy()
    assert (codes[20:, 3] == codes[20, 3]).all()
    assert (codes[:20, 3] != codes[20, 3]).all()
    assert fresh.dataset("analysis", as_of=old).sizes["time"] == 30
    # What an experiment makes that had the list from the start.
    other = small.experiment_of(tmp_path / "other", "etkf")
    whole = small.ingested_store(other)
    small.catch_up(other, whole)
    assert groups_digest(whole, GROUPS) == groups_digest(fresh, GROUPS)


def test_cycles_before_which_no_snapshot_is_left_are_refused(ran):
    _, store, _ = ran
    day = timedelta(days=1)
    collect(store, keep=day, now=datetime.now(UTC) + 3 * day)
    left = ExperimentStore.open(store.location)
    with pytest.raises(RerunError, match="snapshots before them have expired"):
        fork_before(left, int(to_minutes(times_of(left)[15:16])[0]))


@pytest.mark.slow
def test_cycles_that_came_meanwhile_are_made_again_before_they_are_published(ran, tmp_path):
    made, store, prepared = ran
    times = times_of(store)
    usual = Circumstances.usual(made.recipe, made.settings)
    early = Rerun(made, store, prepared, usual, first=times[13], last=times[20], purpose="test")
    early.finish()
    with pytest.raises(RetractionError, match="lacks 9 cycles"):
        early.publish()
    late = Rerun(made, store, prepared, usual, first=times[13], last=times[-1], purpose="test")
    assert late.branch == early.branch
    before = groups_digest(store, GROUPS)
    with store.writer() as writer:
        writer.append({}, {}, replace={"calibration": {}}, metadata={"kind": "report"})
    late.finish()
    late.publish()
    assert groups_digest(ExperimentStore.open(store.location), GROUPS) == before


@pytest.mark.slow
def test_early_and_late_analyses_as_they_were_known_are_the_same_each_time(tmp_path, observed):
    """Stations 0 to 5 report five hours late."""
    made = small.experiment_of(tmp_path, "etkf")
    late = observed.observations.copy(deep=True)
    late["arrival_time"][:, :6] += 300
    store = small.ingested_store(made, dataclasses.replace(observed, observations=late))
    small.catch_up(made, store)
    prepared, times = made.prepare(store), times_of(store)
    moment = times[20].astype("datetime64[s]").item() + np.timedelta64(1, "h").item()
    digests = []
    for _ in range(2):
        asked = replay(
            *(made, store, prepared),
            moment=moment,
            cut_off=np.timedelta64(3, "h").item(),
            first=times[13],
            last=times[22],
        )
        for one in (asked.early, asked.late):
            one.finish()
        found = replayed(made, store, asked)
        digests.append(found.digests)
        for one in (asked.early, asked.late):
            one.drop()
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]
    assert found.runs.parted == times[12 + 1]


@pytest.mark.ladder
def test_noise_is_worth_nothing_and_real_observations_are_and_the_ensemble_says_so_too(tmp_path):
    """Every fourth station of a Lorenz-96 ring reports noise of the climate's size."""
    made, store = small.with_noise(tmp_path, seed=1)
    prepared, times = made.prepare(store), times_of(store)
    found = []
    for stations in (range(1, 40, 4), range(3, 40, 4)):
        entries = entries_of(made.recipe, (), map(str, stations), times[100])
        rerun = rerun_without(made, store, prepared, entries, times[100], times[-1])
        rerun.finish()
        found.append(worth(made, store, prepared, entries, rerun, times[100], times[-1]))
        assert found[-1].runs.parted == times[100]
    real, noise = found
    assert real.verdict is Verdict.USEFUL
    assert noise.verdict is not Verdict.USEFUL
    assert real.impacts[0].found.high < 0
    assert real.impacts[0].mean < noise.impacts[0].mean
    assert 0.5 < real.summed < 2.0
    with pytest.raises(NothingWithheldError, match="name one of the stations"):
        rerun_without(
            *(made, store, prepared),
            entries_of(made.recipe, (), ("77",), times[100]),
            times[100],
            times[-1],
        )
