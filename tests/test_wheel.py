"""A wheel that is installed works from any directory, and takes no name that others use."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SOURCES = ("vardax_core", "flows", "datasets", "deployments")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that the wheel is installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-build-isolation"]
    execute([*pip, "wheel", *alone, "--wheel-dir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("*.whl")
    execute([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], folder)
    shutil.rmtree(source)
    return folder / "site"


def execute(command, folder, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VARDAX_", "PREFECT_"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(site, tmp_path):
    """Run the installed command, or Python beside it, in a directory of its own."""

    def run(*words):
        command = [sys.executable, *(words if words[0] == "-c" else (site / "bin/vardax", *words))]
        return execute([str(word) for word in command], tmp_path, PYTHONPATH=str(site))

    return run


def test_it_takes_no_name_that_others_use(site):
    names = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert names == {"vardax_core", "bin"}


def test_its_recipes_are_listed_beside_those_of_a_user(installed, site, tmp_path):
    own = tmp_path / "datasets" / "mine"
    shutil.copytree(ROOT / "datasets" / "lorenz63", own)
    recipe = own / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: lorenz63", "name: mine", 1))
    found = {
        one["name"]: one["recipe"]
        for one in json.loads(installed("datasets", "--json"))["datasets"]
    }
    assert set(found) == {path.parent.name for path in ROOT.glob("datasets/*/recipe.yaml")} | {
        "mine"
    }
    assert found["lorenz63"] == str(site / "vardax_core/home/datasets/lorenz63/recipe.yaml")
    assert found["mine"] == str(recipe)


@pytest.mark.flows
def test_a_run_starts_and_ends(installed, tmp_path):
    asked = ("lorenz96-sparse", "-m", "climatology", "--until", "2000-01-02", "--json")
    found = json.loads(installed("run", *asked))
    assert found["changed"] is True
    assert (tmp_path / ".vardax" / "experiments" / "lorenz96-sparse" / "climatology").is_dir()


def test_the_service_finds_its_deployments(installed, site):
    """And Prefect the flow of each of them, in a process that was started elsewhere."""
    program = """
import os
from vardax_core.command import use_home
use_home()
from flows.notify import FILE
from flows.processes import HOME
from flows.serve import DEPLOYMENTS
from prefect.flows import load_flow_from_entrypoint
from vardax_core.data.yamlfile import read_yaml
os.chdir(HOME)
assert FILE.is_file()
assert (DEPLOYMENTS / "pools" / "process.json").is_file()
for one in read_yaml((DEPLOYMENTS / "prefect.yaml").read_text())["deployments"]:
    print(load_flow_from_entrypoint(one["entrypoint"]).name, HOME)
"""
    lines = installed("-c", program).splitlines()
    assert len(lines) > 5
    assert {line.split()[1] for line in lines} == {str(site / "vardax_core" / "home")}
