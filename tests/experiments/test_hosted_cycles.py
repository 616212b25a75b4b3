"""Cycles whose forecasts a command makes: the page on it, lost members, and what is refused."""

import numpy as np
import pytest
import yaml

from tests.experiments import hosted, small
from vardax_core.cycling.streams import StreamPlanError
from vardax_core.data import load_recipe
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.backfill import Backfill
from vardax_core.experiments.host_forecast import HostForecastError
from vardax_core.experiments.settings import available_methods, lack_of

SECTION = {"forecast": yaml.safe_load(hosted.PAGE.block("yaml"))["forecast"]}


def cycled(made):
    store = small.ingested_store(made)
    return store, small.catch_up(made, store)


@pytest.mark.slow
def test_the_command_of_the_page_gives_what_the_same_model_within_vardax_gives(
    tmp_path, monkeypatch
):
    usual = hosted.recipe(None, cycles=2)
    values = usual.model_dump(mode="json") | SECTION
    folder = tmp_path / "datasets" / "hosted"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    (folder / "advance.py").write_text(hosted.SCRIPT)
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    recipe = load_recipe("hosted")
    outside, reports = cycled(hosted.experiment_of(tmp_path / "outside", recipe))
    within, _ = cycled(hosted.experiment_of(tmp_path / "within", usual))
    assert [report.cycles for report in reports] == [1, 1]
    assert not any(report.warnings for report in reports)
    for group, name in (("background", "x"), ("analysis", "x"), ("analysis", "x_spread")):
        np.testing.assert_allclose(
            outside.dataset(group)[name], within.dataset(group)[name], rtol=0, atol=2e-4
        )
    assert not list((tmp_path / "outside" / "host" / "hosted").glob("*/*")), "kept after commit"


@pytest.mark.slow
def test_a_lost_member_is_replaced_and_counted_and_more_than_half_commit_nothing(tmp_path):
    folder = hosted.write_model(tmp_path / "model", {"3": "always"})
    made = hosted.experiment_of(tmp_path / "root", hosted.recipe(folder), method="etkf")
    store = small.ingested_store(made)
    work = Assimilation(made, store, made.prepare(store))
    times = pending_cycles(made, store)
    reports = work.run(times)
    report = next(reports)
    assert "member 3: it ended with exit status 1" in report.warnings[0]
    assert store.history()[0].metadata["lost_members"] == 1
    diagnostics = store.dataset("diagnostics").load()
    assert diagnostics["replaced_members"].values.tolist() == [1]
    background = store.dataset("background")["x"].load()[0]
    assert np.isfinite(background).all()
    assert np.unique(background, axis=0).shape[0] == 12

    (folder / "how.json").write_text(
        '{"0":"silent","1":"silent","2":"silent","4":"silent","5":"silent","6":"silent","7":"silent"}'
    )
    with pytest.raises(HostForecastError, match="7 of 12 members have no forecast"):
        next(reports)
    assert store.tip().cycles == 1
    (folder / "how.json").write_text("{}")
    assert [r.cycles for r in work.run(times[1:2])] == [1]
    starts = [run for run in hosted.runs(folder) if run.endswith(" 9")]
    assert len(starts) == 2, "one run in each cycle: what was made is kept"


def test_streams_side_by_side_and_methods_that_forecast_again_are_refused(tmp_path):
    folder = hosted.write_model(tmp_path / "model")
    recipe = hosted.recipe(folder, cycles=8)
    known = available_methods(recipe)
    assert {"etkf", "enkf", "letkf", "oi"} <= set(known)
    for method in ("ietkf", "4dvar", "weak-4dvar"):
        assert method not in known
        assert "make forecasts again" in lack_of(recipe, method)
    assert lack_of(hosted.recipe(None), "ietkf") is None
    made = hosted.experiment_of(tmp_path / "root", recipe)
    store = small.ingested_store(made)
    times = pending_cycles(made, store)
    with pytest.raises(StreamPlanError, match="vardax assimilate"):
        Backfill(made, store, made.prepare(store), times, streams=2, overlap=1)
    assert not (folder / "runs.txt").exists()


def test_a_method_with_a_forecast_of_its_own_keeps_it(tmp_path):
    recipe = hosted.recipe(hosted.write_model(tmp_path / "model"))
    for method, expected in (("climatology", False), ("oi", False), ("letkf", True)):
        made = hosted.experiment_of(tmp_path / method, recipe, method)
        assert made.prepare(small.ingested_store(made)).hosted == expected
    assert not hosted.experiment_of(tmp_path, hosted.recipe(None)).recipe.host
