"""The methods that `vardax run -m` reads: those of this package and those of plug-ins."""

import functools
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

import vardax_core.methods
from vardax_core.methods.base import AbstractMethod
from vardax_core.plugins import chosen, registered
from vardax_core.words import did_you_mean, faults_of

ENTRY_POINTS = "vardax.methods"
"""Group of entry points by which another package adds methods, each a final `AbstractMethod`."""


class MethodSettingsError(ValueError):
    """A setting that a method does not have, or a value that it does not take."""


@functools.cache
def registered_methods() -> Mapping[str, type[AbstractMethod]]:
    """Give every method by its name, from low to high skill.

    Raises:
        PluginError: if an entry point does not load or is no method, or two methods share a name.
    """
    found = registered(vardax_core.methods, ENTRY_POINTS, AbstractMethod, "a method")
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def method_of(name: str, settings: Mapping[str, Any] | None = None) -> AbstractMethod:
    """Give the method of that name with settings; those that are not given have their defaults.

    Raises:
        UnknownNameError: if there is no such method.
        MethodSettingsError: naming every setting at fault.
    """
    kind = chosen(name, registered_methods(), "method", "vardax methods")
    given, known = dict(settings or {}), list(kind.model_fields)
    said = [
        f"the method {name} has no setting '{key}'{did_you_mean(key, known)}"
        for key in given
        if key not in known
    ]
    if said:
        said.append(
            f"Settings: {', '.join(known)} (`vardax methods {name}`)."
            if known
            else f"The method {name} has no settings."
        )
    try:
        made = kind.model_validate({k: v for k, v in given.items() if k in known})
    except ValidationError as error:
        said += [f"method {name}: {fault}" for fault in faults_of(error)]
    if said:
        raise MethodSettingsError(" ".join(said))
    return made
