import os
import subprocess
import sys

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.experiments import small
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
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="faults")
    yield "s3://faults/stores"
    server.stop()


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
