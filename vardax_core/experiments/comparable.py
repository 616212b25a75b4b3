"""Which stores of a data set can be set beside each other, and why others cannot."""

from collections.abc import Sequence

from vardax_core.data.timeaxis import minutes_to_instant
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.outdated import outdated_cycles
from vardax_core.store import ExperimentStore, ForeignExperimentError, StoreNotFoundError
from vardax_core.store.hold import held
from vardax_core.words import counted


class NoCyclesError(ValueError):
    """A store without a cycle, of which nothing can be said."""


def comparable(
    experiments: Sequence[Experiment], primary: Experiment
) -> tuple[list[Experiment], dict[str, str]]:
    """The experiments with the cycles of the primary one, and what is the matter with the others.

    Arguments:
        experiments: of the same observations; the primary one is among them.
        primary: the one that a report is about.

    Returns:
        those that can be set beside it, itself included, and a reason for each other one by the
        name of its method.

    Raises:
        StoreNotFoundError: the primary experiment was not run.
        NoCyclesError: it has no cycle.
    """
    own = primary.open_store()
    stands, outdated = _stands(own), outdated_cycles(primary, own)
    if stands[1] is None:
        hold = held(primary.store_location)
        what = f"{hold}; `vardax release` lets it go on" if hold else "assimilate it first"
        raise NoCyclesError(f"{primary.name}: there is no cycle in its store yet: {what}.")
    kept, left_out = [], {}
    for experiment in experiments:
        try:
            store = experiment.open_store()
            found = _stands(store)
        except StoreNotFoundError:
            reason = "it was not run"
        except ForeignExperimentError:
            reason = "its store was made with other settings"
        else:
            reason = f"it has {_said(found)}, {primary.settings.method} {_said(stands)}"
            if found == stands:
                if outdated_cycles(experiment, store) == outdated:
                    kept.append(experiment)
                    continue
                reason = (
                    "observations were revised between its cycles and those of "
                    f"{primary.settings.method}; another root makes all from the same ones"
                )
        left_out[experiment.settings.method] = reason
    return kept, left_out


def _stands(store: ExperimentStore) -> tuple[int, int | None]:
    tip = store.tip()
    return tip.cycles, tip.last_time


def _said(stands: tuple[int, int | None]) -> str:
    cycles, last = stands
    if last is None:
        return "no cycle"
    return f"{counted(cycles, 'cycle')} to {minutes_to_instant(last):%Y-%m-%dT%H:%M}"
