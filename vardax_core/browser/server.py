"""The browser as a server on this machine."""

import socket
from collections.abc import Callable
from contextlib import suppress
from secrets import token_urlsafe
from typing import Any, ClassVar
from urllib.parse import urlencode

import panel as pn
from bokeh.document import Document
from bokeh.io import curdoc
from bokeh.models import CustomJS
from panel.io.location import Location
from panel.io.state import set_curdoc

from vardax_core.browser.catalogue import Catalogue
from vardax_core.browser.page import LOOK_EVERY, Links, Page
from vardax_core.browser.view import View

FOLLOW_THE_SYSTEM = """
const said = new URLSearchParams(location.search)
if (!said.has("theme") && matchMedia("(prefers-color-scheme: dark)").matches) {
  said.set("theme", "dark")
  location.search = said
}
"""
"""Dark where the visitor's machine is dark, unless the address says otherwise."""
OTHER_THEME = """
const said = new URLSearchParams(location.search)
said.set("theme", said.get("theme") === "dark" ? "default" : "dark")
location.search = said
"""


class PortError(ValueError):
    """A port that something else listens on."""


class Sheet(pn.template.VanillaTemplate):
    """Panel's plain page, without the letters that it fetches from elsewhere.

    The models of a page are gathered once, and not again with each of its parts.
    """

    _resources: ClassVar[dict[str, Any]] = {}

    def server_doc(
        self,
        doc: Document | None = None,
        title: str | None = None,
        location: bool | Location = True,
    ) -> Document:
        doc = curdoc() if doc is None else doc
        with doc.models.freeze():
            return super().server_doc(doc, title, location)


def visitor(catalogue: Catalogue, start: View, links: Links) -> Callable[[], Any]:
    """A function that makes a page for everyone who comes.

    Arguments:
        catalogue: what there is.
        start: what is shown where the address says nothing.
        links: other pages.
    """

    def page() -> Any:
        said = pn.state.session_args
        dark = said.get("theme", [b"default"])[0] == b"dark"
        query = urlencode({name: values[0].decode() for name, values in said.items()})
        made = Page(catalogue, start, query, dark, links)
        pn.state.add_periodic_callback(made.look_again, period=LOOK_EVERY)
        pn.state.curdoc.js_on_event("document_ready", CustomJS(code=FOLLOW_THE_SYSTEM))
        theme = pn.widgets.Button(name="light" if dark else "dark", width=70, align="end")
        theme.js_on_click(code=OTHER_THEME)
        return Sheet(
            title="vardax: analyses",
            theme="dark" if dark else "default",
            header=[theme],
            sidebar=[made.sidebar()],
            main=[made.main()],
            sidebar_width=250,
            header_background="#0B3954",
        )

    return page


def document_of(page: Callable[[], Any]) -> Document:
    """What a visitor is sent."""
    document = Document()
    with set_curdoc(document):
        page().server_doc(document)
    return document


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

    Raises:
        PortError: the port is taken.
    """
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise PortError(f"{port} of {host} answers already; choose another.")
    user, _, password = secret.partition(":")
    asked = {"basic_auth": {user: password}, "cookie_secret": token_urlsafe()} if secret else {}
    page = visitor(catalogue, start, Links(service))
    server = pn.serve(
        {"/": page},
        address=host,
        port=port,
        websocket_origin=[f"{name}:{port}" for name in {host, "127.0.0.1", "localhost"}],
        show=False,
        start=False,
        title="vardax",
        verbose=False,
        **asked,
    )
    # The first page takes twice as long as others: let it be nobody's. What is wrong with it is
    # told to whoever comes.
    with suppress(Exception):
        document_of(page)
    server.start()
    ready()
    server.io_loop.start()
