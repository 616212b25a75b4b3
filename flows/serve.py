"""The service on one machine: server, work pools, deployments and workers, started and stopped."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from rich.table import Table

from flows.environment import (
    ALWAYS,
    AUTH_VARIABLE,
    ROOT_VARIABLE,
    SERVICE_VARIABLE,
    WEBHOOK_VARIABLE,
)
from flows.forms import bring_up_to_date
from flows.keeper import Keeper, Pool
from flows.links import BROWSER_VARIABLE
from flows.postgres import LOCAL, Postgres
from flows.processes import HOME, Processes, ServiceError, ServiceFailedError, end, left_behind
from flows.root_lock import root_lock
from flows.service_api import Api
from flows.start_page import start_page
from flows.terminal import show
from vardax_core.data import RecipeError
from vardax_core.data.catalogue import VARIABLE as DATASETS_VARIABLE
from vardax_core.data.catalogue import list_recipes, own_folders

DEPLOYMENTS = HOME / "deployments"
CPU_POOLS = ("cpu", "streams")
"""A backfill in the first waits for runs in the second, and takes none of their places."""
CONTROL = "control"
"""Pool of what must not wait behind other runs."""
CONTROL_RUNS = 4
"""Flow runs at a time of that pool; they are short."""
CONTROL_QUERY = 3
"""Seconds between two looks of its worker for runs."""
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
STOPS = (signal.SIGINT, signal.SIGTERM)
POSTGRES = ("postgres", "postgresql")
"""Schemes in which addresses of databases are usually given."""
DRIVEN = "postgresql+asyncpg"
"""The scheme that Prefect wants, which names the driver."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class Service:
    """What runs, and with which settings.

    Attributes:
        root: folder of models, stores, reports, logs, and of the server's database.
        host, port: where the server listens.
        database: address of a Postgres database, postgresql://user:password@host/name, or
            `local` for one of the service's own; SQLite in the root if empty.
        cpu_workers: how many flow runs each CPU pool takes at a time.
        browse_port: where the browser of analyses listens, on this machine alone; None for the
            port after the server's.
        datasets: names that the forms offer.
        console: where it tells what it does.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 4200
    database: str = ""
    cpu_workers: int = 2
    browse_port: int | None = None
    datasets: tuple[str, ...] = ()
    console: Console = field(default_factory=Console)

    def refresh_forms(self) -> None:
        """Bring the forms up to date where a recipe has come or gone.

        Raises:
            httpx.HTTPError: the server does not answer.
        """
        try:
            there = tuple(list_recipes())
        except RecipeError:  # every run says so
            return
        if there != self.datasets:
            self.datasets = bring_up_to_date(self.api)

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://{self.host}:{self.port}/api"

    @property
    def browser(self) -> str | None:
        """Address of the browser of analyses; None where its library is not installed."""
        if importlib.util.find_spec("panel") is None:
            return None
        return f"http://127.0.0.1:{self.browse_port or self.port + 1}"

    @cached_property
    def own_database(self) -> Postgres | None:
        """The database that is started and stopped with the service, None where there is none."""
        return Postgres(self.root / "postgres") if self.database == LOCAL else None

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
            DATASETS_VARIABLE: os.pathsep.join(str(folder.absolute()) for folder in own_folders()),
            "VARDAX_HOME": str(HOME),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HOME), kept.get("PYTHONPATH")))),
            "PREFECT_HOME": str(self.root / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true",
            SERVICE_VARIABLE: str(self.root),
            BROWSER_VARIABLE: self.browser or "",
            # In memory, a server that is started again would end the runs at work: their leases
            # are lost.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        }
        if self.database:
            address = self.database if self.own_database is None else self.own_database.address
            scheme, _, place = address.partition("://")
            driven = DRIVEN if scheme in POSTGRES else scheme
            settings["PREFECT_API_DATABASE_CONNECTION_URL"] = f"{driven}://{place}"
        secret = os.environ.get(AUTH_VARIABLE, "")
        if secret:
            settings["PREFECT_SERVER_API_AUTH_STRING"] = secret
            settings["PREFECT_API_AUTH_STRING"] = secret
        return {**kept, **settings}

    def check(self) -> None:
        """Refuse what cannot work, warn of what is not safe.

        Raises:
            ServiceError: the port is taken, the password has no user, the webhook is no URL, or the
                database no Postgres.
        """
        scheme = self.database.partition("://")[0]
        if self.database not in ("", LOCAL) and scheme not in (*POSTGRES, DRIVEN):
            raise ServiceError(
                "--postgres: expected an address such as postgresql://user:password@host/name, or "
                f"{LOCAL}, got one that begins with {scheme[:20]!r}."
            )
        webhook = os.environ.get(WEBHOOK_VARIABLE, "")
        if webhook and not webhook.startswith(("http://", "https://")):
            raise ServiceError(
                f"{WEBHOOK_VARIABLE}: expected an http or https URL, got no such thing."
            )
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

    def pools(self) -> dict[str, Pool]:
        """The work pools and their workers on this machine."""
        found = {name: Pool(self.cpu_workers, {name: self.cpu_workers}) for name in CPU_POOLS}
        often = {CONTROL: {"PREFECT_WORKER_QUERY_SECONDS": str(CONTROL_QUERY)}}
        found[CONTROL] = Pool(CONTROL_RUNS, {CONTROL: CONTROL_RUNS}, often)
        devices = {f"gpu-{device}": {"CUDA_VISIBLE_DEVICES": device} for device in gpus()}
        found["gpu"] = Pool(max(1, len(devices)), dict.fromkeys(devices, 1), devices)
        return found

    @cached_property
    def api(self) -> Api:
        """The server's API."""
        return Api(self.url, os.environ.get(AUTH_VARIABLE, ""))

    @contextmanager
    def running(self) -> Iterator[Keeper]:
        """Start everything, and stop it in the right order: workers first, the server last.

        Raises:
            RootBusyError: another service works on the root.
            ServiceError: it is asked for what it cannot do.
            ServiceFailedError: a part of it does not run.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            (self.root / "prefect").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"The root {self.root} cannot be written to ({error.strerror}): give another with "
                "--root."
            ) from error
        own = own_folders()[0].absolute()
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"The folder {own} of your own recipes cannot be made ({error.strerror}): name "
                f"another with {DATASETS_VARIABLE}."
            ) from error
        with root_lock(self.root, f"http://{self.host}:{self.port}"):
            end(left_behind(self.root))
            self.check()
            if self.own_database is not None:
                self.own_database.make()
            processes = Processes(self.logs, self.environment(), self.console)
            keeper = Keeper(self.api, processes, self.pools(), self.root, self.console)
            # A shell that starts it in the background has Ctrl-C ignored.
            before = {number: signal.signal(number, _interrupt) for number in STOPS}
            try:
                self._start(keeper)
                yield keeper
            finally:
                for number in STOPS:
                    signal.signal(number, signal.SIG_IGN)
                keeper.stop()
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _start(self, keeper: Keeper) -> None:
        if self.own_database is not None:
            keeper.start_database(self.own_database)
        try:
            keeper.start_server(self.host, self.port)
            keeper.make_pools(DEPLOYMENTS / "pools" / "process.json")
        except httpx.HTTPError as error:
            raise ServiceFailedError(
                f"The server refused a call while the service started ({error}); see "
                f"{self.logs / 'server.log'}."
            ) from error
        file = str(DEPLOYMENTS / "prefect.yaml")
        deploy = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file]
        keeper.processes.run("deployments", deploy)
        if os.environ.get(WEBHOOK_VARIABLE):
            keeper.processes.run("webhook of alerts", ["flows.notify"])
        keeper.start_workers()
        self.datasets = bring_up_to_date(self.api)
        self._start_browser(keeper)
        self.api.post(
            "artifacts/", start_page(f"http://{self.host}:{self.port}", self.browser, self.root)
        )

    def _start_browser(self, keeper: Keeper) -> None:
        """Start the browser of analyses, unless it cannot work."""
        if self.browser is None:
            self.console.print(
                "no browser of analyses: pip install 'vardax-core[browse]'", style="dim"
            )
            return
        port = self.browser.rpartition(":")[2]
        command = ["flows.cli", "browse", "--port", port, "--root", str(self.root)]
        command += ["--service", f"http://{self.host}:{self.port}"]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                self.console.print(
                    f"[bold yellow]warning[/]: no browser of analyses: port {port} answers "
                    "already; choose another with --browse-port."
                )
                return
        keeper.start_browser(command)

    def describe(self) -> Table:
        """What is served, at a glance."""
        table = Table(title="vardax serve", box=None)
        for heading in ("deployment", "pool", "schedule", "what it does"):
            table.add_column(heading, no_wrap=heading != "what it does")
        flows = {flow["id"]: flow["name"] for flow in self.api.post("flows/filter", {})}
        for made in self.api.post("deployments/filter", {"sort": "NAME_ASC"}):
            schedules = [
                s["schedule"].get("cron", "") + ("" if s["active"] else " (off)")
                for s in made["schedules"]
            ]
            name = f"{flows[made['flow_id']]}/{made['name']}"
            text = (made["description"] or "").split("\n\n")[0].split(". ")[0]
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
        return list(reversed(self.api.post("flow_runs/filter", wanted)))


def watch(service: Service, keeper: Keeper) -> None:
    """Keep everything running and say how every run ends, until Ctrl-C or SIGTERM.

    Raises:
        ServiceFailedError: the server ends again and again.
    """
    try:
        show(service.describe())
        service.console.print(f"browse:  http://{service.host}:{service.port}")
        if service.browser is not None:
            service.console.print(f"analyses: {service.browser}")
        service.console.print(f"root:    {service.root}", soft_wrap=True)
        service.console.print(f"logs:    {service.logs}", soft_wrap=True)
        service.console.print("stop:    Ctrl-C")
        seen, after = set(), datetime.now(UTC) - timedelta(seconds=5)
        while True:
            time.sleep(2.0)
            try:
                keeper.keep()
                service.refresh_forms()
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


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
