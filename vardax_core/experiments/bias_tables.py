"""What a store knows of the biases of real observations: their sizes, and steps of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vardax_core.cycling.biases import BiasState
from vardax_core.data.bias_units import bias_units
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import from_minutes
from vardax_core.experiments.segments import BIAS, bias_of
from vardax_core.store import ExperimentStore
from vardax_core.words import short, unit_label

LARGEST = 8
"""Biases that are listed beside those that had a step."""


class BiasStep(NamedTuple):
    """A bias that has changed at once.

    Attributes:
        unit: platform or stream.
        since: analysis time from which it is another one.
        found: analysis time of the cycle that found it.
        size: the change, in the variable's units.
    """

    unit: str
    since: np.datetime64
    found: np.datetime64
    size: float

    def words(self, units: str) -> str:
        """It in a few words."""
        since = str(self.since.astype("datetime64[m]"))
        return f"{self.unit} by {self.size:+.3g} {units} since {since}"


def bias_steps(
    store: ExperimentStore, recipe: Recipe, names: Sequence[str]
) -> tuple[BiasStep, ...]:
    """Give the last step of every bias that had one, the one that was found last at the end.

    Arguments:
        names: of the platforms, by number.
    """
    state, units = _known(store), bias_units(recipe, names).names
    if state is None:
        return ()
    count, since, found = np.asarray(state.steps)
    which = [n for n in np.argsort(found, kind="stable") if count[n] and n < len(units)]
    size = np.asarray(state.size, float)
    begun, told = from_minutes(since.astype(np.int64)), from_minutes(found.astype(np.int64))
    return tuple(BiasStep(units[n], begun[n], told[n], float(size[n])) for n in which)


def bias_table(
    store: ExperimentStore, recipe: Recipe, names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """List the largest biases that are carried, and those that had a step.

    Arguments:
        names: of the platforms, by number.
    """
    units = recipe.observed.units
    header = [
        f"bias of (the largest {LARGEST}, and steps)",
        unit_label("bias", units),
        unit_label("standard deviation", units),
        "cycles in memory",
        "last step",
    ]
    state, known = _known(store), bias_units(recipe, names)
    if state is None:
        return header, []
    bias, sd = np.asarray(state.bias, float), np.asarray(state.sd, float)
    asked = np.flatnonzero(known.asked & (np.asarray(state.cycles) > 0)[: len(known.names)])
    steps = {step.unit: step for step in bias_steps(store, recipe, names)}
    largest = set(asked[np.argsort(-np.abs(bias[asked]), kind="stable")][:LARGEST])
    rows = [
        [
            known.names[n],
            short(bias[n]),
            short(sd[n]),
            f"{float(state.cycles[n]):.0f}",
            steps[known.names[n]].words(units).partition(" by ")[2]
            if known.names[n] in steps
            else "-",
        ]
        for n in asked
        if n in largest or known.names[n] in steps
    ]
    return header, rows


def _known(store: ExperimentStore) -> BiasState | None:
    return bias_of(store.arrays("state", only=BIAS))
