"""A worker and its flow run that are killed together: the run is cleared, the store goes on."""

import os
import re
import signal
import subprocess
import sys

import httpx
import numpy as np
import pytest

from flows.serve import _children
from tests.flows.test_server import free_port, wait_for
from vardax_core.store import ExperimentStore, StoreNotFoundError

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0
CLEARED = 180.0
"""Seconds after which a run without a process is marked at the latest."""


@pytest.fixture
def service(tmp_path):
    """`vardax serve` with the demonstration: its log and its address."""
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)]
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--root", str(tmp_path)],
            env=kept,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def said() -> str:
        text = (tmp_path / "serve.log").read_text()
        assert process.poll() is None, text
        return text

    try:
        wait_for(lambda: "stop:    Ctrl-C" in said(), seconds=PATIENCE, what="the service")
        yield said, f"http://127.0.0.1:{port}/api"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(150)
        finally:
            process.kill()


def runs(url, *states):
    wanted = {
        "flows": {"name": {"any_": ["assimilate"]}},
        "flow_runs": {"state": {"type": {"any_": list(states)}}},
    }
    answer = httpx.post(f"{url}/flow_runs/filter", json=wanted, timeout=60)
    answer.raise_for_status()
    return {run["id"]: run for run in answer.json()}


def committed(root):
    try:
        store = ExperimentStore.open(root / "experiments" / "lorenz96" / "etkf")
    except StoreNotFoundError:
        return 0
    return store.tip().cycles


def test_a_run_that_died_with_its_worker_is_cleared_and_the_store_goes_on(tmp_path, service):
    said, url = service
    wait_for(lambda: committed(tmp_path) >= 1, seconds=PATIENCE, what="the first cycle")
    worker = int(re.findall(r"started worker-cpu \(process (\d+)\)", said())[-1])

    def victims():
        found = runs(url, "RUNNING")
        engines = _children(worker)
        return (next(iter(found)), engines) if found and engines else None

    run, engines = wait_for(victims, seconds=PATIENCE, what="a run at work")
    before = committed(tmp_path)
    for process in (worker, *engines):  # the worker first, so that it tells nobody
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: run in runs(url, "CRASHED"), seconds=CLEARED, what="the end of the zombie")
    assert "worker-cpu had ended; started again" in said()
    wait_for(lambda: committed(tmp_path) >= before + 2, seconds=PATIENCE, what="new cycles")
    store = ExperimentStore.open(tmp_path / "experiments" / "lorenz96" / "etkf")
    times = store.dataset("analysis")["time"].to_numpy()
    assert (np.diff(times) == np.timedelta64(6, "h")).all()
    # No other run, healthy or waiting, was taken for dead.
    assert len(runs(url, "CRASHED")) <= len(engines)
