"""The sources that a stream of observations can name: those of this package and of plug-ins."""

import functools
from collections.abc import Mapping

import vardax_core.data.streams.kinds
from vardax_core.data.streams.source import AbstractStreamSource
from vardax_core.plugins import chosen, registered

ENTRY_POINTS = "vardax.sources"
"""Group of entry points by which another package adds sources."""


@functools.cache
def registered_sources() -> Mapping[str, type[AbstractStreamSource]]:
    """Give every source by its name, in alphabetical order.

    Raises:
        PluginError: if an entry point does not load or is no source, or two share a name.
    """
    return registered(
        vardax_core.data.streams.kinds,
        ENTRY_POINTS,
        AbstractStreamSource,
        "the source of a stream",
    )


def stream_source(name: str) -> type[AbstractStreamSource]:
    """Give the source of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    return chosen(name, registered_sources(), "source", "vardax sources")
