"""Every benchmark runs with --quick and ends with a line that a machine can read."""

import json
import os
import subprocess
import sys

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.ladder

SCRIPTS = sorted(p.name for p in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_quick_run_prints_a_table_and_computed_bars(script, tmp_path):
    # Benchmarks are for production: without what the tests switch on or off.
    left_out = ("JAX_DISABLE_MOST_OPTIMIZATIONS",)
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), "--quick"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.strip().splitlines()
    assert len(table) >= 2
    found = json.loads(last)
    assert found["name"] == script.removesuffix(".py")
    assert found["figures"]
    for bar in found["bars"]:
        assert set(bar) == {"name", "value", "bar", "pass"}
        assert isinstance(bar["pass"], bool)
