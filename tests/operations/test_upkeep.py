"""Backup, restore and upgrade as docs/operations.md tells them; what the pages name is there."""

import json
import re
import shutil

import pytest
import typer
import yaml

import vardax_core
from flows.cli import app
from flows.serve import DEPLOYMENTS, HOME
from tests.experiments import small
from vardax_core.monitoring.checks import CHECKS
from vardax_core.store import ExperimentStore, content_digest
from vardax_core.store.hold import held, hold, release

pytestmark = pytest.mark.slow

OF_PREFECT = {"name", "env", "labels", "command", "stream_output", "job_watch_timeout_seconds"}
"""Variables that mean what they mean in every pool."""
PAGES = {path.name: path.read_text() for path in (HOME / "docs").glob("*.md")}
OPERATIONS = PAGES["operations.md"]


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)


@pytest.fixture(scope="module")
def orderly(tmp_path_factory):
    """The digest of an experiment to which nothing happened."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        made = small.experiment_of(tmp_path_factory.mktemp("orderly"), "etkf")
        store = small.ingested_store(made)
        small.catch_up(made, store)
    return content_digest(store)


@pytest.mark.slow
def test_a_chain_goes_on_from_its_backup_to_the_same_bits(tmp_path, orderly):
    made = small.experiment_of(tmp_path / "root", "etkf")
    store = small.ingested_store(made)
    small.catch_up(made, store, "2000-01-04T00:00")
    hold(made.store_location, "backup")
    (tmp_path / "root" / "models").mkdir(exist_ok=True)
    for name in ("experiments", "models"):
        shutil.copytree(tmp_path / "root" / name, tmp_path / "backup" / name)
    release(made.store_location)
    small.catch_up(made, store, "2000-01-06T00:00")
    shutil.rmtree(tmp_path / "root")

    shutil.copytree(tmp_path / "backup", tmp_path / "restored")
    again = small.experiment_of(tmp_path / "restored", "etkf")
    assert held(again.store_location).reason == "backup"
    release(again.store_location)
    restored = again.open_store()
    assert restored.tip().cycles == 13
    small.catch_up(again, restored)
    assert content_digest(restored) == orderly


def test_a_chain_goes_on_after_an_upgrade_and_says_which_version_made_what(
    tmp_path, orderly, monkeypatch
):
    made = small.experiment_of(tmp_path / "root", "etkf")
    store = small.ingested_store(made)
    small.catch_up(made, store, "2000-01-04T00:00")
    old = vardax_core.__version__
    monkeypatch.setattr(vardax_core, "__version__", "99.0.0")
    small.catch_up(made, ExperimentStore.open(made.store_location))
    versions = [r.metadata["code_version"] for r in store.history() if "cycles" in r.metadata]
    assert versions[0] == "99.0.0"
    assert versions[-1] == old
    assert content_digest(store) == orderly


def commands() -> set[str]:
    return set(typer.main.get_command(app).commands)


def test_every_command_of_the_pages_is_one():
    named = {
        word
        for text in PAGES.values()
        for word in re.findall(r"(?:`|^    |ExecStart=\S*/)vardax ([a-z]+)", text, re.MULTILINE)
    }
    assert {"serve", "monitor", "hold", "release"} <= named
    assert named <= commands()


def test_every_deployment_is_in_the_table_and_the_other_way_round():
    deployed = {
        f"{made['entrypoint'].split(':')[1]}/{made['name']}"
        for made in yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())["deployments"]
    }
    table = OPERATIONS.split("## What runs")[1].split("##")[0]
    assert set(re.findall(r"`([a-z]+/[a-z-]+)`", table)) == deployed


def test_every_check_is_in_the_table():
    table = OPERATIONS.split("## What is watched")[1].split("##")[0]
    rows = re.findall(r"^\| ([a-z0-9 -]+) \|", table, re.MULTILINE)
    assert rows[2:] == [check.name for check in CHECKS]


def test_every_variable_of_a_template_is_in_its_page():
    for path in (DEPLOYMENTS / "pools").iterdir():
        page = PAGES[f"deploy-{path.stem}.md"]
        variables = set(json.loads(path.read_text())["variables"]["properties"])
        assert {name for name in variables - OF_PREFECT if f"`{name}`" not in page} == set()
