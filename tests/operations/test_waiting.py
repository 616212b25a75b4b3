"""Two transactions that read and then write the server's SQLite database wait for each other."""

import asyncio

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.exc import OperationalError

from flows.server import PatientSqlite

AT_ONCE = 8


async def count_up(configuration: AioSqliteConfiguration) -> int:
    """Several transactions at once, each of which adds one to what it has read; the sum."""
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("create table counts (n integer)"))
        await connection.execute(sa.text("insert into counts values (0)"))

    async def add_one() -> None:
        session = await configuration.session(engine)
        async with session, configuration.begin_transaction(session):
            found = (await session.execute(sa.text("select n from counts"))).scalar_one()
            await asyncio.sleep(0)  # another's turn
            await session.execute(sa.text("update counts set n = :n"), {"n": found + 1})

    try:
        await asyncio.gather(*(add_one() for _ in range(AT_ONCE)))
        session = await configuration.session(engine)
        async with session:
            return (await session.execute(sa.text("select n from counts"))).scalar_one()
    finally:
        await engine.dispose()


def test_they_wait_in_the_service_and_are_refused_in_prefect_s_own(tmp_path):
    patient = PatientSqlite(connection_url=f"sqlite+aiosqlite:///{tmp_path / 'patient.db'}")
    assert asyncio.run(count_up(patient)) == AT_ONCE
    hasty = AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{tmp_path / 'hasty.db'}")
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(count_up(hasty))
