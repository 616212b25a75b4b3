"""The command of `vardax` that shows analyses: browse."""

import os
from typing import Annotated

import typer

from flows.cli_common import ExitCode, OptionError, Root, exit_codes, fail, place_of_root
from flows.terminal import say

app = typer.Typer()

PORT = 4201
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MISSING = "vardax browse needs {}, which is not installed: pip install 'vardax-core[browse]'."


@app.command()
def browse(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Data set, or data set and method as in lorenz96/letkf, or path or s3:// URL of a "
            "store [all below the root]."
        ),
    ] = None,
    root: Root = None,
    port: Annotated[int, typer.Option("--port", help="Where it listens.", min=1, max=65535)] = PORT,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's warn.")
    ] = "127.0.0.1",
    service: Annotated[
        str, typer.Option("--service", help="Address of a `vardax serve` to link to [none].")
    ] = "",
) -> None:
    """Show analyses in a web browser: maps, observations, series, scores; stop it with Ctrl-C.

    `VARDAX_AUTH=user:password` asks everyone for that password.
    """
    from flows.environment import AUTH_VARIABLE

    folder = place_of_root(root)
    secret = os.environ.get(AUTH_VARIABLE, "")
    try:
        from vardax_core.browser.server import PortError, serve
    except ModuleNotFoundError as error:
        fail(OptionError(MISSING.format(error.name)), ExitCode.WRONG_INPUT)
    with exit_codes():
        from vardax_core.browser.catalogue import catalogue_of
        from vardax_core.browser.view import View

        if secret and ":" not in secret:
            raise OptionError(f"{AUTH_VARIABLE}: expected user:password, got no colon.")
        catalogue, dataset, label = catalogue_of(name, folder)
        start = View(dataset=dataset, method=label)
        if host not in LOOPBACK and not secret:
            say(
                f"warning: {host} can be reached from outside this machine and nothing asks for a "
                f"password; set {AUTH_VARIABLE}=user:password.",
                style="yellow",
            )

        def ready() -> None:
            say(f"analyses: http://{host}:{port}/?{start.query()}".rstrip("?/"))
            say("stop:     Ctrl-C")

        try:
            serve(
                catalogue, start, host=host, port=port, service=service, secret=secret, ready=ready
            )
        except PortError as error:
            raise OptionError(f"--port: {error}") from error
        except KeyboardInterrupt:
            say("stopped")
