"""The server and the workers of a service, kept running, and their runs kept honest."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console

from flows.postgres import Postgres
from flows.processes import Processes, ServiceFailedError, runs_at_work
from flows.service_api import Api
from flows.watchdog import LOOK, Watchdog, Worker, worker_name

SERVER = "server"
BROWSER = "browser"
DATABASE = "postgres"
START_UP = 180.0
"""Seconds until a server answers at the latest."""
ENDS = 3
"""How often the server may end within `ENDS_WITHIN`, before the service ends too."""
ENDS_WITHIN = 600.0
"""Seconds."""
FAREWELL = 5.0
"""Seconds that the server has to answer while the service stops."""
REPLACED = ("vardax-zombies", "vardax-stillborn")
"""Automations in the databases of former services, whose work the watchdog does."""


@dataclass(frozen=True)
class Pool:
    """A work pool and the workers of this machine that serve it.

    Attributes:
        runs: how many flow runs it takes at a time.
        workers: by their name, how many runs each takes at a time.
        variables: by the name of a worker, what it finds in its environment.
    """

    runs: int
    workers: Mapping[str, int]
    variables: Mapping[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Keeper:
    """What the service runs: a server, pools, deployments, workers.

    Attributes:
        api: the server.
        processes: what has been started.
        pools: the work pools by their names.
        root: the folder of the service.
        console: where it tells what it does.
    """

    api: Api
    processes: Processes
    pools: Mapping[str, Pool]
    root: Path
    console: Console
    _ends: list[float] = field(default_factory=list)
    _looked: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._watchdog = Watchdog(self.api, tuple(self.pools))

    def start_database(self, database: Postgres) -> None:
        """Start the database of the service's own, and wait for it.

        Raises:
            ServiceFailedError: it does not answer.
        """
        self.processes.start(DATABASE, database.command)
        database.wait()

    def start_server(self, host: str, port: int) -> None:
        """Start the server, wait for it, and end what former services have left on it.

        Raises:
            ServiceFailedError: it ends again and again, or does not answer.
        """
        command = ["flows.server", "server", "start", "--host", host, "--port", str(port)]
        self.processes.start(SERVER, command)
        self._wait_for_server()
        for automation in self.api.all("automations/filter", {}):
            if automation["name"] in REPLACED:
                self.api.request("DELETE", f"automations/{automation['id']}")
        self._look()

    def make_pools(self, template: Path) -> None:
        """Make the work pools, or bring them up to date.

        Arguments:
            template: file of their base job template.
        """
        job = json.loads(template.read_text())
        for name, pool in self.pools.items():
            settings = {"base_job_template": job, "concurrency_limit": pool.runs}
            try:
                self.api.post("work_pools/", {"name": name, "type": "process", **settings})
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.CONFLICT:
                    raise
                self.api.request("PATCH", f"work_pools/{name}", settings)

    def start_workers(self) -> None:
        """Start the workers of all pools."""
        for pool, made in self.pools.items():
            for name, limit in made.workers.items():
                command = ["prefect", "worker", "start", "--type", "process", "--pool", pool]
                command += ["--name", worker_name(name), "--limit", str(limit)]
                more = made.variables.get(name, {})
                self.processes.start(f"worker-{name}", command, **more)

    def start_browser(self, command: Sequence[str]) -> None:
        """Start the browser of analyses.

        Arguments:
            command: its module and arguments.
        """
        self.processes.start(BROWSER, list(command))

    def keep(self) -> None:
        """Start again what has ended, and now and then look for runs without a process.

        Raises:
            ServiceFailedError: the server ends again and again.
            httpx.HTTPError: the server does not answer.
        """
        if SERVER in self.processes.ended():
            self._wait_for_server()
            self._looked = -LOOK
        for name in self.processes.ended():
            if name != SERVER:
                self.processes.again(name)
                self._warn(f"{name} had ended; started again")
        if time.monotonic() - self._looked > LOOK:
            self._look()

    def stop(self) -> None:
        """Stop the workers and their runs, tell the server how those ended, then stop it.

        A worker ignores being asked to stop while the server is gone.
        """
        runs = [pid for pids in runs_at_work(self.root).values() for pid in pids]
        names = [f"worker-{name}" for pool in self.pools.values() for name in pool.workers]
        self.processes.stop([*names, BROWSER], runs)
        if SERVER in self.processes.since():
            self._watchdog.api = dataclasses.replace(self.api, seconds=FAREWELL)
            with contextlib.suppress(httpx.HTTPError):
                self._look()
        self.processes.stop([SERVER])
        self.processes.stop([DATABASE])

    def _wait_for_server(self) -> None:
        """Wait until the server answers, and start it again if it has ended."""
        deadline = time.monotonic() + START_UP
        while True:
            if SERVER in self.processes.ended():
                now = time.monotonic()
                self._ends = [end for end in self._ends if now - end < ENDS_WITHIN] + [now]
                code = self.processes.code(SERVER)
                if len(self._ends) >= ENDS:
                    raise ServiceFailedError(
                        f"The server ended {ENDS} times within {ENDS_WITHIN / 60:g} minutes, at "
                        f"last with code {code}; its last lines:\n{self.processes.said(SERVER)}"
                    )
                self._warn(f"the server had ended with code {code}; started again")
                self.processes.again(SERVER)
                deadline = now + START_UP
            elif self.api.healthy():
                return
            elif time.monotonic() > deadline:
                raise ServiceFailedError(
                    f"The server did not answer within {START_UP:g} s; its last lines:\n"
                    f"{self.processes.said(SERVER)}"
                )
            time.sleep(0.3)

    def _look(self) -> None:
        self._looked = time.monotonic()
        for line in self._watchdog.look(self._workers(), datetime.now(UTC)):
            self._warn(line)

    def _workers(self) -> Sequence[Worker]:
        since = self.processes.since()
        return [
            Worker(worker_name(name), pool, since[f"worker-{name}"])
            for pool, made in self.pools.items()
            for name in made.workers
            if f"worker-{name}" in since
        ]

    def _warn(self, line: str) -> None:
        self.console.print("[bold yellow]warning[/]: ", end="")
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
