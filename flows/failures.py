"""The page that a run leaves which ends by an error: what happened, and what to do."""

import logging
import re
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from flows.forms import manual
from flows.progress import if_the_server_answers

KEY = "failure"
_SAID = re.compile(r"(?:.*?exception: |.*?failed with error: )?(\w+(?:\.\w+)*): ?(.*)", re.DOTALL)
"""How Prefect writes an exception into the message of a state."""
WRONG_INPUT = (
    "The run was asked for what it cannot do, or something that it needs is not there. Mend what "
    "the sentence above names, and run it again"
)
UNEXPECTED = (
    "Nobody expected this. The log of the run has the details; run it again once, and if it ends "
    "the same way report it with the log. What was committed stays, and nothing is done twice"
)

FAULTS = (
    *("", "RuntimeError", "KeyError", "TypeError", "AttributeError", "NameError", "IndexError"),
    *("AssertionError", "ImportError", "ModuleNotFoundError", "UnboundLocalError"),
)
"""Kinds of errors that are of the program, and not of what it was given."""

logger = logging.getLogger(__name__)


def failure_page(flow: str, message: str, deployment: str | None) -> str:
    """What a run that failed says to its reader, in Markdown.

    Arguments:
        flow: its name.
        message: of the state that it ended in.
        deployment: identifier of the deployment that it was started from, None for none.
    """
    kind, said = split(message)
    known = manual()["flows"].get(flow, {}).get("failures", {})
    repair = next((do for seen, do in known.items() if kind and kind in seen), None)
    expected = kind not in FAULTS
    advice = repair or (WRONG_INPUT if expected else UNEXPECTED) + "."
    lines = ["# What happened", "", said or message, "", "# What to do", "", advice]
    if deployment:
        lines += ["", f"[Fill in the form again](/deployments/deployment/{deployment}/run)"]
    return "\n".join(lines) + "\n"


def split(message: str) -> tuple[str, str]:
    """Kind and sentence of an error in the message of a state; an empty kind where none is."""
    found = _SAID.fullmatch(message.strip())
    if found is None:
        return "", message.strip()
    kind = found[1].rpartition(".")[2]
    return (kind, found[2].strip()) if kind.endswith("Error") else ("", message.strip())


def tell_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Leave the page; a hook of every flow that is started by hand or by a schedule."""
    deployment = None if flow_run.deployment_id is None else str(flow_run.deployment_id)
    made = ArtifactCreate(
        key=KEY,
        type="markdown",
        description=f"Why {flow_run.name} failed",
        data=failure_page(flow.name, state.message or "", deployment),
        flow_run_id=flow_run.id,
    )
    with (
        if_the_server_answers("what happened is not shown in the UI"),
        get_client(sync_client=True) as client,
    ):
        client.create_artifact(made)
