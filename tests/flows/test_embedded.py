"""The embedded server starts beside the imports, and is gone where something was wrong."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from flows.environment import configure
from pathlib import Path
configure(Path(sys.argv[1]))
from flows.embedded import server_starting
from prefect.server.api.server import SubprocessASGIServer
server = SubprocessASGIServer()
try:
    with server_starting():
        if sys.argv[2] == "wrong":
            raise ValueError("a method that is not there")
        process = None
        while process is None:
            process = server.server_process
except ValueError:
    import psutil
    left = psutil.Process().children(recursive=True)
    print("stopped", not left, server.running)
    sys.exit()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print("answers", client.api_healthcheck() is None, server.server_process is process)
"""


def outcome(tmp_path, what):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), what]
    return subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout


def test_it_answers_when_the_imports_are_done_and_is_not_started_twice(tmp_path):
    assert outcome(tmp_path, "right") == "answers True True\n"


def test_where_something_is_wrong_it_is_stopped(tmp_path):
    assert outcome(tmp_path, "wrong") == "stopped True False\n"
