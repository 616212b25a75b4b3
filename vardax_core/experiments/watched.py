"""Implausible increments of an experiment: said in a sentence, and held where a recipe wants it."""

import numpy as np

from vardax_core.cycling.marks import KINDS
from vardax_core.cycling.passed import CycleOutput
from vardax_core.experiments.experiment import Experiment
from vardax_core.store.errors import StoreError
from vardax_core.store.hold import hold
from vardax_core.types import ResultCode
from vardax_core.words import counted

SAID = 3
"""Cycles of a segment that have a sentence."""
HOLD = "hold"
"""Of the recipe key `implausible`."""


class ImplausibleIncrementError(StoreError):
    """A cycle whose increment must be looked at before the experiment goes on; it is held."""


def cause_of(number: int) -> str:
    """What is wrong with an increment, by the number of the kind of mark that says so."""
    return f"the increment {KINDS[number - 1].cause} ({KINDS[number - 1].__name__.lower()})"


def said(times: np.ndarray, output: CycleOutput) -> tuple[str, ...]:
    """A sentence for each of the first cycles whose own increment was not taken, and how many more
    there are.

    Arguments:
        times: of the cycles.
        output: of these, on the host.
    """
    if output.increment_cause is None:
        return ()
    causes = np.asarray(output.increment_cause)
    stopped = np.flatnonzero(causes)
    found = tuple(
        f"{np.datetime64(times[at], 'm')}: {cause_of(int(causes[at]))}; it was not taken"
        for at in stopped[:SAID]
    )
    more = len(stopped) - SAID
    return (*found, f"and {counted(more, 'cycle')} more like these") if more > 0 else found


def hold_if_implausible(experiment: Experiment, times: np.ndarray, output: CycleOutput) -> None:
    """Hold an experiment before cycles are committed, if its recipe wants that and one of them is
    implausible.

    Raises:
        ImplausibleIncrementError: it is held now, and nothing of these cycles is to be committed.
    """
    if experiment.recipe.implausible != HOLD:
        return
    stopped = np.asarray(output.analysis.result) == int(ResultCode.IMPLAUSIBLE)
    if not stopped.any():
        return
    why = said(times, output)[0]
    hold(experiment.store_location, why)
    raise ImplausibleIncrementError(
        f"{experiment.name}: {why}, nor anything after {np.datetime64(times[0], 'm')} committed, "
        "and the experiment is held. Look at the observations of that cycle and mend or reject "
        "them, or set the recipe's cycle.implausible to fallback; then release it."
    )
