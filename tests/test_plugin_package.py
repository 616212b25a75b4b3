"""A package with a plug-in of every kind: what it adds is run from its recipe to its report."""

import csv
import importlib.metadata
import json
import os
from pathlib import Path
from unittest import mock

import pytest
import yaml
from typer.testing import CliRunner

import flows.run  # noqa: F401 (Prefect must not meet the streams that CliRunner puts up)
from flows.cli import app
from tests.experiments import reported
from tests.extending import REGISTRIES, installed
from tests.support import prefect_server
from vardax_core.plugins import PluginError

PACKAGE = Path(__file__).parent / "plugin_package"
CODE, PROJECT = ((PACKAGE / name).read_text() for name in ("vardax_waves.py", "pyproject.toml"))
GROUPS = ("vardax.methods", "vardax.models", "vardax.operators", "vardax.sources")


@pytest.fixture
def folder(tmp_path):
    """The package is installed, and the recipes are found with their data."""
    places = reported.write_all(tmp_path)
    (tmp_path / "datasets" / "waves").mkdir()
    (tmp_path / "datasets" / "waves" / "recipe.yaml").write_text(
        (PACKAGE / "waves.yaml").read_text()
    )
    with installed(tmp_path, CODE, PROJECT), mock.patch.dict(os.environ, places):
        yield tmp_path


@pytest.fixture
def vardax(folder):
    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_package_is_short():
    assert sum(len(path.read_text().splitlines()) for path in PACKAGE.glob("*.*")) < 150


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.timeout(600)
def test_model_operator_and_method_are_run_through_gates_to_a_report(vardax, folder):
    for command, name in (("models", "waves"), ("operators", "pair"), ("methods", "regression")):
        assert name in vardax(command)
    with prefect_server():
        shown = vardax(
            *("run", "waves", "-m", "regression", "--methods", "regression,climatology"),
            *("--override", "a test", "--root", folder / "root"),
        )
    assert "regression" in shown
    (gates,) = (folder / "root").glob("models/*/*/gates/*.md")
    assert "Gates of" in gates.read_text()
    (report,) = (folder / "root").glob("experiments/waves/report/*.md")
    assert "regression" in report.read_text()


@pytest.mark.flows
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_source_is_run_from_its_files_to_a_report(vardax, folder):
    with (folder / "data" / "buoys-1.csv").open() as rows:
        lines = [
            json.dumps(
                {"value": row["sst"], "platform": row["buoy"], "time": row["time"]}
                | {"latitude": row["lat"], "longitude": row["lon"]}
            )
            for row in csv.DictReader(rows)
        ]
    (folder / "data" / "buoys-1.jsonl").write_text("\n".join(lines) + "\n")
    values = reported.values()
    (stream,) = values["observations"]
    files = {"files": ["buoys-*.jsonl"], "units": "degC", "delay": "0h"}
    stream["source"] = {"kind": "json-lines", **files}
    (folder / "datasets" / "buoys" / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert "json-lines" in vardax("sources")
    with prefect_server():
        shown = vardax(
            *("run", "buoys", "-m", "interpolation", "--methods", "interpolation"),
            *("--root", folder / "root"),
        )
    assert "withheld" in shown
    assert list((folder / "root").glob("experiments/buoys/report/*.md"))


@pytest.mark.parametrize(
    "value", ["no_such_package:Thing", "math:no_such_thing", "math:sqrt", "pathlib:Path"]
)
@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.__name__)
def test_a_plug_in_that_is_none_is_refused_by_name(registry, value, monkeypatch):
    found = [importlib.metadata.EntryPoint("mine", value, group) for group in GROUPS]
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [e for e in found if e.group == group]
    )
    registry.cache_clear()
    try:
        with pytest.raises(PluginError, match=value) as caught:
            registry()
    finally:
        monkeypatch.undo()
        registry.cache_clear()
    assert any(group in str(caught.value) for group in GROUPS)
