"""Cycles that were made before their observations were revised, or with another reject list."""

import numpy as np
from jaxtyping import Bool

from vardax_core.data.rejected import REJECT_LIST, Rejection, rejected_of
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.observed import REVISED
from vardax_core.store import ExperimentStore
from vardax_core.store.store import MADE_FROM
from vardax_core.words import counted


def outdated_cycles(experiment: Experiment, store: ExperimentStore) -> int:
    """How many cycles of a store had other observations in their windows than there are now.

    What arrived after the experiment's cut-off makes no difference. Of methods that carry members
    from cycle to cycle those that follow would differ too, and are not counted.
    """
    kept = store.observations.history()
    revisions = [(n, r.metadata[REVISED]) for n, r in enumerate(kept) if r.metadata.get(REVISED)]
    if not revisions:
        return 0
    age = {record.snapshot_id: n for n, record in enumerate(kept)}
    times = to_minutes(store.dataset("analysis")["time"].values)
    made = np.zeros(times.size, np.int64)
    for record in reversed(store.history()):
        if MADE_FROM in record.metadata and "first_cycle" in record.metadata:
            names = ("first_cycle", "last_cycle")
            ends = np.array([record.metadata[name] for name in names], "datetime64[m]")
            first, last = to_minutes(ends)
            within = (times >= first) & (times <= last)
            # A snapshot that has been forgotten is older than all others.
            made[within] = age.get(str(record.metadata[MADE_FROM]), len(kept))
    window, spacing = (
        experiment.recipe.window,
        duration_to_minutes(experiment.recipe.window.spacing),
    )
    offsets = np.arange(1 - window.times, 1 + (window.after or 0)) * spacing
    cut_off = experiment.settings.cut_off
    outdated = np.zeros(times.size, bool)
    for number, pairs in revisions:
        minutes, since = np.array(pairs, np.int64).T
        if cut_off is not None:
            minutes = minutes[since <= minutes + duration_to_minutes(cut_off)]
        outdated |= (made > number) & np.isin(times[:, None] + offsets, minutes).any(axis=1)
    return int(outdated.sum())


def relisted_cycles(
    experiment: Experiment, store: ExperimentStore
) -> tuple[int, tuple[Rejection, ...]]:
    """How many cycles of a store were made without an entry that the reject list has now, or with
    one that it has no longer, and the entries.

    An entry concerns the cycles whose window it reaches into. Of methods that carry members those
    that follow would differ too, and are not counted.
    """
    concerned, differing = relisted(experiment, store)
    return int(concerned.sum()), differing


def relisted(
    experiment: Experiment, store: ExperimentStore
) -> tuple[Bool[np.ndarray, " cycle"], tuple[Rejection, ...]]:
    """Which cycles those are; see `relisted_cycles`."""
    now = rejected_of(experiment.recipe.name)
    times = to_minutes(store.dataset("analysis")["time"].values)
    window = experiment.recipe.window
    spacing = duration_to_minutes(window.spacing)
    before, after = (window.times - 1) * spacing, (window.after or 0) * spacing
    concerned, differing = np.zeros(times.size, bool), []
    for record in store.history():
        if MADE_FROM not in record.metadata or "first_cycle" not in record.metadata:
            continue
        ends = np.array([record.metadata[n] for n in ("first_cycle", "last_cycle")], "M8[m]")
        first, last = to_minutes(ends)
        within = (times >= first) & (times <= last)
        then = tuple(map(Rejection.model_validate, record.metadata.get(REJECT_LIST, ())))
        for entry in {*then} ^ {*now}:
            since, until = entry.span
            reached = within & (times + after >= since) & (times - before <= until)
            concerned |= reached
            if reached.any() and entry not in differing:
                differing.append(entry)
    return concerned, tuple(differing)


def relisted_sentence(experiment: Experiment, store: ExperimentStore) -> str | None:
    """What somebody who runs an experiment should know of such cycles; None without any."""
    count, entries = relisted_cycles(experiment, store)
    if not count:
        return None
    return (
        f"{counted(count, 'cycle')} of {store.tip().cycles} were made with another reject list "
        f"({'; '.join(entry.words for entry in entries)}); they stay as they are until "
        "`vardax relist` makes them again"
    )


def outdated_sentence(experiment: Experiment, store: ExperimentStore) -> str | None:
    """What somebody who runs an experiment should know of such cycles; None without any."""
    count = outdated_cycles(experiment, store)
    if not count:
        return None
    return (
        f"{counted(count, 'cycle')} of {store.tip().cycles} would differ, for which observations "
        "came or were corrected since; they stay as they are, and another root makes them anew"
    )
