"""Workers, flow runs and servers that are killed: runs are cleared, the store goes on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from flows.serve import HEARTBEAT, HOME, _children
from tests.flows.test_server import free_port, wait_for
from vardax_core.store import ExperimentStore, StoreNotFoundError

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0
CLEARED = 180.0
"""Seconds after which a run without a process is marked at the latest."""
HEALTHY = 300.0
"""Seconds of a run that nobody kills: more than three heartbeats, and than a run has to begin."""


def signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


class Serve:
    """`vardax serve` with the demonstration, which can be started again."""

    def __init__(self, root: Path):
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.log = root / "serve.log"
        self.process: subprocess.Popen | None = None

    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}

    def start(self) -> None:
        """Start it and wait until it serves."""
        before = self.log.read_text() if self.log.exists() else ""
        command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(self.port)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--root", str(self.root)],
                env=self.environment(),
                cwd=HOME,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def serves() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            return "stop:    Ctrl-C" in self.said()[len(before) :]

        wait_for(serves, seconds=PATIENCE, what="the service")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(150)
            finally:
                self.process.kill()

    def said(self) -> str:
        return self.log.read_text()

    def pid(self, name: str) -> int:
        """The process of a part of the service, as last started."""
        return int(re.findall(rf"started {name} \(process (\d+)\)", self.said())[-1])

    def runs(self, *states: str) -> dict[str, dict]:
        wanted = {
            "flows": {"name": {"any_": ["assimilate"]}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
        }
        answer = httpx.post(f"{self.url}/flow_runs/filter", json=wanted, timeout=60)
        answer.raise_for_status()
        return {run["id"]: run for run in answer.json()}

    def state(self, run: str) -> str:
        answer = httpx.get(f"{self.url}/flow_runs/{run}", timeout=60)
        answer.raise_for_status()
        return answer.json()["state"]["type"]

    def victim(self) -> tuple[str, list[int]]:
        """A run at work, and all processes that the worker has started, which stand still."""

        def look():
            if not self.runs("RUNNING"):
                return None
            engines = _children(self.pid("worker-cpu"))
            signal_all(engines, signal.SIGSTOP)
            time.sleep(1.0)  # what it has told the server by then is known there
            found = self.runs("RUNNING")
            if found and engines:
                return next(iter(found)), engines
            signal_all(engines, signal.SIGCONT)
            return None

        return wait_for(look, seconds=PATIENCE, what="a run at work")

    def committed(self) -> int:
        try:
            return self.store().tip().cycles
        except StoreNotFoundError:
            return 0

    def store(self) -> ExperimentStore:
        return ExperimentStore.open(self.root / "experiments" / "demonstration" / "etkf")

    def goes_on(self, before: int) -> None:
        """Wait for more cycles, and see that none is missing or double."""
        wait_for(lambda: self.committed() >= before + 2, seconds=PATIENCE, what="new cycles")
        times = self.store().dataset("analysis")["time"].to_numpy()
        assert (np.diff(times) == np.timedelta64(6, "h")).all()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = Serve(tmp_path_factory.mktemp("service"))
    try:
        made.start()
        wait_for(lambda: made.committed() >= 1, seconds=PATIENCE, what="the first cycle")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def patient(service):
    """A run that is healthy all the time, beside those that are killed: its identifier."""
    settings = {
        "PREFECT_API_URL": service.url,
        "PREFECT_HOME": str(service.root / "patient"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.operations.patient_flow", str(HEALTHY)],
        env=service.environment() | settings,
        cwd=HOME,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    yield run, process
    process.kill()


@pytest.mark.usefixtures("patient")
def test_a_run_that_died_with_its_worker_is_cleared_and_the_store_goes_on(service):
    run, engines = service.victim()
    before = service.committed()
    worker = service.pid("worker-cpu")
    signal_all([worker, *engines], signal.SIGKILL)  # the worker first, so that it tells nobody
    wait_for(lambda: service.state(run) == "CRASHED", seconds=CLEARED, what="the zombie's end")
    assert "worker-cpu had ended; started again" in service.said()
    assert service.pid("worker-cpu") != worker
    service.goes_on(before)


def test_a_run_that_died_alone_is_cleared_at_once_by_its_worker(service):
    run, engines = service.victim()
    before = service.committed()
    signal_all(engines, signal.SIGKILL)
    wait_for(lambda: service.state(run) == "CRASHED", seconds=60.0, what="the run's end")
    service.goes_on(before)


def test_a_run_whose_worker_died_ends_by_itself(service):
    run, engines = service.victim()
    before = service.committed()
    os.kill(service.pid("worker-cpu"), signal.SIGKILL)
    signal_all(engines, signal.SIGCONT)
    wait_for(lambda: service.state(run) == "COMPLETED", seconds=CLEARED, what="the run's end")
    service.goes_on(before)


def test_a_healthy_run_of_minutes_is_never_marked(service, patient):
    run, process = patient
    # The two automations look some seconds after the time that they give.
    assert process.wait(HEALTHY + PATIENCE) == 0
    assert service.state(run) == "COMPLETED"


def test_a_server_that_died_is_started_again_and_the_store_goes_on(service):
    run, engines = service.victim()
    before = service.committed()
    os.kill(service.pid("server"), signal.SIGKILL)
    signal_all(engines, signal.SIGCONT)
    service.process.wait(PATIENCE)  # it stops what is left, in order, and says why
    assert service.process.returncode == 2, service.said()
    assert "The server ended with code -9" in " ".join(service.said().split())
    service.start()
    wait_for(
        lambda: service.state(run) in ("CRASHED", "COMPLETED"),
        seconds=CLEARED,
        what="the zombie's end",
    )
    service.goes_on(before)
