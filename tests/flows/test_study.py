"""Several experiments in one call, and what is said of them together."""

import json
import os
from unittest import mock

import pytest
from typer.testing import CliRunner

import flows.run  # noqa: F401 (Prefect must not meet the streams that CliRunner puts up)
from flows.cli import ExitCode, app
from flows.parameters import MOST_CASES, ExperimentParameters, StudyParameters
from tests.experiments import small
from tests.support import prefect_server
from vardax_core.data import datasets_dir
from vardax_core.experiments.comparison import IncomparableStoresError
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.study import compare_study

pytestmark = pytest.mark.flows
WORDS = ("study", "small", "-m", "etkf", "--methods", "climatology,etkf", "--members", "6")


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    with mock.patch.dict(os.environ):
        small.write_recipe(tmp_path / "datasets")
        for name in ("lorenz96", "era5-t2m-uk"):
            (tmp_path / "datasets" / name).symlink_to(datasets_dir() / name)
        os.environ["VARDAX_DATASETS_DIR"] = str(tmp_path / "datasets")
        small.shorten_segments(monkeypatch.setattr)
        yield


def vardax(*words, root):
    arguments = [*map(str, words), "--root", str(root)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.mark.ladder
@pytest.mark.slow
def test_methods_and_seeds_are_run_and_set_beside_each_other(tmp_path):
    root = tmp_path / "root"
    plan = ("--streams", "2", "--overlap", "5")
    with prefect_server():
        result = vardax(*WORDS, "--seeds", "1,3", *plan, root=root)
        assert result.exit_code == 0, result.output
        again = vardax(*WORDS, "--seeds", "1,3", *plan, root=root)
    folder = root / "experiments" / "small-study"
    assert f"report: {folder / 'report.md'}" in result.stdout.replace("\n", "")
    assert "4 experiments" in again.stdout
    stores = {path.name for path in (root / "experiments" / "small").iterdir()}
    expected = {"climatology", "climatology-seed-3", "etkf", "etkf-seed-3"}
    assert {name for name in stores if not name.startswith(".")} >= expected

    rows = json.loads((folder / "scores.json").read_text())
    assert [(row["method"], row["circumstances"]) for row in rows] == [
        (method, f"small, seed {seed}") for method in ("climatology", "etkf") for seed in (1, 3)
    ]
    crps = {(r["method"], r["circumstances"]): r["scores"]["crps_gaussian"] for r in rows}
    assert crps["etkf", "small, seed 1"] != crps["etkf", "small, seed 3"]
    page = (folder / "report.md").read_text()
    ratios = [
        crps["climatology", f"small, seed {seed}"] / crps["etkf", f"small, seed {seed}"]
        for seed in (1, 3)
    ]
    assert f"{sum(ratios) / 2:.3f}, better in 0 of 2" in page
    assert f"{small.CYCLES} cycles, 2000-01-01T00:00 to 2000-01-08T06:00, of 4 experiments" in page
    assert (folder / "scores.png").stat().st_size > 5000

    done, other = (
        ExperimentParameters(dataset="small", method=method, members=6, root=place).experiment()
        for method, place in (("etkf", root), ("climatology", tmp_path / "other"))
    )
    store = small.ingested_store(other)
    with pytest.raises(IncomparableStoresError, match="different cycles"):
        compare_study([done, other], done)
    small.catch_up(other, store, "2000-01-02T00")
    with pytest.raises(IncomparableStoresError, match="different cycles"):
        compare_study([done, other], done)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--seeds", "1,1"), "each one once"),
        (("--seeds", ""), "--seeds: expected values by commas"),
        (("--seeds", "one"), "--seeds: input should be a valid integer"),
        (("--methods", "etkf,kriging"), "--methods: there is no method 'kriging'"),
        (("--draw", "3", "--draws", "1,2"), "leave the draw out"),
        (("--draws", "1,2"), "leave the draw out"),
        (("--seeds", ",".join(map(str, range(MOST_CASES)))), "too large"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path, options, told):
    result = vardax(*WORDS, *options, root=tmp_path / "root")
    assert result.exit_code == ExitCode.WRONG_INPUT, result.output
    assert told in result.stderr
    assert not (tmp_path / "root" / "experiments").exists()


def test_every_draw_of_a_network_is_an_experiment():
    given = ExperimentParameters(dataset="era5-t2m-uk")
    matrix = StudyParameters(methods=("oi",), seeds=(1,), station_draws=(1, 2, 3))
    names = [case.experiment().name for case in matrix.cases(given)]
    assert names == [f"era5-t2m-uk-draw{draw}/oi" for draw in (1, 2, 3)]


def test_the_usual_seed_is_not_in_a_store_s_name():
    labels = [ExperimentSettings(method="etkf", seed=seed).label({}) for seed in (1, 2)]
    assert labels == ["etkf", "etkf-seed-2"]
