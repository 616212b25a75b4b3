import os
import subprocess
import sys

import pytest

from tests.experiments import small
from tests.object_store import empty_bucket
from tests.support import ROOT
from vardax_core.data import ingest


@pytest.fixture(scope="session")
def observed():
    """The twin's observations and truth."""
    return ingest(small.recipe())


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)


@pytest.fixture
def s3(monkeypatch):
    """The URL of an empty place on an S3-compatible server of this process."""
    for url in empty_bucket(monkeypatch):
        yield f"{url}/stores"


@pytest.fixture
def run_module():
    """Run a module of this folder in a process of its own."""

    def run(name, *arguments):
        return subprocess.run(
            [sys.executable, "-m", f"tests.faults.{name}", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
