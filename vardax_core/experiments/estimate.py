"""What a run would do: its cycles, and how much they take."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vardax_core.data.timeaxis import instant_to_minutes, to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import StoreNotFoundError
from vardax_core.words import counted


@dataclass(frozen=True)
class Estimate:
    """What a run would add to a store.

    Attributes:
        cycles: how many are missing.
        there: how many are in the store, and stay as they are.
        first, last: analysis times of those that are missing (datetime64); None for none.
        bytes: what they take on the disk, by the cycles that are there; None while there are none.
    """

    cycles: int
    there: int
    first: np.datetime64 | None
    last: np.datetime64 | None
    bytes: int | None

    def __str__(self) -> str:
        if not self.cycles:
            return f"nothing to do: {counted(self.there, 'cycle')} are in the store already"
        first, last = (str(time)[:16] for time in (self.first, self.last))
        said = f"{counted(self.cycles, 'cycle')} from {first} to {last}"
        if self.bytes is None:
            return f"{said}; none is in the store yet, so that their size is not known"
        return (
            f"{said}, about {self.bytes / 1e6:.1f} MB; {counted(self.there, 'cycle')} are in the "
            "store and stay as they are"
        )


def estimate(experiment: Experiment, until: datetime) -> Estimate:
    """Say what a run up to a time would do; nothing is read from a source, and nothing written.

    Arguments:
        experiment: whose cycles.
        until: last analysis time.
    """
    times = cycle_times(experiment.recipe)
    minutes = to_minutes(times)
    try:
        store = experiment.open_store()
        tip = store.tip()
        done, there = tip.last_time, tip.cycles
        size = store.location.size() // there if there else None
    except StoreNotFoundError:
        done, there, size = None, 0, None
    after = minutes[0] - 1 if done is None else done
    missing = times[(minutes > after) & (minutes <= instant_to_minutes(until))]
    return Estimate(
        cycles=len(missing),
        there=there,
        first=missing[0] if len(missing) else None,
        last=missing[-1] if len(missing) else None,
        bytes=None if size is None else size * len(missing),
    )
