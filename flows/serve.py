"""The service on one machine: server, work pools, deployments and workers, started and stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from flows.environment import ALWAYS, AUTH_VARIABLE, ROOT_VARIABLE, WEBHOOK_VARIABLE

HOME = Path(__file__).resolve().parents[1]
DEPLOYMENTS = HOME / "deployments"
CPU_POOLS = ("cpu", "streams")
"""A backfill in the first waits for runs in the second, and takes none of their places."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEARTBEAT = 30
"""Seconds between two heartbeats of a flow run; the zombie automation waits for three."""
GRACE = 30.0
"""Seconds that a worker has to end before it is killed."""


class ServiceError(ValueError):
    """The service cannot start or go on."""


@dataclass
class Service:
    """What runs, and with which settings.

    Attributes:
        root: folder of models, stores, reports, logs, and of the server's database.
        host, port: where the server listens.
        database: address of a Postgres database; SQLite in the root if empty.
        cpu_workers: how many flow runs each CPU pool takes at a time.
        console: where it tells what it does.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 4200
    database: str = ""
    cpu_workers: int = 2
    console: Console = field(default_factory=Console)

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://{self.host}:{self.port}/api"

    @property
    def logs(self) -> Path:
        """Folder of the log files."""
        return self.root / "logs"

    def environment(self) -> dict[str, str]:
        """Of the server, of the workers and of the flows."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        settings = {
            **ALWAYS,
            ROOT_VARIABLE: str(self.root),
            "VARDAX_HOME": str(HOME),
            "PREFECT_HOME": str(self.root / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        }
        if self.database:
            settings["PREFECT_API_DATABASE_CONNECTION_URL"] = self.database
        secret = os.environ.get(AUTH_VARIABLE, "")
        if secret:
            settings["PREFECT_SERVER_API_AUTH_STRING"] = secret
            settings["PREFECT_API_AUTH_STRING"] = secret
        return {**kept, **settings}

    def check(self) -> None:
        """Refuse what cannot work, warn of what is not safe.

        Raises:
            ServiceError: if the port is taken or the password has no user.
        """
        secret = os.environ.get(AUTH_VARIABLE, "")
        if secret and ":" not in secret:
            raise ServiceError(f"{AUTH_VARIABLE}: expected user:password, got no colon.")
        if self.host not in LOOPBACK and not secret:
            self.console.print(
                f"[bold yellow]warning[/]: {self.host} can be reached from outside this machine "
                f"and nothing asks for a password; set {AUTH_VARIABLE}=user:password."
            )
        try:
            taken = httpx.get(f"{self.url}/health", timeout=2)
        except httpx.TransportError:
            return
        raise ServiceError(
            f"Port {self.port} of {self.host} answers already (status {taken.status_code}); stop "
            "what listens there, or choose another with --port."
        )

    @contextmanager
    def running(self) -> Iterator["Processes"]:
        """Start everything, and stop it in the right order: workers first, the server last."""
        self.check()
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.root / "prefect").mkdir(parents=True, exist_ok=True)
        processes = Processes(self.logs, self.environment(), self.console)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            self._start(processes)
            yield processes
        finally:
            processes.stop()
            signal.signal(signal.SIGTERM, before)

    def _start(self, processes: "Processes") -> None:
        server = ["server", "start", "--host", self.host, "--port", str(self.port)]
        processes.start("server", server)
        self._wait_for_server(processes)
        devices = gpus()
        pools = dict.fromkeys(CPU_POOLS, self.cpu_workers) | {"gpu": max(1, len(devices))}
        for pool, limit in pools.items():
            create = ["work-pool", "create", pool, "--type", "process", "--overwrite"]
            create += ["--base-job-template", str(DEPLOYMENTS / "pools" / "process.json")]
            processes.run("work pool " + pool, create)
            processes.run(
                "limit of " + pool, ["work-pool", "set-concurrency-limit", pool, str(limit)]
            )
        file = DEPLOYMENTS / "prefect.yaml"
        deploy = ["--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        processes.run("deployments", deploy)
        for automation in ("zombies.yaml", "stillborn.yaml"):
            self._automation(processes, DEPLOYMENTS / automation)
        if os.environ.get(WEBHOOK_VARIABLE):
            processes.run("webhook of alerts", [], module="flows.notify")
        worker = ["worker", "start", "--type", "process"]
        for pool in CPU_POOLS:
            named = ["--pool", pool, "--name", pool, "--limit", str(self.cpu_workers)]
            processes.start(f"worker-{pool}", [*worker, *named])
        for device in devices:
            name = f"gpu-{device}"
            processes.start(
                f"worker-{name}",
                [*worker, "--pool", "gpu", "--name", name, "--limit", "1"],
                CUDA_VISIBLE_DEVICES=device,
            )

    def _automation(self, processes: "Processes", file: Path) -> None:
        from vardax_core.data.yamlfile import read_yaml

        name = read_yaml(file.read_text())["name"]
        known = self.post("automations/filter", {})
        if name not in {automation["name"] for automation in known}:
            processes.run("automation " + name, ["automation", "create", "--from-file", str(file)])

    def _wait_for_server(self, processes: "Processes", seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            processes.check("server")
            try:
                if httpx.get(f"{self.url}/health", timeout=5, auth=self._auth()).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        raise ServiceError(
            f"The server did not answer within {seconds:g} s; see {self.logs / 'server.log'}."
        )

    def post(self, path: str, body: dict) -> list[dict]:
        """What the API answers to a filter."""
        answer = httpx.post(f"{self.url}/{path}", json=body, timeout=30, auth=self._auth())
        answer.raise_for_status()
        return answer.json()

    def _auth(self) -> tuple[str, str] | None:
        user, colon, password = os.environ.get(AUTH_VARIABLE, "").partition(":")
        return (user, password) if colon else None

    def describe(self) -> Table:
        """What is served, at a glance."""
        table = Table(title="vardax serve", box=None)
        for heading in ("deployment", "pool", "schedule", "what it does"):
            table.add_column(heading, no_wrap=heading != "what it does")
        flows = {flow["id"]: flow["name"] for flow in self.post("flows/filter", {})}
        for made in self.post("deployments/filter", {"sort": "NAME_ASC"}):
            schedules = [
                s["schedule"].get("cron", "") + ("" if s["active"] else " (off)")
                for s in made["schedules"]
            ]
            name = f"{flows[made['flow_id']]}/{made['name']}"
            text = (made["description"] or "").split(". ")[0]
            table.add_row(name, made["work_pool_name"], ", ".join(schedules) or "by hand", text)
        return table

    def ended_runs(self, after: str) -> list[dict]:
        """Flow runs that ended after an instant (ISO 8601), the oldest first."""
        wanted = {
            "flow_runs": {
                "end_time": {"after_": after},
                "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}},
            },
            "sort": "END_TIME_DESC",
            "limit": 50,
        }
        return list(reversed(self.post("flow_runs/filter", wanted)))


class Processes:
    """The children of the service, each with a log file, in sessions of their own.

    A terminal's Ctrl-C reaches the service alone, which then stops them in order.
    """

    def __init__(self, logs: Path, environment: dict[str, str], console: Console):
        self._logs = logs
        self._environment = environment
        self._console = console
        self._running: dict[str, tuple[subprocess.Popen, list[str], dict[str, str]]] = {}

    def start(self, name: str, arguments: list[str], **more: str) -> None:
        """Start `prefect` with these arguments and keep it running."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                cwd=HOME,
                env={**self._environment, **more},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._running[name] = (process, arguments, more)
        self._console.print(f"started {name} (process {process.pid})", style="dim")

    def run(self, what: str, arguments: list[str], module: str = "prefect") -> None:
        """Run a module, `prefect` unless it says another, with these arguments to its end.

        Raises:
            ServiceError: if it fails, with the last lines of what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=HOME,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        with (self._logs / "setup.log").open("a") as log:
            log.write(f"== {what}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise ServiceError(f"{what}: {module} {' '.join(arguments[:1])} failed:\n{tail}")

    def check(self, name: str) -> None:
        """Raise if a process that everything depends on has ended."""
        process = self._running[name][0]
        if process.poll() is not None:
            tail = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
            raise ServiceError(
                f"The {name} ended with code {process.returncode}; its last lines:\n"
                + "\n".join(tail)
            )

    def revive(self) -> list[str]:
        """Start workers that have ended again; their names."""
        ended = [
            name
            for name, (process, _, _) in self._running.items()
            if name != "server" and process.poll() is not None
        ]
        for name in ended:
            _, arguments, more = self._running[name]
            self.start(name, arguments, **more)
        return ended

    def stop(self) -> None:
        """Stop the workers, wait for them and for the flow runs that they started, then the server:
        a worker ignores being asked to stop while the server is gone, and a run outlives it."""
        names = [name for name in self._running if name != "server"]
        runs = [run for name in names for run in _children(self._running[name][0].pid)]
        for group in (names, ["server"] if "server" in self._running else []):
            if group != names:
                self._wait_for_runs(runs)
            for name in group:
                _signal(self._running[name][0], signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            for name in group:
                process = self._running[name][0]
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    _signal(process, signal.SIGKILL)
                    process.wait()
                self._console.print(f"stopped {name}", style="dim")
        self._running.clear()

    def _wait_for_runs(self, runs: list[int]) -> None:
        """Give flow runs time to end, then end them; the store has what they committed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + GRACE
            while any(map(_alive, runs)) and time.monotonic() < deadline:
                time.sleep(0.2)
            for run in filter(_alive, runs):
                os.kill(run, number)
                self._console.print(f"ended a flow run (process {run})", style="dim")


def _children(pid: int) -> list[int]:
    """Processes that a process has started, where the system lists them under /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def watch(service: Service, processes: Processes) -> None:
    """Say what is served and how every run ends, until Ctrl-C or SIGTERM.

    Raises:
        ServiceError: if the server ends by itself.
    """
    try:
        service.console.print(service.describe())
        service.console.print(f"browse:  http://{service.host}:{service.port}")
        service.console.print(f"root:    {service.root}", soft_wrap=True)
        service.console.print(f"logs:    {service.logs}", soft_wrap=True)
        service.console.print("stop:    Ctrl-C")
        seen, after = set(), datetime.now(UTC) - timedelta(seconds=5)
        while True:
            time.sleep(2.0)
            processes.check("server")
            for name in processes.revive():
                service.console.print(f"[bold yellow]warning[/]: {name} had ended; started again")
            try:
                ended = service.ended_runs(after.isoformat())
            except httpx.HTTPError as error:
                service.console.print(f"the server does not answer: {type(error).__name__}")
                continue
            for run in ended:
                if run["id"] not in seen:
                    seen.add(run["id"])
                    _tell(service.console, run)
    except KeyboardInterrupt:
        service.console.print("stopping: workers first, then the server")


def _tell(console: Console, run: dict) -> None:
    state = run["state"]
    colour = "green" if state["type"] == "COMPLETED" else "red"
    when = run["end_time"][11:19]
    message = (state.get("message") or "").splitlines()
    console.print(
        f"{when} [{colour}]{state['name'].lower()}[/] {run['name']}: ", end="", highlight=False
    )
    console.print(message[0] if message else "", markup=False, highlight=False, soft_wrap=True)


def gpus() -> list[str]:
    """Indices of the GPUs of this machine, none without its driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []
