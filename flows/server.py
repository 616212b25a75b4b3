"""Prefect's server as the service starts it: `python -m flows.server` in place of `prefect`.

On SQLite, Prefect begins its transactions deferred: one that reads, and writes after another has
written, is refused at once ("database is locked"), however long it may wait. A transaction that
takes the write lock when it begins waits for its turn instead.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class PatientSqlite(AioSqliteConfiguration):
    """SQLite whose transactions wait for each other."""

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin a transaction with the lock of its writes."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def main() -> None:
    """Run Prefect's command line with that database."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url.startswith("sqlite"):
        set_database_config(PatientSqlite(connection_url=url))
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
