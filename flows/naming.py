"""Readable names, tags and ends of runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import prefect
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

from flows.events import wait_for_no_server
from flows.lifeline import outlive_readers
from flows.parameters import ExperimentParameters
from flows.prefect_settings import setting
from flows.progress import if_the_server_answers
from vardax_core.words import counted

T = TypeVar("T")


_values: dict[str, Any] = {}


def ended(message: str, data: T, name: str = "Completed") -> T:
    """The end of a flow run: its state has the name and says `message`, its caller gets `data`."""
    _values[str(prefect.runtime.flow_run.id)] = data
    return Completed(name=name, message=message, data=data)  # type: ignore[return-value]


def called(flow: Callable[..., T], *arguments: Any) -> T:
    """Run a flow in this process and return what it `ended` with.

    Where the server was too busy to answer at the first attempt, Prefect's own state comes back
    without the value.
    """
    with _unwatched():
        state: Any = flow(*arguments, return_state=True)
    run = str(state.state_details.flow_run_id)
    if state.is_completed() and run in _values:
        return _values.pop(run)
    return state.result()


@contextmanager
def _unwatched() -> Iterator[None]:
    """Without a service nobody looks for the heartbeats of runs, and they delay the end of each by
    half a second."""
    if PREFECT_API_URL.value():
        yield
        return
    with setting("flows", "heartbeat_frequency", None):
        yield


def run_name(verb: str) -> Callable[[], str]:
    """A function that names a flow run after what it works on."""

    def name() -> str:
        parameters = prefect.runtime.flow_run.parameters
        about = parameters.get("experiment")
        if about is None:
            return verb
        draw = f"-draw{about.station_draw}" if about.station_draw is not None else ""
        share = parameters.get("share")
        group = None if share is None else f"group-{share.group + 1}"
        return "-".join(
            filter(None, (f"{verb}-{about.dataset}{draw}-{about.method}", about.variant, group))
        )

    return name


def tag_run(experiment: ExperimentParameters) -> None:
    """Begin a flow run: it gets the tags of its experiment, and outlives worker and server."""
    begin_run(tags_of(experiment))


def begin_run(tags: Sequence[str]) -> None:
    """Begin a flow run: it gets tags, and outlives worker and server."""
    outlive_readers()
    wait_for_no_server()
    run = prefect.runtime.flow_run
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags={*run.tags, *tags})


def say_period(times: np.ndarray, streams: int | None = None) -> None:
    """Put the cycles that a run goes through into its name, once they are known.

    Arguments:
        times: their analysis times (datetime64), one at least.
        streams: how many they are cut into, if they are.
    """
    first, last = (str(time.astype("datetime64[m]")) for time in times[[0, -1]])
    parts = [str(prefect.runtime.flow_run.name), f"{first} to {last}"]
    parts += [] if streams is None else [counted(streams, "stream")]
    with (
        if_the_server_answers("the run keeps its name"),
        get_client(sync_client=True) as client,
    ):
        client.update_flow_run(prefect.runtime.flow_run.id, name=", ".join(parts))


def tags_of(experiment: ExperimentParameters) -> list[str]:
    """Tags by which runs are found in the UI."""
    found = [f"dataset:{experiment.dataset}", f"method:{experiment.method}"]
    if experiment.station_draw is not None:
        found.append(f"draw:{experiment.station_draw}")
    return found
