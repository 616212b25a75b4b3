"""What a run would do: its cycles, and how much they take."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vardax_core.data.timeaxis import instant_to_minutes, to_minutes
from vardax_core.data.window import cycle_times
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import ExperimentStore, StoreNotFoundError
from vardax_core.words import counted

LATEST = 20
"""Segments whose pace counts."""


@dataclass(frozen=True)
class Estimate:
    """What a run would add to a store.

    Attributes:
        cycles: how many are missing.
        there: how many are in the store, and stay as they are.
        first, last: analysis times of those that are missing (datetime64); None for none.
        bytes: what they take on the disk, by the cycles that are there; None while there are none.
        seconds: of computing, at the pace of the last segments; None while there are none.
    """

    cycles: int
    there: int
    first: np.datetime64 | None
    last: np.datetime64 | None
    bytes: int | None
    seconds: float | None

    def __str__(self) -> str:
        if not self.cycles:
            return f"nothing to do: {counted(self.there, 'cycle')} are in the store already"
        first, last = (str(time)[:16].replace("T", " ") for time in (self.first, self.last))
        said = f"{counted(self.cycles, 'cycle')} from {first} to {last} UTC"
        if self.bytes is None:
            return f"{said}; none is in the store yet, so that their size and time are not known"
        pace = "" if self.seconds is None else f" and {_said(self.seconds)} of computing"
        return (
            f"{said}, about {self.bytes / 1e6:.1f} MB{pace}; {counted(self.there, 'cycle')} are in "
            "the store and stay as they are"
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
        pace = _pace(store)
        size = store.location.size() // there if there else None
    except StoreNotFoundError:
        done, there, size, pace = None, 0, None, None
    after = minutes[0] - 1 if done is None else done
    missing = times[(minutes > after) & (minutes <= instant_to_minutes(until))]
    return Estimate(
        cycles=len(missing),
        there=there,
        first=missing[0] if len(missing) else None,
        last=missing[-1] if len(missing) else None,
        bytes=None if size is None else size * len(missing),
        seconds=None if pace is None else pace * len(missing),
    )


def _pace(store: ExperimentStore) -> float | None:
    """Seconds of computing of a cycle, the median of the last segments."""
    segments = [one.metadata for one in store.history() if one.metadata.get("kind") == "segment"]
    paces = [one["compute_seconds"] / one["cycles"] for one in segments[:LATEST] if one["cycles"]]
    return float(np.median(paces)) if paces else None


def _said(seconds: float) -> str:
    for most, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < most:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"
