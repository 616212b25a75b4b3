"""Flow: the cycles that a changed reject list concerns, made again and published."""

import dataclasses

from prefect import flow, get_run_logger

from flows.failures import tell_failure
from flows.hold import HELD, hold_of
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from flows.rerunning import run_again, show_page
from flows.watch_parameters import RelistParameters
from vardax_core.experiments.beside import Beside, beside
from vardax_core.experiments.beside_page import beside_sentence, write_beside
from vardax_core.experiments.reject_list import decide
from vardax_core.experiments.relist import drop_others, relisting
from vardax_core.experiments.validation import prepare_proven
from vardax_core.store import SupersededError
from vardax_core.words import counted


@dataclasses.dataclass(frozen=True)
class Relisted:
    """What came of a changed list.

    Attributes:
        cycles: how many its changes concern.
        entries: that changed, for people.
        branch: where the cycles are made again, empty where none was.
        published: whether readers have them.
        runs: the new ones beside those before, None where none was made.
    """

    cycles: int
    entries: tuple[str, ...] = ()
    branch: str = ""
    published: bool = False
    runs: Beside | None = None


@flow(
    name="relist", flow_run_name=run_name("relist"), persist_result=False, on_failure=[tell_failure]
)
def relist(
    experiment: ExperimentParameters,
    what: RelistParameters = RelistParameters(),  # noqa: B008 (frozen)
) -> Relisted:
    """Write a decision into `rejected.yaml`, make the cycles again that a change of it concerns, on
    a branch, show the difference, and publish them if that is asked for."""
    tag_run(experiment)
    made = experiment.experiment()
    store = made.open_store()
    if what.reject is not None:
        now = decide(made.recipe, store, what.reject.entry, lift=what.lift)
        get_run_logger().info(
            "reject list of %s: %s", made.recipe.name, counted(len(now), "entry", "entries")
        )
    asked = relisting(made, store, prepare_proven(made, store))
    if asked is None:
        drop_others(store, None)
        return ended("up to date: no cycle was made with another reject list", Relisted(0))
    drop_others(store, asked.rerun.branch)
    try:
        work = run_again(asked.rerun, f"relist {made.name}")
        runs = beside(made, store, work, ("before", "after"), asked.first)
        entries = tuple(entry.words for entry in asked.entries)
        changed = "\n".join(f"- {words}" for words in entries)
        said = f"{counted(asked.cycles, 'cycle')} made with another reject list"
        title = f"{made.name} with the changed reject list"
        path = write_beside(
            *(made, store, runs, title),
            verdict=f"{said}. {beside_sentence(runs)}",
            more=("## What changed", changed),
        )
        show_page(path, made, "relist")
        found = Relisted(asked.cycles, entries, asked.rerun.branch, runs=runs)
        if not what.publish:
            return ended(f"{said}; look at the page, then publish", found)
        if reason := hold_of(made):
            get_run_logger().warning("%s: %s", made.name, reason)
            return ended(reason, found, HELD)
        asked.rerun.publish()
    except SupersededError as error:
        get_run_logger().warning("%s: superseded: %s", made.name, error)
        return ended("superseded: run it again", Relisted(asked.cycles))
    return ended(f"{said}, published", dataclasses.replace(found, published=True))
