"""Every command that reports answers with `--json` as its schema says, and is silent with -q."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

import flows.tune
from flows import answers
from flows.cli import ExitCode, app
from tests.data.station_files import write_stations
from tests.experiments import small
from vardax_core.experiments.tuning import Tuned

LOOK = ("small", "-m", "climatology")


@pytest.fixture
def told(vardax):
    """The checked answer of a command."""

    def tell(*words, code=ExitCode.DONE):
        result = vardax(*words, "--json")
        assert result.exit_code == code, result.output
        found = json.loads(result.stdout)
        kind = answers.Failed if "error" in found else answers.COMMANDS[words[0]]
        schema = json.loads((answers.SCHEMAS / f"{kind.__name__.lower()}.json").read_text())
        jsonschema.validate(found, schema)
        assert set(found) == set(kind.model_fields)
        return found

    return tell


def test_the_schemas_are_those_of_the_answers(tmp_path):
    """`python -m flows.answers` writes them."""
    answers.write_schemas(tmp_path)
    kept = {path.name: path.read_text() for path in answers.SCHEMAS.iterdir()}
    assert kept == {path.name: path.read_text() for path in tmp_path.iterdir()}


def test_every_command_that_reports_has_an_answer():
    commands = typer.main.get_command(app).commands
    assert set(commands) - {"serve", "browse"} == set(answers.COMMANDS)
    for name in answers.COMMANDS:
        assert {"--json", "--quiet"} <= {o for p in commands[name].params for o in p.opts}, name


def test_what_there_is(told):
    found = told("datasets")
    assert {"small", "lorenz63"} < {one["name"] for one in found["datasets"]}
    assert found["faults"] == []
    (letkf,) = told("methods", "letkf", "--dataset", "lorenz96")["methods"]
    assert letkf["lack"] is None
    assert "radius" in {one["name"] for one in letkf["settings"]}
    lacks = {
        one["name"]: one["lack"] for one in told("methods", "--dataset", "lorenz63")["methods"]
    }
    assert "localizes" in lacks["letkf"]
    (model,) = told("models", "lorenz96")["models"]
    assert model["state_shape"] == [40]
    assert len(told("models")["models"]) > 3


def test_one_broken_recipe_hides_no_other(told):
    path = Path(os.environ["VARDAX_DATASETS_DIR"]) / "small" / "recipe.yaml"
    path.write_text(path.read_text().replace("burn_in:", "burnin:"))
    found = told("datasets", code=ExitCode.WRONG_INPUT)
    assert "lorenz96" in {one["name"] for one in found["datasets"]}
    (fault,) = found["faults"]
    assert "burnin" in fault


def test_a_failure_is_an_answer_too(told):
    found = told("run", "lorenz69", code=ExitCode.WRONG_INPUT)
    assert found["error"] == "RecipeError"
    assert "did you mean" in found["message"]
    assert found["exit_code"] == 2


def test_what_learns_nothing(told):
    for command in ("train", "validate"):
        assert told(command, "small", "-m", "etkf")["needed"] is False
    told("rollback", "small", code=ExitCode.WRONG_INPUT)


def test_files_of_a_newcomer(told, tmp_path, monkeypatch):
    write_stations(tmp_path / "data" / "stations.csv", days=3)
    monkeypatch.setenv("VARDAX_DATA_DIR", str(tmp_path / "data"))
    made = told("init", "my-stations", "--from", "stations.csv")
    assert Path(made["recipe"]).is_file()
    assert Path(made["card"]).is_file()
    found = told("check", "my-stations")
    assert found["faults"] == []
    assert any(section["rows"] for section in found["sections"])


@pytest.mark.slow
def test_a_store_and_its_experiment(told, tmp_path):
    made = small.experiment_of(tmp_path / "root", "climatology")
    store = small.ingested_store(made)
    small.catch_up(made, store, "2000-01-03T00:00")
    path = made.store_path
    opened = told("open", path)
    assert opened["cycles"] == 9
    assert {"analysis", "observations"} < {group["name"] for group in opened["groups"]}
    exported = told("export", path, tmp_path / "all.nc")
    assert exported["format"] == "netcdf"
    assert (tmp_path / "all.nc").read_bytes()[1:4] == b"HDF"
    told("export", path, tmp_path / "x.nc", "--format", "zarr", code=ExitCode.WRONG_INPUT)
    assert not (tmp_path / "x.nc").exists()
    assert told("thin", path, "--before", "2000-01-02", "--members", "2")["cycles"] > 0
    assert told("collect", path)["objects"] >= 0
    options = ("--members", str(small.MEMBERS), "--steps", "20")
    look = ("monitor", *LOOK, *options, "--follow", "schedule", "--as-of")
    found = told(*look, "2000-01-06T00:00", code=ExitCode.ALERT)
    assert found["severity"] == "error"
    behind = next(one for one in found["findings"] if "behind" in one["statistic"])
    assert behind["value"] == 12
    assert told("hold", *LOOK, "--reason", "a test")["held"] is True
    assert "a test" in told("assimilate", *LOOK)["held"]
    assert told("release", *LOOK)["reason"] == "a test"


def test_quiet_leaves_errors_alone(vardax):
    result = vardax("datasets", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    result = vardax("run", "lorenz69", "-q")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean" in result.stderr
    assert "lorenz96" in vardax("datasets").stdout


def test_a_table_without_a_terminal_has_a_line_for_each_row(vardax):
    lines = vardax("datasets").stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["name", "what it is", "period", "methods"]
    assert {len(row) for row in rows} == {4}
    assert not set("│┃━┏└") & set("".join(lines))


def test_a_recipe_is_named_by_its_path(told, tmp_path):
    small.write_recipe(tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / "small" / "recipe.yaml"
    path.write_text(path.read_text().replace("burn_in:", "burnin:"))
    for written in (path, path.parent):
        assert "burnin" in told("train", written, "-m", "etkf", code=2)["message"]
    path.write_text(path.read_text().replace("burnin:", "burn_in:"))
    assert told("train", path, "-m", "etkf")["needed"] is False
    missing = told("train", tmp_path / "nowhere" / "recipe.yaml", code=ExitCode.WRONG_INPUT)
    assert "<name>/recipe.yaml" in missing["message"]


def test_the_version_and_the_short_help():
    for words, said in ((["--version"], "vardax 0."), (["-h"], "Usage"), (["run", "-h"], "--json")):
        result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        assert said in result.stdout


def test_a_shell_completes_names(small_twin):
    shell = {"_VARDAX_COMPLETE": "complete_bash", "COMP_WORDS": "vardax run sm", "COMP_CWORD": "2"}
    result = CliRunner().invoke(app, [], prog_name="vardax", env=shell)
    assert result.stdout.split() == ["small"]


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.usefixtures("prefect_api")
def test_cycles_and_their_report(told):
    assert told("assimilate", *LOOK, "--until", "2000-01-03T18")["cycles"] == 12
    plan = ("--streams", "2", "--overlap", "4")
    assert told("backfill", *LOOK, *plan)["cycles"] == 18
    found = told("report", *LOOK)
    assert found["cycles"] == 25
    assert found["scores"]["climatology"]["rmse"] > 0
    assert Path(found["report"]).is_file()
    assert told("run", *LOOK)["changed"] is False


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.usefixtures("prefect_api")
def test_settings_and_studies(told, monkeypatch):
    assert "no settings" in told("tune", "small", "-m", "oi", code=ExitCode.WRONG_INPUT)["message"]
    found = Tuned({"inflation": 1.1}, {"scores": {"inflation=1.1": 0.2, "usual": 0.3}, "rmse": 0.2})
    monkeypatch.setattr(flows.tune, "find_settings", lambda made, path, say: found)
    assert told("tune", "small", "-m", "enkf")["options"] == {"inflation": 1.1}
    study = ("study", "small", "--methods", "climatology", "--seeds", "1", "--streams", "2")
    found = told(*study, "-m", "climatology", "--overlap", "4")
    assert [row["method"] for row in found["rows"]] == ["climatology"]
