"""Every command and every code block of the README works as it stands there.

In the suite the command line takes every command, and what needs no store is executed. All of it
in its order is a slow test: training is cut to a few steps and twins, with a reason that lets such
weights past the gates, for the real data to the statistics of a classical method, the twin to a
year, and the Prefect server gets a free port. What make starts is only checked for what it would
run: one of its targets is what runs this test.
"""

import os
import re
import shlex
import shutil
import socket
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tests.support import ROOT, execute, real_data_dir

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(found[1])
    for language, block in BLOCKS
    for line in block.split("\n")
    if language == "sh" and (found := re.search(r"(?<![./\w])vardax (.*)", line))
]
LOOKS = ("datasets", "models", "methods")
"""Commands that need no store."""
BINARIES = Path(sys.executable).parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "era5-t2m-uk").symlink_to(ROOT / "datasets" / "era5-t2m-uk")
    for name, end in (
        ("lorenz96", "2001-01-01T00:00:00Z"),
        ("lorenz96-sparse", "2001-01-13T00:00:00Z"),
    ):
        recipe = yaml.safe_load((ROOT / "datasets" / name / "recipe.yaml").read_text())
        recipe["period"]["end"] = end
        (folder / "datasets" / name).mkdir()
        (folder / "datasets" / name / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def environment(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    return inherited | {
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "VARDAX_DATA_DIR": str(real_data_dir()),
        "VARDAX_DATASETS_DIR": str(place / "datasets"),
        "PREFECT_HOME": str(place / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "README_PORT": str(port),
    }


def shortened(command: str, port: str) -> str:
    command = re.sub(r"^(.*\bvardax (?:run|report|monitor) .*)$", r"\1 --steps 200", command)
    command = re.sub(r"^(.*\bvardax run .*)$", r"\1 --override 'a short training'", command)
    command = re.sub(r"^(.* era5-t2m-uk .*)$", r"\1 --method oi --methods oi", command)
    command = re.sub(r"^vardax\b", f"{sys.executable} -m tests.short_cli", command)
    command = command.replace(" vardax ", f" {sys.executable} -m tests.short_cli ")
    return command.replace(":4200", f":{port}")


def test_the_readme_has_its_two_commands_and_more():
    assert [line for _, block in BLOCKS[:1] for line in block.split("\n") if line] == [
        "make run",
        "make test",
    ]
    assert len(BLOCKS) >= 7


def test_make_does_what_the_readme_says(environment):
    assert shutil.which("make"), "make is needed"
    assert "vardax run lorenz96-sparse" in execute(["make", "-n", "run"], ROOT, environment)
    for target, chosen in (
        ("test", "-m 'not ladder and not slow'"),
        ("test-slow", "-m 'slow and not ladder'"),
        ("test-ladder", "-m ladder"),
    ):
        assert f"make {target}" in README
        assert chosen in execute(["make", "-n", target], ROOT, environment)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_command_line_takes_every_command(words):
    command = typer.main.get_command(app).commands[words[0]]
    assert command.make_context(words[0], list(words[1:])).args == []


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] in LOOKS], ids=" ".join)
def test_what_there_is_is_listed(words):
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().split("\n")) > 3


def test_the_parts_can_be_used_alone(place, environment):
    blocks = [b for language, b in BLOCKS if language == "python"]
    (block,) = (b for b in blocks if "AmortizedPosterior" in b)
    assert "(8, 16, 40)" in execute([sys.executable, "-c", block], place, environment)


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.timeout(1200)
def test_every_block_runs_in_order(place, environment):
    printed = []
    for language, block in BLOCKS:
        if language == "python":
            printed.append(execute([sys.executable, "-c", block], place, environment))
            continue
        for command in block.strip().split("\n"):
            if not command.startswith("make "):
                line = shortened(command, environment["README_PORT"])
                printed.append(execute(line, place, environment))
    text = "\n".join(printed)
    assert "rmse.a" in text
    assert "crps_gaussian" in text
    assert (place / "analysis.png").stat().st_size > 10_000
    assert (place / ".vardax" / "copy.nc").is_file()
    assert "(8, 16, 40)" in text
