"""What can be chosen by its name: the parts of a package of vardax, and those of plug-ins."""

import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from vardax_core.words import did_you_mean

Kind = TypeVar("Kind", bound=Any)


class PluginError(ValueError):
    """A package that adds something adds something else, or takes another's name."""


class UnknownNameError(ValueError):
    """A name that nothing has."""


def registered(package: ModuleType, group: str, base: Kind, what: str) -> Mapping[str, Kind]:
    """Give every final subclass of a class by its name, in alphabetical order.

    Arguments:
        package: whose modules and packages define those of vardax, each in a module of its own.
        group: entry points by which other packages add more.
        base: of all of them; each subclass that is not abstract has a class attribute `name`.
        what: they are, for messages, such as "the settings of a model".

    Raises:
        PluginError: if an entry point does not load or is something else, or two share a name.
    """
    found: dict[str, Kind] = {}
    for module in _modules(package):
        for part in vars(module).values():
            if _is_final(part, base) and part.__module__ == module.__name__:
                found[part.name] = part
    for entry in importlib.metadata.entry_points(group=group):
        thing: Any = _loaded(entry, group)
        if not _is_final(thing, base):
            raise PluginError(
                f"entry point {group}: '{entry.value}' is not {what}; name a final subclass of "
                f"{base.__module__}.{base.__name__}."
            )
        if found.get(thing.name, thing) is not thing:
            raise PluginError(
                f"entry point {group}: '{entry.value}' has the name '{thing.name}', which another "
                "has already; give it one of its own."
            )
        found[thing.name] = thing
    return MappingProxyType(dict(sorted(found.items())))


def chosen(name: str, known: Mapping[str, Kind], what: str, command: str) -> Kind:
    """Give what has a name.

    Arguments:
        what: it is, for the message, such as "model".
        command: that lists them.

    Raises:
        UnknownNameError: if nothing has it.
    """
    if name not in known:
        raise UnknownNameError(
            f"there is no {what} '{name}'{did_you_mean(name, list(known))} {what.capitalize()}s: "
            f"{', '.join(known)} (`{command}`)."
        )
    return known[name]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(module.name)


def _loaded(entry: Any, group: str) -> Any:
    # Where the backport of importlib.metadata was imported, entry points are of its own class.
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"entry point {group}: '{entry.value}' cannot be loaded ({error}); mend or uninstall "
            "the package that names it."
        ) from error


def _is_final(thing: object, base: type) -> bool:
    return (
        isinstance(thing, type)
        and issubclass(thing, base)
        and thing is not base
        and not inspect.isabstract(thing)
    )
