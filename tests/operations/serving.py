"""`vardax serve` with the demonstration as a user starts it, in a process of its own."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from flows.processes import HOME, end, left_behind, runs_at_work
from flows.service_api import Api
from flows.watchdog import ACTIVE
from tests.flows.test_server import free_port, wait_for
from vardax_core.store import ExperimentStore, StoreNotFoundError

PATIENCE = 600.0
"""Seconds for anything that a service does; it takes some twenty on two quiet cores."""


def signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


class Serve:
    """`vardax serve` with the demonstration, which can be started again."""

    def __init__(self, root: Path, *options: str):
        self.root = root
        self.options = options
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}/api")
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
                [*command, "--root", str(self.root), *self.options],
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

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Stop it; how many seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(150)
            except subprocess.TimeoutExpired:
                self.process.kill()
                end(self.left_running())
                raise
        return time.monotonic() - began

    def said(self) -> str:
        return self.log.read_text()

    def pid(self, name: str) -> int:
        """The process of a part of the service, as last started."""
        return int(re.findall(rf"started {name} \(process (\d+)\)", self.said())[-1])

    def runs(self, *types: str) -> dict[str, dict]:
        """Runs in states of these types, by their identifiers."""
        wanted = {"flow_runs": {"state": {"type": {"any_": list(types)}}}}
        return {run["id"]: run for run in self.api.all("flow_runs/filter", wanted)}

    def state(self, run: str) -> str:
        return self.api.request("GET", f"flow_runs/{run}")["state"]["type"]

    def submit(self, name: str, **parameters: object) -> str:
        """Start a deployment with its own parameters and these; the identifier of the run."""
        deployment = self.api.request("GET", f"deployments/name/{name}")
        given = {"parameters": deployment["parameters"] | parameters}
        return self.api.post(f"deployments/{deployment['id']}/create_flow_run", given)["id"]

    def starting(self) -> str:
        """A run that a worker has taken and that has not begun."""
        return wait_for(
            lambda: next(iter(self.runs("PENDING")), None),
            seconds=PATIENCE,
            what="a run that starts",
        )

    def left_in_database(self) -> list[tuple[str, str]]:
        """Names and states of the runs that a stopped service has left at work."""
        with contextlib.closing(sqlite3.connect(self.root / "prefect" / "prefect.db")) as database:
            marks = ", ".join("?" * len(ACTIVE))
            select = f"select name, state_name from flow_run where state_type in ({marks})"
            return database.execute(select, ACTIVE).fetchall()

    def engines(self) -> list[int]:
        """The processes of flow runs."""
        return [pid for pids in runs_at_work(self.root).values() for pid in pids]

    def left_running(self) -> list[int]:
        """Processes that a stopped service has left."""
        return [*left_behind(self.root), *self.engines()]

    def victim(self) -> tuple[str, list[int]]:
        """A run at work, and all processes of runs, which stand still."""

        def look():
            if not self.runs("RUNNING"):
                return None
            engines = self.engines()
            signal_all(engines, signal.SIGSTOP)
            time.sleep(1.0)  # what it has told the server by then is known there
            found = runs_at_work(self.root).keys() & self.runs("RUNNING")
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
        """The demonstration's, the only one."""
        for path in (self.root / "experiments").glob("*/*/"):
            if path.name != "observations":
                return ExperimentStore.open(path)
        raise StoreNotFoundError(self.root / "experiments")

    def goes_on(self, before: int) -> None:
        """Wait for more cycles, and see that none is missing or double."""
        wait_for(lambda: self.committed() >= before + 2, seconds=PATIENCE, what="new cycles")
        times = self.store().dataset("analysis")["time"].to_numpy()
        assert (np.diff(times) == np.timedelta64(6, "h")).all()
