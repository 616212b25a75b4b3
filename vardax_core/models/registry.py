"""The forecast models that a recipe can name: those of this package and those of plug-ins."""

import difflib
import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

import vardax_core.models
from vardax_core.models.settings import AbstractModelSettings

ENTRY_POINTS = "vardax.models"
"""Group of entry points by which another package adds models, each the settings of one."""


class UnknownModelError(ValueError):
    """A name that no model has."""


class ModelPluginError(ValueError):
    """A package that adds a model adds something else, or takes another's name."""


@functools.cache
def registered_models() -> Mapping[str, type[AbstractModelSettings]]:
    """Give the settings of every model by its name, in alphabetical order.

    Raises:
        ModelPluginError: if an entry point does not load or is no model's settings, or two models
            share a name.
    """
    found: dict[str, type[AbstractModelSettings]] = {}
    for module in pkgutil.iter_modules(vardax_core.models.__path__):
        content = vars(importlib.import_module(f"{vardax_core.models.__name__}.{module.name}"))
        for settings in content.values():
            if _is_settings(settings) and settings.__module__ == content["__name__"]:
                found[settings.name] = settings
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        settings = _loaded(entry)
        if not _is_settings(settings):
            raise ModelPluginError(
                f"entry point {ENTRY_POINTS}: '{entry.value}' is not the settings of a model; name "
                "a subclass of vardax_core.models.settings.AbstractModelSettings."
            )
        if settings.name in found and found[settings.name] is not settings:
            raise ModelPluginError(
                f"entry point {ENTRY_POINTS}: '{entry.value}' has the name '{settings.name}', "
                "which another model has; give it one of its own."
            )
        found[settings.name] = settings
    return MappingProxyType(dict(sorted(found.items())))


def _loaded(entry: importlib.metadata.EntryPoint) -> object:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise ModelPluginError(
            f"entry point {ENTRY_POINTS}: '{entry.value}' cannot be loaded ({error}); mend or "
            "uninstall the package that names it."
        ) from error


def _is_settings(thing: object) -> bool:
    return (
        isinstance(thing, type)
        and issubclass(thing, AbstractModelSettings)
        and thing is not AbstractModelSettings
    )


def model_settings(name: str) -> type[AbstractModelSettings]:
    """Give the settings of the model of that name.

    Raises:
        UnknownModelError: if there is none.
    """
    known = registered_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UnknownModelError(
            f"there is no model '{name}'.{hint} Models: {', '.join(known)} (`vardax models`)."
        )
    return known[name]
