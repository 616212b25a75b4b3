"""The tutorials, block by block in an empty folder, as a reader would go through them."""

import os
import re
import shlex
from unittest import mock

import matplotlib.pyplot as plt
import pytest
import xarray as xr
from typer.testing import CliRunner

from flows.cli import app
from tests.support import ROOT, prefect_server

pytestmark = [pytest.mark.slow, pytest.mark.flows, pytest.mark.timeout(1200)]
BLOCKS = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def _server():
    with mock.patch.dict(os.environ), prefect_server():
        yield


@pytest.fixture
def follow(tmp_path, monkeypatch, _server):
    """Run the blocks of a page; give what was printed by the last call of each command."""
    monkeypatch.chdir(tmp_path)
    for name in ("VARDAX_DATA_DIR", "VARDAX_DATASETS_DIR", "VARDAX_ROOT"):
        monkeypatch.delenv(name, raising=False)
    printed = {}

    def run(name):
        names = {}
        for language, block in BLOCKS.findall((ROOT / "docs" / name).read_text()):
            if language == "python":
                exec(compile(block, name, "exec"), names)
                plt.close("all")
                continue
            for line in block.strip().split("\n"):
                if line.startswith("export "):
                    variable, value = line.removeprefix("export ").split("=")
                    monkeypatch.setenv(variable, value.replace("$PWD", str(tmp_path)))
                    continue
                program, *words = shlex.split(line)
                assert program == "vardax"
                result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
                assert result.exit_code == 0, f"{line}\n{result.output}"
                printed[words[0]] = result.stdout
        return printed

    return run


def test_a_twin_and_its_figures(follow, tmp_path):
    printed = follow("first-twin.md")
    assert "rmse.a" in printed["run"]
    assert (tmp_path / "twin.png").stat().st_size > 10_000
    follow("gallery.md")
    drawn = {path.name for path in (ROOT / "docs" / "figures" / "gallery").glob("*.png")}
    assert drawn == {path.name for path in tmp_path.glob("*.png")} - {"twin.png"}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in drawn)
    printed = follow("operational-day.md")
    assert "increment" in printed["why"]
    assert "letkf" in printed["report"]
    with xr.open_dataset(tmp_path / ".vardax" / "copy.nc", group="analysis") as copy:
        assert copy.sizes["time"] == 200


def test_a_track(follow, tmp_path):
    printed = follow("own-track.md")
    recipe = (tmp_path / "datasets" / "my-track" / "recipe.yaml").read_text()
    assert "gap:" in recipe
    assert "units: m\n" in recipe
    assert "2400" in printed["check"].replace(" ", "")
    assert (tmp_path / "map.png").stat().st_size > 10_000
