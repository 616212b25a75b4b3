"""Prefect's server as the service starts it: `python -m flows.server` in place of `prefect`.

On SQLite, Prefect begins its transactions deferred: one that reads, and writes after another has
written, is refused at once ("database is locked"), however long it may wait. A transaction that
takes the write lock when it begins waits for its turn instead.

Forms are looked at before runs are made of them, for what their schemas cannot say.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from prefect.server.api import server
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from flows.form_guard import FormGuard


class PatientSqlite(AioSqliteConfiguration):
    """SQLite whose transactions wait for each other."""

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin a transaction with the lock of its writes."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def guard_forms() -> None:
    """Have every server that this process makes look at the forms."""
    usual = server.create_app

    def create_app(*given: Any, **settings: Any) -> FastAPI:
        app: FastAPI = usual(*given, **settings)
        if all(one.cls is not FormGuard for one in app.user_middleware):
            app.add_middleware(FormGuard)
        return app

    server.create_app = create_app


def main() -> None:
    """Run Prefect's command line with that database and those forms."""
    guard_forms()
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url.startswith("sqlite"):
        set_database_config(PatientSqlite(connection_url=url))
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
