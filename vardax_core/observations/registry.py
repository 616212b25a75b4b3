"""How a recipe can say that the state is observed: kinds of this package and of plug-ins."""

import functools
from collections.abc import Mapping
from typing import Any

import vardax_core.observations.kinds
from vardax_core.observations.settings import (
    AbstractMeanSettings,
    AbstractObservedAs,
    AbstractOperatorSettings,
    AbstractTimeStatistic,
)
from vardax_core.plugins import chosen, registered

ENTRY_POINTS = "vardax.operators"
"""Group of entry points by which another package adds operators and statistics over hours."""


@functools.cache
def registered_observed() -> Mapping[str, type[AbstractObservedAs]]:
    """Give every operator and statistic by its name, in alphabetical order.

    Raises:
        PluginError: if an entry point does not load or is none of them, or two share a name.
    """
    return registered(
        vardax_core.observations.kinds,
        ENTRY_POINTS,
        AbstractObservedAs,
        "the settings of an observation operator",
    )


def observed_as(name: str) -> type[AbstractObservedAs]:
    """Give the settings of the operator or statistic of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    return chosen(name, registered_observed(), "operator", "vardax operators")


def registered_operators() -> Mapping[str, type[AbstractOperatorSettings]]:
    """Give the settings of every observation operator by its name."""
    return _of(AbstractOperatorSettings)


def registered_means() -> Mapping[str, type[AbstractMeanSettings]]:
    """Give the settings of every operator that serves real observations by its name."""
    return _of(AbstractMeanSettings)


def registered_statistics() -> Mapping[str, type[AbstractTimeStatistic]]:
    """Give the settings of every statistic over hours by its name."""
    return _of(AbstractTimeStatistic)


def _of(base: Any) -> Mapping[str, Any]:
    return {name: kind for name, kind in registered_observed().items() if issubclass(kind, base)}
