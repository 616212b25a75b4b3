import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store import twin

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    return twin.create(tmp_path / "store")


@pytest.fixture
def run_twin():
    """Start a script of this folder in a process of its own."""
    started = []

    def start(*arguments, script="twin.py", prefix=()):
        process = subprocess.Popen(
            [*prefix, sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
