"""The browser as a server on this machine."""

from collections.abc import Callable
from typing import Any

import panel as pn

from vardax_core.browser.catalogue import Catalogue
from vardax_core.browser.page import LOOK_EVERY, Links, Page
from vardax_core.browser.view import View

FOLLOW_THE_SYSTEM = """
if (!new URLSearchParams(location.search).has("theme")
    && matchMedia("(prefers-color-scheme: dark)").matches) {
  location.search += (location.search ? "&" : "?") + "theme=dark"
}
"""
"""Dark where the visitor's machine is dark, unless the address says otherwise."""
STYLE = """
#sidebar { padding: 8px }
"""


def visitor(catalogue: Catalogue, start: View, links: Links) -> Callable[[], Any]:
    """A function that makes a page for everyone who comes.

    Arguments:
        catalogue: what there is.
        start: what is shown where the address says nothing.
        links: other pages.
    """

    def page() -> Any:
        arguments = pn.state.session_args
        dark = arguments.get("theme", [b"default"])[0] == b"dark"
        query = pn.state.location.search if pn.state.location is not None else ""
        made = Page(catalogue, start, query, dark, links)
        pn.state.add_periodic_callback(made.look_again, period=LOOK_EVERY)
        template = pn.template.VanillaTemplate(
            title="vardax: analyses",
            theme="dark" if dark else "default",
            sidebar=made.sidebar(),
            main=made.main(),
            sidebar_width=250,
            header_background="#0B3954",
        )
        template.add_variable("vardax", "1")
        return template

    return page


def serve(
    catalogue: Catalogue,
    start: View,
    *,
    host: str,
    port: int,
    service: str = "",
    secret: str = "",
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve the browser until it is stopped.

    Arguments:
        catalogue: what there is.
        start: what is shown where the address says nothing.
        host, port: where it listens.
        service: address of the service that it links to; empty: none.
        secret: user:password that everyone is asked for; empty: nobody is.
        ready: called once it listens.
    """
    user, _, password = secret.partition(":")
    asked = {"basic_auth": {user: password}} if secret else {}
    server = pn.serve(
        {"/": visitor(catalogue, start, Links(service))},
        address=host,
        port=port,
        websocket_origin=[f"{name}:{port}" for name in {host, "127.0.0.1", "localhost"}],
        show=False,
        start=False,
        title="vardax",
        **asked,
    )
    server.start()
    ready()
    server.io_loop.start()
