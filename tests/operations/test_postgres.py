"""`vardax serve --postgres` on a Postgres server of Debian's packages, made for the test."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest

from flows.processes import ServiceError
from flows.serve import Service
from tests.flows.test_server import free_port, wait_for
from tests.operations.serving import PATIENCE, Serve

POSTGRES = Path("/usr/lib/postgresql")
USER = "postgres"


def programs() -> Path:
    """The folder of Postgres' programs."""
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    assert found, "this test needs a Postgres server; install it: sudo apt-get install postgresql"
    return found[-1].parent


@pytest.fixture
def address(tmp_path):
    """A database that nobody has used yet; the server does not run as root."""
    folder, port = tmp_path / "cluster", free_port()
    folder.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", USER, "--"]
        shutil.chown(folder, USER)
        for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            above.chmod(above.stat().st_mode | 0o011)
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


async def ended(address: str) -> int:
    """How many runs the database knows to be completed."""
    connection = await asyncpg.connect(address)
    try:
        return await connection.fetchval(
            "select count(*) from flow_run where state_type = 'COMPLETED'"
        )
    finally:
        await connection.close()


@pytest.mark.ladder
@pytest.mark.flows
@pytest.mark.timeout(1500)
def test_a_service_keeps_its_runs_in_postgres(address, tmp_path):
    service = Serve(tmp_path, "--postgres", address)
    service.start()
    try:
        wait_for(
            lambda: asyncio.run(ended(address)),
            seconds=PATIENCE,
            what="a run of the demonstration",
        )
    finally:
        service.stop()
    assert service.process.returncode == 0, service.said()
    assert not (tmp_path / "prefect" / "prefect.db").exists()


def test_an_address_of_postgres_gets_its_driver_and_others_are_refused(tmp_path):
    key = "PREFECT_API_DATABASE_CONNECTION_URL"
    for given in ("postgres://u:p@h/n", "postgresql://u:p@h/n", "postgresql+asyncpg://u:p@h/n"):
        made = Service(tmp_path, port=free_port(), database=given)
        assert made.environment()[key] == "postgresql+asyncpg://u:p@h/n"
        made.check()
    with pytest.raises(ServiceError, match="expected an address such as postgresql://"):
        Service(tmp_path, database="mysql://u:p@h/n").check()
