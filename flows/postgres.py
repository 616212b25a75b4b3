"""A Postgres server of the service's own, on this machine alone: made, started and stopped with it.

`python -m flows.postgres FOLDER PORT` is the process that the service keeps running.
"""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import asyncpg
import psutil

from flows.processes import ServiceError, ServiceFailedError, end

LOCAL = "local"
"""In place of an address: a database of the service's own."""
ACCOUNT = "postgres"
"""Account of the system under which it runs where the service is run by root, and its user."""
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
"""Folders outside of PATH in which packages put the programs."""
HOST = "127.0.0.1"
START_UP = 60.0
"""Seconds until it answers at the latest."""
SETTINGS = ("--auth=scram-sha-256", f"--username={ACCOUNT}", "--encoding=UTF8", "--locale=C")
MISSING = (
    "--postgres local: expected the programs of a Postgres server (initdb, postgres), found none; "
    "install them, on Debian with `sudo apt-get install postgresql`, or give the address of a "
    "server."
)


@dataclass(frozen=True)
class Postgres:
    """A database in a folder of the service's root.

    Attributes:
        folder: of its data and its password; it is made.
    """

    folder: Path

    @property
    def data(self) -> Path:
        """Folder that the server alone writes."""
        return self.folder / "data"

    @cached_property
    def port(self) -> int:
        """A free port of this machine, the same as long as the service runs."""
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])

    @property
    def secret(self) -> Path:
        """File of its password."""
        return self.folder / "password"

    def make(self) -> None:
        """Make the database, unless it is there, and end what a service that died has left.

        Raises:
            ServiceError: the programs are not installed, or cannot be run on this folder.
        """
        programs()
        identity = account()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.secret.exists():
            with open(os.open(self.secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(token_urlsafe())
        if identity:
            for path in (self.folder, self.secret):
                shutil.chown(path, ACCOUNT, identity["group"])
        reached = subprocess.run(["test", "-w", self.folder], check=False, cwd="/", **identity)
        if reached.returncode:
            raise ServiceError(
                f"--postgres local: the server must not run as root, and the account {ACCOUNT!r}, "
                f"which it runs as instead, cannot get to {self.folder}; give a --root that it "
                "can, or start the service as an ordinary user."
            )
        end(self._left_behind())
        if not (self.data / "PG_VERSION").exists():
            command = [str(programs() / "initdb"), *SETTINGS, f"--pwfile={self.secret}"]
            done = subprocess.run(
                [*command, "-D", str(self.data)],
                check=False, cwd="/", capture_output=True, text=True, **identity,
            )  # fmt: skip
            if done.returncode:
                raise ServiceError(
                    f"--postgres local: the database {self.data} could not be made: "
                    f"{done.stderr.strip()} Remove the folder, or give another --root."
                )

    @property
    def command(self) -> list[str]:
        """The module of Python that becomes the server, with its arguments."""
        return ["flows.postgres", str(self.folder), str(self.port)]

    @property
    def address(self) -> str:
        """Of the database, with its password."""
        return f"postgresql://{ACCOUNT}:{self.secret.read_text()}@{HOST}:{self.port}/postgres"

    def wait(self, seconds: float = START_UP) -> None:
        """Wait until it answers.

        Raises:
            ServiceFailedError: it does not.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                asyncio.run(_look(self.address))
                return
            except (OSError, asyncpg.PostgresError) as error:
                if time.monotonic() > deadline:
                    raise ServiceFailedError(
                        f"The database in {self.folder} did not answer within {seconds:g} s "
                        f"({error}); see logs/postgres.log in the root."
                    ) from error
            time.sleep(0.2)

    def _left_behind(self) -> list[int]:
        """The server that a service which died has left at work on the data."""
        try:
            number = int((self.data / "postmaster.pid").read_text().split()[0])
            found = psutil.Process(number)
            ours = found.name() == "postgres" and str(self.data) in found.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return []
        return [number] if ours else []


async def _look(address: str) -> None:
    connection = await asyncpg.connect(address, timeout=5)
    await connection.close()


def programs() -> Path:
    """The folder of the programs of a Postgres server, of the newest where there are several.

    Raises:
        ServiceError: none is installed.
    """
    found = shutil.which("initdb")
    here = [Path(found).resolve().parent] if found else []
    for pattern in PLACES:
        matches = Path("/").glob(pattern.lstrip("/"))
        here += sorted(matches, key=lambda path: _version(path.parent.name), reverse=True)
    for folder in here:
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    raise ServiceError(MISSING)


def _version(name: str) -> float:
    digits = "".join(c for c in name if c.isdigit() or c == ".")
    try:
        return float(digits)
    except ValueError:
        return 0.0


def account() -> dict[str, Any]:
    """Whom the server runs as, as `subprocess.run` takes it; nothing for whoever asks.

    Raises:
        ServiceError: the service is run by root, and there is no other account for it.
    """
    if os.geteuid() != 0:
        return {}
    try:
        known = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise ServiceError(
            f"--postgres local: the server must not run as root, and there is no account "
            f"{ACCOUNT!r}, which Debian's package makes; start the service as an ordinary user."
        ) from error
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}


def main(folder: str, port: str) -> None:
    """Become the server, which then writes its log where this process does."""
    made, identity = Postgres(Path(folder)), account()
    if identity:
        os.setgroups(identity["extra_groups"])
        os.setgid(identity["group"])
        os.setuid(identity["user"])
    os.chdir("/")
    program = programs() / "postgres"
    listens = ("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories=", "-p", port)
    os.execv(program, [str(program), "-D", str(made.data), *listens])


if __name__ == "__main__":
    main(*sys.argv[1:])
