"""The Prefect settings of vardax; imported before Prefect is."""

import os
from pathlib import Path

ROOT_VARIABLE = "VARDAX_ROOT"
STORES_VARIABLE = "VARDAX_STORES"
WEBHOOK_VARIABLE = "VARDAX_WEBHOOK"
"""URL that is called when an alert begins or ends."""
DEFAULT_ROOT = ".vardax"

EMBEDDED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}
COMPILED = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_COMPILATION_CACHE_DIR": "compiled",
}
"""A process that starts finds the programs that an earlier one compiled, below the root."""
ALWAYS = {
    # A server that is started again is waited for 30 seconds. Prefect's own limit would keep a run
    # whose server is gone for good alive for five minutes after its last cycle.
    "PREFECT_CLIENT_MAX_RETRIES": "4",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
}


def default_root() -> Path:
    """The folder of all runs: the variable VARDAX_ROOT, or `.vardax` where one stands."""
    return Path(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT))


def default_stores() -> str | None:
    """Where stores are kept: the variable VARDAX_STORES, or None for below the root."""
    return os.environ.get(STORES_VARIABLE)


def configure(root: Path) -> None:
    """Set what Prefect and JAX need before they are imported, unless the user has set it.

    Without `PREFECT_API_URL` every command runs with a server of its own, embedded in the
    process, whose database lies in `root`.
    """
    wanted = dict(ALWAYS)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = (root / COMPILED["JAX_COMPILATION_CACHE_DIR"]).resolve()
        wanted |= COMPILED | {"JAX_COMPILATION_CACHE_DIR": str(folder)}
    if "PREFECT_API_URL" not in os.environ:
        wanted |= EMBEDDED
        home = (root / "prefect").resolve()
        home.mkdir(parents=True, exist_ok=True)
        wanted["PREFECT_HOME"] = str(home)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
