"""Early and late analyses as they would have been at a moment, by when observations arrived."""

import dataclasses
import datetime
import hashlib

import numpy as np

from vardax_core.data.timeaxis import instant_to_minutes
from vardax_core.experiments.beside import AT_ONCE, Beside, beside
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.rerun import Rerun
from vardax_core.store import ExperimentStore

PURPOSE = "replay"
"""Begins the names of branches."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """Two reruns that differ in how long observations are waited for.

    Attributes:
        early, late: to be run.
        names: of both, for people.
        first, last: analysis times.
    """

    early: Rerun
    late: Rerun
    names: tuple[str, str]
    first: np.datetime64
    last: np.datetime64


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What came of them.

    Attributes:
        runs: late beside early.
        digests: sha256 of the analyses of each, the same whenever they are made again.
    """

    runs: Beside
    digests: tuple[str, str]


def replay(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    *,
    moment: datetime.datetime,
    cut_off: datetime.timedelta,
    first: np.datetime64,
    last: np.datetime64,
) -> Replay:
    """What is to be run.

    Arguments:
        moment: what arrived later is not known to either; versions that were superseded later
            count.
        cut_off: of the early analyses.
        first, last: analysis times of cycles of the store.

    Raises:
        RerunError: see `Rerun`.
    """
    usual = Circumstances.usual(experiment.recipe, experiment.settings)
    known = dataclasses.replace(usual, moment=instant_to_minutes(moment))
    early, late = (
        Rerun(
            *(experiment, store, prepared, dataclasses.replace(known, cut_off=limit)),
            first=first,
            last=last,
            purpose=PURPOSE,
        )
        for limit in (cut_off, None)
    )
    hours = cut_off / datetime.timedelta(hours=1)
    names = f"early, {hours:g} h", f"late, known at {moment:%Y-%m-%dT%H:%M}"
    return Replay(early, late, names, first, last)


def replayed(experiment: Experiment, store: ExperimentStore, made: Replay) -> Replayed:
    """Set the two beside each other, once they are run."""
    early, late = (store.on_branch(one.branch) for one in (made.early, made.late))
    runs = beside(experiment, early, late, made.names, made.first, made.last)
    digests = tuple(_digest(one, made.first, made.last) for one in (early, late))
    return Replayed(runs, (digests[0], digests[1]))


def _digest(store: ExperimentStore, first: np.datetime64, last: np.datetime64) -> str:
    """sha256 of the analyses of a period."""
    analysis = store.dataset("analysis").sel(time=slice(first, last))
    total = hashlib.sha256()
    for start in range(0, analysis.sizes["time"], AT_ONCE):
        part = analysis.isel(time=slice(start, start + AT_ONCE)).load()
        for name in sorted(map(str, part.data_vars)):
            total.update(np.ascontiguousarray(part[name].to_numpy()).tobytes())
    return total.hexdigest()
