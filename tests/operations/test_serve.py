"""`vardax serve` as a user starts it: scheduled cycles are committed, and everything stops."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.flows.test_server import free_port
from vardax_core.store import ExperimentStore, StoreNotFoundError

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(900)]


def committed(root):
    try:
        store = ExperimentStore.open(root / "experiments" / "demonstration" / "etkf")
    except StoreNotFoundError:
        return 0
    return store.tip().cycles


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
        assert {"cpu", "streams", "gpu"} <= {pool["name"] for pool in pools}
        automations = httpx.post(f"{url}/automations/filter", json={}, auth=auth).json()
        assert {"vardax-zombies", "vardax-stillborn"} <= {a["name"] for a in automations}
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
    assert said().index("stopped worker-cpu") < said().index("stopped server")
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
