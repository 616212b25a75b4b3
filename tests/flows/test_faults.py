"""Flows that are overtaken, and flows whose server dies."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from tests.flows.test_server import environment, server
from vardax_core.data.catalogue import datasets_dir
from vardax_core.store import ExperimentStore
from vardax_core.store.location import LocalLocation

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(900)]

CYCLES = 30
SOON = 240.0
"""Seconds after which a run ends whose server has vanished; it tries some requests for 30 each."""


@pytest.fixture
def disturbed(tmp_path):
    """Run a program against a server; what it printed, and its store."""
    recipe = yaml.safe_load((datasets_dir() / "lorenz96" / "recipe.yaml").read_text())
    recipe["period"]["end"] = "2000-01-08T06:00:00Z"
    recipe["burn_in"] = 5
    (tmp_path / "datasets" / "lorenz96").mkdir(parents=True)
    (tmp_path / "datasets" / "lorenz96" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    folder = Path(__file__).parent

    def run(url, program):
        done = subprocess.run(
            [sys.executable, str(folder / program), str(tmp_path / "root")],
            env=environment(
                tmp_path,
                PREFECT_API_URL=url,
                VARDAX_DATASETS_DIR=str(tmp_path / "datasets"),
                PYTHONPATH=str(folder.parents[1]),
            ),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        store = ExperimentStore.open(tmp_path / "root" / "experiments" / "lorenz96" / "etkf")
        return done, store

    return run


def complete(store):
    analysis = store.dataset("analysis")
    steps = np.unique(np.diff(analysis["time"].values))
    return analysis.sizes["time"] == CYCLES and len(steps) == 1


def test_a_run_that_is_overtaken_ends_superseded(tmp_path, disturbed):
    with server(tmp_path) as url:
        done, store = disturbed(url, "rival_flow.py")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("superseded")
        with SyncPrefectClient(url) as client:
            ends = [run.state.message for run in client.read_flow_runs() if run.state]
    assert "superseded" in ends
    assert complete(store)


def kill_after_first_commit(root, killed):
    """Kill the server that this process has started, as soon as a store has cycles."""
    (process,) = (c for c in psutil.Process().children() if "server" in c.cmdline())
    path = root / "experiments" / "lorenz96" / "etkf"
    while not (LocalLocation(path).exists() and ExperimentStore.open(path).tip().cycles):
        time.sleep(0.1)
    process.kill()
    process.wait()
    killed.append(time.monotonic())


def test_a_run_whose_server_dies_ends_soon_and_its_cycles_are_there(tmp_path, disturbed):
    killed: list[float] = []
    with server(tmp_path) as url:
        arguments = (tmp_path / "root", killed)
        thread = threading.Thread(target=kill_after_first_commit, args=arguments, daemon=True)
        thread.start()
        done, store = disturbed(url, "slow_flow.py")
        thread.join(1.0)
    assert time.monotonic() - killed[0] < SOON
    assert "ConnectError" in done.stderr
    assert complete(store)
    with server(tmp_path) as url:
        done, store = disturbed(url, "slow_flow.py")
    assert done.stdout.strip() == "up to date", done.stderr
