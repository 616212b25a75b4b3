"""What the flows tell Prefect's event log, from which automations are triggered."""

from collections.abc import Mapping
from uuid import UUID

import prefect
from prefect.client.orchestration import get_client
from prefect.events import Event, RelatedResource, emit_event
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL

from vardax_core.experiments.experiment import Experiment

COMMITTED = "vardax.cycles.committed"
PROMOTED = "vardax.model.promoted"
HELD = "vardax.experiment.held"
RELEASED = "vardax.experiment.released"
ALERT = "vardax.alert"
"""Followed by `.raised`, `.escalated` or `.cleared`."""
ATTEMPTS = 2
"""How often an event is offered again at once to a server that does not answer."""


def wait_for_no_server() -> None:
    """Let the events of this process go to a server that has vanished without a wait for each.

    Prefect would wait seven seconds for every event, a run's own among them, before the process
    ends. Events that were not taken are sent again when the server is back.
    """
    if url := PREFECT_API_URL.value():
        EventsWorker.set_client_override(
            PrefectEventsClient, api_url=url, reconnection_attempts=ATTEMPTS
        )


def resource(experiment: Experiment) -> dict[str, str]:
    """The experiment as the events name it."""
    return {
        "prefect.resource.id": f"vardax.experiment.{experiment.name}",
        "prefect.resource.name": experiment.name,
        "vardax.store": str(experiment.store_location),
    }


def tell(event: str, experiment: Experiment, **facts: object) -> None:
    """Emit an event without waiting for it; that it arrives is not promised."""
    emit_event(event, resource(experiment), payload=dict(facts))


def tell_surely(
    event: str, experiment: Experiment, identifier: UUID, facts: Mapping[str, object]
) -> None:
    """Emit an event and wait until the server has it; one with a known identifier is kept once.

    Raises:
        httpx.HTTPError: the server did not take it.
    """
    made = Event(
        event=event,
        id=identifier,
        resource=resource(experiment),
        related=[
            RelatedResource(
                {
                    "prefect.resource.id": f"prefect.flow-run.{prefect.runtime.flow_run.id}",
                    "prefect.resource.role": "flow-run",
                }
            )
        ],
        payload=dict(facts),
    )
    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/events", json=[made.model_dump(mode="json")])
        answer.raise_for_status()
