"""`vardax serve` as a user starts it: scheduled cycles are committed, and everything stops."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from flows.cli_common import ExitCode
from tests.flows.test_server import free_port
from tests.operations.serving import Serve
from vardax_core.store import StoreNotFoundError

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(900)]


def committed(root):
    try:
        return Serve(root).store().tip().cycles
    except StoreNotFoundError:
        return 0


def test_the_demonstration_runs_by_itself_and_ctrl_c_ends_everything(tmp_path):
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    log = (tmp_path / "serve.log").open("w+")
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)]
    service = subprocess.Popen(
        [*command, "--root", str(tmp_path)],
        env=kept | {"VARDAX_AUTH": "forecaster:secret"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def said():
        return (tmp_path / "serve.log").read_text()

    try:
        deadline = time.monotonic() + 600
        while committed(tmp_path) < 2 and time.monotonic() < deadline:
            assert service.poll() is None, said()
            time.sleep(2)
        assert committed(tmp_path) >= 2, said()
        url = f"http://127.0.0.1:{port}/api"
        assert httpx.post(f"{url}/deployments/filter", json={}).status_code == 401
        auth = ("forecaster", "secret")
        found = httpx.post(f"{url}/deployments/filter", json={}, auth=auth).json()
        assert {"demonstration", "operational", "everything"} <= {d["name"] for d in found}
        pools = httpx.post(f"{url}/work_pools/filter", json={}, auth=auth).json()
        assert {"cpu", "streams", "gpu", "control"} <= {pool["name"] for pool in pools}
        automations = httpx.post(f"{url}/automations/filter", json={}, auth=auth).json()
        assert automations == []
        again = subprocess.run(
            [*command[:-1], str(free_port()), "--root", str(tmp_path)],
            env=kept,
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == ExitCode.BUSY
        told = f"Another service works on the root {tmp_path} (process {service.pid}, http://"
        assert told in again.stderr
        children = [int(pid) for pid in re.findall(r"process (\d+)", said())]
        assert len(children) >= 2
    finally:
        service.send_signal(signal.SIGINT)
        try:
            service.wait(120)
        finally:
            service.kill()
    assert service.returncode == 0, said()
    assert "secret" not in said()
    assert re.findall(r"started worker-(\S+)", said()) == ["cpu", "streams", "control"]
    assert said().index("stopped worker-cpu") < said().index("stopped server")
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_a_server_that_does_not_start_is_tried_three_times_and_its_own_words_are_shown(tmp_path):
    nowhere = f"postgresql+asyncpg://nobody:secret@127.0.0.1:{free_port()}/nothing"
    port = ["--port", str(free_port())]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_text("a line of a former server\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flows.cli",
            "serve",
            *port,
            "--root",
            tmp_path,
            "--database",
            nowhere,
        ],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.FAILED
    assert len(re.findall(r"started server", done.stdout)) == 3
    assert "The server ended 3 times within 10 minutes" in done.stderr
    assert "Application startup failed" in done.stderr
    assert "a line of a former server" not in done.stderr
    assert "Traceback (most recent call last)" not in done.stdout
