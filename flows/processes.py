"""The processes of the service: started, started again, found by their environment, stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from flows.environment import RUN_VARIABLE, SERVICE_VARIABLE
from vardax_core.paths import home

HOME = home()
PATIENCE = 5.0
"""Seconds that a flow run may go on while the service stops, before it is asked to end."""
GRACE = 10.0
"""Seconds that a process has to end before it is killed."""
TAIL = 8
"""Lines that are shown of a log."""


class ServiceError(ValueError):
    """The service is asked for what it cannot do."""


class ServiceFailedError(RuntimeError):
    """A part of the service does not run, whatever it was asked for."""


@dataclass(frozen=True)
class Part:
    """A process that is kept running.

    Attributes:
        process: the process.
        command: what it was started with.
        more: variables that it has beyond those of the service.
        since: when it was started.
        log: its log file.
        offset: bytes of the log that are older than the process.
    """

    process: subprocess.Popen
    command: list[str]
    more: dict[str, str]
    since: datetime
    log: Path
    offset: int

    def said(self) -> str:
        """The last lines that the process has logged."""
        with self.log.open("rb") as log:
            log.seek(self.offset)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL:]) or f"(nothing; see {self.log})"


class Processes:
    """The children of the service, each with a log file, in sessions of their own.

    A terminal's Ctrl-C reaches the service alone, which then stops them in order.
    """

    def __init__(self, logs: Path, environment: dict[str, str], console: Console):
        self._logs = logs
        self._environment = environment
        self._console = console
        self._parts: dict[str, Part] = {}

    def start(self, name: str, command: list[str], **more: str) -> None:
        """Start a module of Python with its arguments and keep it running."""
        path = self._logs / f"{name}.log"
        with path.open("ab") as log:
            offset = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=HOME,
                env={**self._environment, **more},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._parts[name] = Part(process, command, more, datetime.now(UTC), path, offset)
        self._console.print(f"started {name} (process {process.pid})", style="dim")

    def again(self, name: str) -> None:
        """Start a process that has ended again."""
        self.start(name, self._parts[name].command, **self._parts[name].more)

    def run(self, what: str, command: list[str]) -> None:
        """Run a module of Python with its arguments to its end.

        Raises:
            ServiceFailedError: it fails; with the last lines of what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=HOME,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        with (self._logs / "setup.log").open("a") as log:
            log.write(f"== {what}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TAIL:])
            raise ServiceFailedError(f"{what}: {' '.join(command[:2])} failed:\n{tail}")

    def ended(self) -> list[str]:
        """Names of the processes that have ended by themselves."""
        return [name for name, part in self._parts.items() if part.process.poll() is not None]

    def code(self, name: str) -> int | None:
        """With what code a process has ended, None if it has not."""
        return self._parts[name].process.poll()

    def said(self, name: str) -> str:
        """The last lines that a process has logged since it was started."""
        return self._parts[name].said()

    def since(self) -> dict[str, datetime]:
        """When each process was last started."""
        return {name: part.since for name, part in self._parts.items()}

    def stop(self, names: Iterable[str], runs: Iterable[int] = ()) -> None:
        """Stop some processes at the same time, and flow runs that may go on for a moment.

        Arguments:
            names: processes of this service; those that were never started are passed over.
            runs: identifiers of the processes of flow runs.
        """
        parts = {name: self._parts.pop(name) for name in names if name in self._parts}
        for part in parts.values():
            _signal(part.process, signal.SIGTERM)
        left = _until_ended(list(runs), PATIENCE)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in left:
                send(pid, number)
                self._console.print(f"ended a flow run (process {pid})", style="dim")
            left = _until_ended(left, GRACE)
        deadline = time.monotonic() + GRACE
        for name, part in parts.items():
            try:
                part.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(part.process, signal.SIGKILL)
                part.process.wait()
            self._console.print(f"stopped {name}", style="dim")


def _variables() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """The processes of this machine that can be looked at, with their environments."""
    for process in psutil.process_iter():
        try:
            yield process, process.environ()
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue


def runs_at_work(service: Path | None = None) -> dict[str, list[int]]:
    """The processes of flow runs on this machine, by the identifier of the run.

    Arguments:
        service: root of the service whose runs are wanted, all if None.
    """
    found: dict[str, list[int]] = {}
    for process, variables in _variables():
        if service is None or variables.get(SERVICE_VARIABLE) == str(service):
            run = variables.get(RUN_VARIABLE)
            if run:
                found.setdefault(run, []).append(process.pid)
    return found


def left_behind(service: Path) -> list[int]:
    """Servers and workers that a service which died has left on its root."""
    return [
        process.pid
        for process, variables in _variables()
        if variables.get(SERVICE_VARIABLE) == str(service)
        and not variables.get(RUN_VARIABLE)
        and process.pid != os.getpid()
    ]


def end(pids: list[int]) -> None:
    """End processes, those that do not listen by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            send(pid, number)
        pids = _until_ended(pids, GRACE)


def _until_ended(pids: list[int], seconds: float) -> list[int]:
    """Those of some processes that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
