"""Every command and every code block of the README works as it stands there.

In the suite the command line takes every command. All of it in its order is a slow test: the job of
`make run` on a short period with a short training and a reason that lets such weights past the
gates, and a reader's own file. `make test` is only checked for what it would run: it is what runs
this test.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from flows.cli import app
from tests.support import ROOT, execute

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(found[1])
    for language, block in BLOCKS
    for line in block.split("\n")
    if language == "sh" and (found := re.search(r"(?<![./\w])vardax (.*)", line))
]
DEMONSTRATION = yaml.safe_load((ROOT / "datasets/lorenz96-sparse/recipe.yaml").read_text())
BINARIES = Path(sys.executable).parent


def stations(path):
    """Write six days of reports of thirty stations."""
    random = np.random.default_rng(1)
    rows = ["station,time,lat,lon,t"]
    for name, (lat, lon) in enumerate(random.uniform((50, -10), (54, -6), (30, 2))):
        for day in range(1, 7):
            t = 10 + 3 * np.sin(lat + day / 3) + 2 * np.cos(lon) + random.normal(0, 0.3)
            rows.append(f"{name},2019-03-{day:02d}T12:00Z,{lat:.3f},{lon:.3f},{t:.2f}")
    path.parent.mkdir()
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newcomer")
    short = DEMONSTRATION | {"period": DEMONSTRATION["period"] | {"end": "2001-01-13T00:00:00Z"}}
    (folder / "datasets" / "lorenz96-sparse").mkdir(parents=True)
    (folder / "datasets" / "lorenz96-sparse" / "recipe.yaml").write_text(yaml.safe_dump(short))
    stations(folder / "files" / "stations.csv")
    return folder


@pytest.fixture(scope="module")
def environment(place):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    return inherited | {
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(place / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def test_the_readme_has_its_two_commands_and_more():
    assert [line for _, block in BLOCKS[:1] for line in block.split("\n") if line] == [
        "make run",
        "make test",
    ]
    assert {language for language, _ in BLOCKS[1:]} == {"sh", "python"}
    assert all((ROOT / link).exists() for link in re.findall(r"\]\(([^):]+)\)", README))


def test_the_table_is_of_the_methods_of_the_demonstration():
    assert re.findall(r"^\| \**(\w+)\** +\| +[\d.]+ \|", README, re.M) == list(
        DEMONSTRATION["methods"]
    )


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


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.timeout(900)
def test_every_block_runs_in_order(place, environment):
    short = f"{sys.executable} -m tests.short_cli run lorenz96-sparse --steps 200"
    printed = [execute(f"{short} --override 'a short training'", place, environment)]
    for language, block in BLOCKS[1:]:
        if language == "python":
            printed.append(execute([sys.executable, "-c", block], place, environment))
            continue
        for line in block.strip().split("\n"):
            if line.startswith("export "):
                name, value = line.removeprefix("export ").split("=")
                environment = environment | {name: value.replace("$PWD", str(place))}
            else:
                printed.append(execute(line, place, environment))
    assert all(name in printed[0] for name in ("rmse.a", *DEMONSTRATION["methods"]))
    assert "withheld RMS" in printed[-2]
    assert "kept" in printed[-1]
    assert (place / "analysis.png").stat().st_size > 10_000
