"""Flows: hold an experiment, and let it go on."""

from prefect import flow, get_run_logger

from flows import events
from flows.failures import tell_failure
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters
from vardax_core.experiments.experiment import Experiment
from vardax_core.store.hold import held
from vardax_core.store.hold import hold as hold_store
from vardax_core.store.hold import release as release_store

HELD = "Held"
"""Name of the state in which runs of a held experiment end."""


def hold_of(experiment: Experiment) -> str | None:
    """What a run of a held experiment says, None if it may go on."""
    found = held(experiment.store_location)
    return None if found is None else f"{found}; `vardax release` lets it go on"


@flow(name="hold", flow_run_name=run_name("hold"), persist_result=False, on_failure=[tell_failure])
def hold(experiment: ExperimentParameters, reason: str) -> str:
    """Keep every run from adding cycles to an experiment; one at work stops after its segment."""
    tag_run(experiment)
    made = experiment.experiment()
    found = hold_store(made.store_location, reason)
    get_run_logger().warning("%s: %s", made.name, found)
    events.tell(events.HELD, made, reason=found.reason, since=found.since.isoformat())
    return ended(str(found), found.reason)


@flow(
    name="release",
    flow_run_name=run_name("release"),
    persist_result=False,
    on_failure=[tell_failure],
)
def release(experiment: ExperimentParameters) -> bool:
    """Let a held experiment go on; the next run catches up."""
    tag_run(experiment)
    made = experiment.experiment()
    found = release_store(made.store_location)
    message = "was not held" if found is None else f"released; it was {found}"
    get_run_logger().info("%s: %s", made.name, message)
    if found is not None:
        events.tell(events.RELEASED, made, reason=found.reason, since=found.since.isoformat())
    return ended(message, found is not None)
