"""The forecast models that a recipe can name: those of this package and those of plug-ins."""

import functools
from collections.abc import Mapping

import vardax_core.models
from vardax_core.models.settings import AbstractModelSettings
from vardax_core.plugins import chosen, registered

ENTRY_POINTS = "vardax.models"
"""Group of entry points by which another package adds models, each the settings of one."""


@functools.cache
def registered_models() -> Mapping[str, type[AbstractModelSettings]]:
    """Give the settings of every model by its name, in alphabetical order.

    Raises:
        PluginError: if an entry point does not load or is no model's settings, or two models
            share a name.
    """
    return registered(
        vardax_core.models,
        ENTRY_POINTS,
        AbstractModelSettings,
        "the settings of a model",
    )


def model_settings(name: str) -> type[AbstractModelSettings]:
    """Give the settings of the model of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    return chosen(name, registered_models(), "model", "vardax models")
