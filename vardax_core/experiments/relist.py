"""A changed reject list: the cycles that it concerns made again, to be looked at and published."""

import dataclasses

import numpy as np

from vardax_core.data.rejected import Rejection
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.outdated import relisted
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.rerun import Rerun
from vardax_core.store import ExperimentStore

PURPOSE = "relist"
"""Begins the names of branches."""


@dataclasses.dataclass(frozen=True)
class Relisting:
    """What a changed list asks for.

    Attributes:
        entries: that are new, or gone.
        first: analysis time of the first cycle that they concern.
        cycles: how many they concern; those that follow are made again, too.
        rerun: what is to be run.
    """

    entries: tuple[Rejection, ...]
    first: np.datetime64
    cycles: int
    rerun: Rerun


def relisting(
    experiment: Experiment, store: ExperimentStore, prepared: Prepared
) -> Relisting | None:
    """What the reject list beside the recipe asks for, None where no cycle would differ.

    Raises:
        RerunError: see `Rerun`.
    """
    concerned, entries = relisted(experiment, store)
    if not concerned.any():
        return None
    times = store.dataset(store.cycle_group)["time"].values
    first = times[int(np.argmax(concerned))]
    usual = Circumstances.usual(experiment.recipe, experiment.settings)
    rerun = Rerun(experiment, store, prepared, usual, first=first, last=times[-1], purpose=PURPOSE)
    return Relisting(entries, first, int(concerned.sum()), rerun)


def drop_others(store: ExperimentStore, kept: str | None) -> None:
    """Give up the branches that earlier lists left.

    Arguments:
        kept: name of one that stays.
    """
    for name in store.branches.names():
        if name.startswith(f"{PURPOSE}-") and name != kept:
            store.branches.delete(name)
