"""The Prefect settings of vardax."""

import os
import sys
from pathlib import Path

import httpx

from vardax_core.paths import ROOT_VARIABLE, STORES_VARIABLE, default_root, default_stores

WEBHOOK_VARIABLE = "VARDAX_WEBHOOK"
"""URL that is called when an alert begins or ends."""
AUTH_VARIABLE = "VARDAX_AUTH"
"""user:password that the service asks for."""
SERVICE_VARIABLE = "VARDAX_SERVICE"
"""Root of the service that a process belongs to; the service sets it."""
RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""The flow run that a process executes; Prefect sets it."""
FOLDER_VARIABLES = (ROOT_VARIABLE, "VARDAX_DATA_DIR", "VARDAX_CACHE_DIR")
"""Variables that name a folder of this machine each."""

EMBEDDED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}
ANSWER = 10.0
"""Seconds that a server has to answer."""
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


class ServerError(ValueError):
    """The Prefect server that is named does not take calls."""


def chosen_root(option: str | Path | None) -> Path:
    """The folder of all runs that an option names, or the default.

    Paths in variables are made absolute, so that processes that are started from here, elsewhere,
    take them for the same places.

    Raises:
        PathError: the option or a variable names no folder of this machine.
    """
    from vardax_core.data.catalogue import VARIABLE, own_folders
    from vardax_core.paths import folder_setting, is_url, local_path, setting

    for variable in FOLDER_VARIABLES:
        folder = folder_setting(variable)
        if folder is not None:
            os.environ[variable] = str(folder.absolute())
    own = [folder.absolute() for folder in own_folders()]
    if setting(VARIABLE) is not None or own[0].is_dir():
        os.environ[VARIABLE] = os.pathsep.join(map(str, own))
    stores = default_stores()
    if stores is not None:
        os.environ[STORES_VARIABLE] = stores if is_url(stores) else str(Path(stores).absolute())
    return (default_root() if option is None else local_path(option, "--root")).resolve()


def configure(root: Path) -> None:
    """Set what Prefect and JAX need before they are at work, unless the user has set it.

    Without `PREFECT_API_URL` every command runs with a server of its own, embedded in the
    process, whose database lies in `root`.
    """
    import jax

    from vardax_core.paths import setting

    for variable in ("PREFECT_API_URL", "PREFECT_HOME"):
        if setting(variable) is None:
            os.environ.pop(variable, None)
    wanted = dict(ALWAYS)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = (root / COMPILED["JAX_COMPILATION_CACHE_DIR"]).resolve()
        wanted |= COMPILED | {"JAX_COMPILATION_CACHE_DIR": str(folder)}
    if "PREFECT_API_URL" not in os.environ:
        wanted |= EMBEDDED
        home = (root / "prefect").resolve()
        home.mkdir(parents=True, exist_ok=True)
        wanted["PREFECT_HOME"] = str(home)
    elif secret := setting(AUTH_VARIABLE):
        wanted["PREFECT_API_AUTH_STRING"] = secret
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    if "prefect" in sys.modules:
        # Prefect reads its variables when it is imported, which may have been before.
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    if "JAX_COMPILATION_CACHE_DIR" in wanted:
        # JAX reads its variables when it is imported, which may have been before.
        shortest = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
        jax.config.update("jax_compilation_cache_dir", wanted["JAX_COMPILATION_CACHE_DIR"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)


def require_server() -> None:
    """Ask the server that `PREFECT_API_URL` names, if it is set, whether it takes calls.

    Raises:
        ServerError: it does not answer, or not to this user, or is none.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    repair = (
        "start it with `vardax serve`, correct PREFECT_API_URL, or unset it to run without a server"
    )
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/admin/version",
            auth=(user, password) if colon else None,
            timeout=ANSWER,
        )
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ServerError(f"No Prefect server answers at {url} ({error}): {repair}.") from error
    if answer.status_code in (401, 403):
        raise ServerError(
            f"The Prefect server at {url} asks for a password and did not take the one it was "
            f"given: export {AUTH_VARIABLE}=user:password, as the service was started with."
        )
    if not answer.is_success:
        raise ServerError(
            f"What answers at {url} is no Prefect API (status {answer.status_code} for "
            f"/admin/version): {repair}. The address ends in /api."
        )
