"""The tutorial on stations of one's own, block by block in an empty folder."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, execute

PAGE = (ROOT / "docs" / "own-stations.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.ladder
@pytest.mark.timeout(1200)
def test_every_block_runs_in_order_and_says_what_the_page_says(tmp_path):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    binaries = Path(sys.executable).parent
    environment = inherited | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    printed = {}
    for language, block in BLOCKS:
        if language == "python":
            execute([sys.executable, "-c", block], tmp_path, environment)
            continue
        for line in block.strip().split("\n"):
            if line.startswith("export "):
                name, value = line.removeprefix("export ").split("=")
                environment[name] = value.replace("$PWD", str(tmp_path))
            else:
                printed[line.split()[1]] = execute(line, tmp_path, environment)
    assert (tmp_path / "datasets" / "my-stations" / "recipe.yaml").is_file()
    assert "300" in printed["check"]
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert "up to date" in execute("vardax run my-stations", tmp_path, environment)
    report = json.loads(execute("vardax report my-stations --json", tmp_path, environment))
    assert report["changed"] is False
    scores = report["scores"]["interpolation"]
    assert 0.5 < scores["withheld_spread_over_rms"] < 2
