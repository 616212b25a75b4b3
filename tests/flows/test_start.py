"""A command that looks at an experiment starts without what only others need."""

import subprocess
import sys

from tests.support import ROOT

HEAVY = (
    "prefect",
    "fastapi",
    "matplotlib.figure",
    "scipy.stats",
    "scipy.optimize",
    "dask",
    "panel",
    "pooch",
)
"""Half a second each and more, in every process of a command, a worker and a member's task."""
PROGRAM = f"""
import sys
import flows.cli_why, flows.parameters, vardax_core.experiments.why
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""


def test_it_imports_nothing_heavy():
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
