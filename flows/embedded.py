"""The embedded server starts while a command still loads what it runs."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

logger = logging.getLogger(__name__)


@contextmanager
def server_starting() -> Iterator[None]:
    """Start the embedded server, if the settings ask for one, beside what is done inside.

    Prefect starts it at its first call, and waits some ten seconds for a process of its own. Calls
    may be made again afterwards: within, Prefect would take the server for one that is up. What
    fails inside does not wait for it.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        yield
        return
    # Its import is over before others begin, as two threads in one circle of modules may block.
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    beside = threading.Thread(target=_start, args=[server], daemon=True)
    beside.start()
    try:
        yield
    except BaseException:
        while beside.is_alive() and server.server_process is None:
            time.sleep(0.01)  # it is about to be there, and would stay
        server.stop()
        raise
    beside.join()


def _start(server: "SubprocessASGIServer") -> None:
    try:
        server.start()
    except Exception as error:  # noqa: BLE001 (Prefect starts it again, and says what is wrong)
        logger.info("The embedded server did not start beside the imports: %r", error)
