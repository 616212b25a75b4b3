"""End flow runs that have no process: they hold places in pools and of deployments for ever."""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.environment import AUTH_VARIABLE
from flows.processes import runs_at_work, send
from flows.service_api import Api

ACTIVE = ["PENDING", "RUNNING", "CANCELLING"]
"""Types of state in which a run holds a place."""
BEGUN = timedelta(seconds=15)
"""How long a run that had a process may be without: its worker reports how it ended."""
BEGINNING = timedelta(seconds=150)
"""How long a worker may take to start the process of a run that it has taken."""
CANCELLING = timedelta(seconds=30)
"""How long a worker may take to end the process of a run that is cancelled."""
SILENCE = timedelta(minutes=10)
"""How long nothing may be heard of a run elsewhere; Prefect sends a heartbeat every three."""
FETCHING = timedelta(hours=1)
"""How long a worker elsewhere may take to start a run: it may have an image to load."""
LOOK = 10.0
"""Seconds between two looks."""
WORKER_LABEL = "prefect.worker.name"
GONE = "Its process is gone. The next run goes on from the store."


@dataclass(frozen=True)
class Worker:
    """A worker of this machine.

    Attributes:
        name: its name, see `worker_name`.
        pool: the work pool that it serves.
        since: when it was started.
    """

    name: str
    pool: str
    since: datetime


def worker_name(name: str) -> str:
    """A name that no worker of another machine has."""
    return f"{name}@{socket.gethostname()}"


def _is_here(worker: str) -> bool:
    return worker == worker_name(worker.partition("@")[0])


@dataclass
class Watchdog:
    """Looks for runs without a process, and for places that nobody holds.

    A run that a worker of this machine has taken has a process if the table of processes has one
    with the run in its environment. Runs of other workers, or of none, are known by what is heard
    of them: changes of state, and heartbeats.

    Attributes:
        api: the server.
        pools: pools whose runs are of this machine, unless a worker elsewhere serves them too.
    """

    api: Api
    pools: Sequence[str]
    _missing: dict[str, datetime] = field(default_factory=dict)
    _unheld: dict[str, datetime] = field(default_factory=dict)

    def look(self, workers: Sequence[Worker], now: datetime) -> list[str]:
        """End the runs that have no process, and free the places that nobody holds.

        Arguments:
            workers: those of this machine that are at work.
            now: this instant.

        Returns:
            A line for each run that was ended and each place that was freed.

        Raises:
            httpx.HTTPError: the server does not answer.
        """
        runs = self.api.all("flow_runs/filter", _with_state(ACTIVE))
        # The table is read after the states: a process that has ended by then has told its end.
        processes = runs_at_work()
        states = {run["state"]["id"] for run in runs}
        self._missing = {state: at for state, at in self._missing.items() if state in states}
        told = []
        for run in runs:
            pids = processes.get(run["id"], [])
            if pids:
                _see_to_cancelling(run, pids, now)
            elif self._is_gone(run, workers, now) and self._end(run):
                told.append(f"{run['name']} was {run['state']['name']} and has no process; ended")
        return told + self._free(now)

    def _is_gone(self, run: dict[str, Any], workers: Sequence[Worker], now: datetime) -> bool:
        name, pool = run["labels"].get(WORKER_LABEL), run["work_pool_name"]
        if run["parent_task_run_id"] and not run["deployment_id"]:
            return self._parent_ended(run) or self._is_silent(run, now)
        if name is not None and _is_here(name):
            return self._has_ended(run, [w for w in workers if w.name == name], now)
        if name is None and pool in self.pools and not self._elsewhere(pool):
            return self._has_ended(run, [w for w in workers if w.pool == pool], now)
        return self._is_silent(run, now)

    def _has_ended(self, run: dict[str, Any], takers: Sequence[Worker], now: datetime) -> bool:
        """Whether a run of this machine without a process will have none.

        Arguments:
            run: the run.
            takers: the workers that can have taken it.
            now: this instant.
        """
        changed = _instant(run["state"]["timestamp"])
        if all(changed < worker.since for worker in takers):
            return True
        missing = now - self._missing.setdefault(run["state"]["id"], now)
        return missing > (BEGINNING if run["state"]["type"] == "PENDING" else BEGUN)

    def _is_silent(self, run: dict[str, Any], now: datetime) -> bool:
        """Whether nothing has been heard for long of a run that is not of this machine."""
        quiet = now - _instant(run["state"]["timestamp"])
        if quiet < SILENCE:
            return False
        name, pool = run["labels"].get(WORKER_LABEL), run["work_pool_name"]
        at_work = pool is not None and name in self._elsewhere(pool)
        if run["state"]["type"] != "RUNNING":
            return not at_work or quiet > FETCHING
        heartbeats = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
            "order": "DESC",
        }
        found = self.api.post("events/filter", {"filter": heartbeats, "limit": 1})["events"]
        if not found:  # it may be one that sends none
            return name is not None and not at_work
        return now - _instant(found[0]["occurred"]) > SILENCE

    def _elsewhere(self, pool: str) -> set[str]:
        """Workers of a pool that are online and not on this machine."""
        found = self.api.all(f"work_pools/{pool}/workers/filter", {})
        online = {worker["name"] for worker in found if worker["status"] == "ONLINE"}
        return {name for name in online if not _is_here(name)}

    def _parent_ended(self, run: dict[str, Any]) -> bool:
        """Whether a run has ended of which another is a part, in the same process."""
        try:
            task = self.api.request("GET", f"task_runs/{run['parent_task_run_id']}")
            parent = self.api.request("GET", f"flow_runs/{task['flow_run_id']}")
        except httpx.HTTPStatusError:  # the task is not written down yet
            return False
        return parent["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def _end(self, run: dict[str, Any]) -> bool:
        """End a run, unless its state has changed meanwhile."""
        state = self.api.request("GET", f"flow_runs/{run['id']}")["state"]
        if state["id"] != run["state"]["id"]:
            return False
        end = "CANCELLED" if state["type"] == "CANCELLING" else "CRASHED"
        ended = {"type": end, "name": end.capitalize(), "message": GONE}
        self.api.post(f"flow_runs/{run['id']}/set_state", {"state": ended, "force": True})
        return True

    def _free(self, now: datetime) -> list[str]:
        """Give back places of deployments that are counted and that no run holds."""
        told, unheld = [], {}
        for limit in self.api.all("v2/concurrency_limits/filter", {}):
            kind, _, deployment = limit["name"].partition(":")
            if kind != "deployment" or limit["active_slots"] < max(1, limit["limit"]):
                continue
            wanted = _with_state(ACTIVE) | {"deployments": {"id": {"any_": [deployment]}}}
            holders = len(self.api.all("flow_runs/filter", wanted))
            if holders >= limit["active_slots"]:
                continue
            unheld[deployment] = self._unheld.get(deployment, now)
            if now - unheld[deployment] > BEGUN:
                path = f"v2/concurrency_limits/{limit['id']}"
                self.api.request("PATCH", path, {"active_slots": holders})
                told.append(f"a place of deployment {deployment} was held by no run; freed")
        self._unheld = unheld
        return told


def _with_state(types: list[str]) -> dict[str, Any]:
    return {"flow_runs": {"state": {"type": {"any_": types}}}}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _see_to_cancelling(run: dict[str, Any], pids: list[int], now: datetime) -> None:
    """End the processes of a cancelled run whose worker does not."""
    waited = now - _instant(run["state"]["timestamp"])
    if run["state"]["type"] == "CANCELLING" and waited > CANCELLING:
        for pid in pids:
            send(pid, signal.SIGTERM if waited < 2 * CANCELLING else signal.SIGKILL)


def main() -> None:
    """Look for ever, on the server of `PREFECT_API_URL`, with workers that others have started."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        print("PREFECT_API_URL: expected the address of a server, got none.", file=sys.stderr)
        sys.exit(2)
    watchdog = Watchdog(Api(url, os.environ.get(AUTH_VARIABLE, "")), ())
    while True:
        try:
            for line in watchdog.look((), datetime.now(UTC)):
                print(line, flush=True)
        except httpx.HTTPError as error:
            print(f"the server does not answer: {error!r}", flush=True)
        time.sleep(LOOK)


if __name__ == "__main__":
    main()
