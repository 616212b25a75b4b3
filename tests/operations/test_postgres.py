"""`vardax serve --postgres` on Postgres servers of Debian's packages: a given one, and its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from flows import postgres
from flows.postgres import LOCAL, Postgres, programs
from flows.processes import HOME, ServiceError
from flows.serve import Service
from tests.flows.test_server import free_port, wait_for
from tests.operations.serving import PATIENCE, Serve

USER = "postgres"


@pytest.fixture
def reachable(tmp_path):
    """A folder that the account of Postgres can get to."""
    if os.geteuid() == 0:
        for above in (tmp_path, *tmp_path.parents[:-2]):
            above.chmod(above.stat().st_mode | 0o011)
    return tmp_path


@pytest.fixture
def address(reachable):
    """A database that nobody has used yet; the server does not run as root."""
    folder, port = reachable / "cluster", free_port()
    folder.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", USER, "--"]
        shutil.chown(folder, USER)
    run = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL, "timeout": PATIENCE}
    made = ["--auth=trust", f"--username={USER}", "--no-sync"]
    subprocess.run([*as_user, programs() / "initdb", *made, "-D", folder], **run)
    control = [*as_user, str(programs() / "pg_ctl"), "-D", str(folder), "-w"]
    listens = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    subprocess.run([*control, "-l", str(folder / "log"), "-o", listens, "start"], **run)
    try:
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], **run)


@contextlib.contextmanager
def running(database: Postgres):
    """The server as the service starts it."""
    process = subprocess.Popen([sys.executable, "-m", *database.command], cwd=HOME)
    try:
        database.wait(PATIENCE)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


async def asked(address: str, query: str) -> int:
    """A number from a database."""
    connection = await asyncpg.connect(address)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.ladder
@pytest.mark.flows
def test_a_database_of_the_service_s_own_lasts_and_asks_for_its_password(reachable):
    database = Postgres(reachable / "postgres")
    database.make()
    other = database.address.replace(database.secret.read_text(), "guessed")
    again = Postgres(database.folder)
    with running(database) as left:
        asyncio.run(asked(database.address, "create table kept as select 7 as n"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(asked(other, "select 1"))
        assert database.secret.stat().st_mode & 0o077 == 0
        again.make()
        assert left.wait(PATIENCE) == 0
    with running(again) as process:
        assert asyncio.run(asked(again.address, "select n from kept")) == 7
    assert process.returncode == 0


def test_what_a_database_of_its_own_needs_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgres, "PLACES", ())
    with pytest.raises(ServiceError, match="install them, on Debian with `sudo apt-get install"):
        Postgres(tmp_path / "postgres").make()


COMPLETED = "select count(*) from flow_run where state_type = 'COMPLETED'"


@pytest.mark.ladder
@pytest.mark.flows
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("own", [False, True], ids=["given", "local"])
def test_a_service_keeps_its_runs_in_postgres(own, reachable, request):
    given = LOCAL if own else request.getfixturevalue("address")
    service = Serve(reachable, "--postgres", given)
    service.start()

    def address() -> str:
        """Of the database; its own one listens where its process was told to."""
        if not own:
            return given
        command = Path(f"/proc/{service.pid('postgres')}/cmdline").read_text().split("\0")
        kept = Postgres(reachable / "postgres").address.rpartition("@")[0]
        return f"{kept}@127.0.0.1:{command[command.index('-p') + 1]}/postgres"

    try:
        wait_for(
            lambda: asyncio.run(asked(address(), COMPLETED)),
            seconds=PATIENCE,
            what="a run of the demonstration",
        )
    finally:
        service.stop()
    assert service.process.returncode == 0, service.said()
    assert service.left_running() == []
    assert not (reachable / "prefect" / "prefect.db").exists()
    assert not (reachable / "postgres" / "data" / "postmaster.pid").exists()


def test_an_address_of_postgres_gets_its_driver_and_others_are_refused(tmp_path):
    key = "PREFECT_API_DATABASE_CONNECTION_URL"
    for given in ("postgres://u:p@h/n", "postgresql://u:p@h/n", "postgresql+asyncpg://u:p@h/n"):
        made = Service(tmp_path, port=free_port(), database=given)
        assert made.environment()[key] == "postgresql+asyncpg://u:p@h/n"
        made.check()
    for wrong in ("mysql://u:p@h/n", "local://u:p@h/n"):
        with pytest.raises(ServiceError, match="expected an address such as postgresql://"):
            Service(tmp_path, database=wrong).check()
