"""What a form is refused for that its schema cannot say: a period that is reversed or not the data
set's, and cycles that a schedule makes already."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

PERIODS = "x-periods"
"""In the schema of a form: first and last analysis time of every data set."""
SUBMITTED = re.compile(r"(.*)/deployments/([0-9a-f-]{36})/create_flow_run/?")
EXPERIMENT, PLAN, TARGET = "experiment", "plan", "target"
ADVANCED = "advanced"
"""Where a form has the fields that few fill in."""
USUAL: Mapping[str, Any] = {"lag": 0, "precision": "float32"}
"""What an experiment is like where nothing is said; other fields are then empty."""
ELSEWHERE = ("source_path", "training_steps", "training_seed")
"""Fields of an experiment that make no other store."""
MOST = 200
"""Deployments that are looked at."""

Form = Mapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def fault(parameters: Form, periods: Mapping[str, Sequence[str]], scheduled: Sequence[Form]) -> str:
    """What is wrong with a form, in a sentence; empty for nothing.

    Arguments:
        parameters: of the run that is asked for, every form of them by its name.
        periods: first and last analysis time of the data sets that are known (ISO 8601, UTC).
        scheduled: deployments whose schedules are on, as the server gives them.
    """
    forms = {name: _plain(form) for name, form in parameters.items() if isinstance(form, dict)}
    experiment = forms.get(EXPERIMENT, {})
    for name, form in forms.items():
        first, last = _instant(form.get("since")), _instant(form.get("until"))
        if first and last and first > last:
            return (
                f"{name}.since: expected a time before {name}.until, got {_said(first)}, which is "
                f"after {_said(last)}; exchange the two."
            )
    dataset = str(experiment.get("dataset", ""))
    if dataset in periods:
        begin, end = (_instant(time) for time in periods[dataset])
        for name in (PLAN, TARGET):
            form = forms.get(name, {})
            last = _instant(form.get("until"))
            if last is None or begin is None or end is None:
                continue
            if last < begin or (last > end and form.get("follow", "period") == "period"):
                return (
                    f"{name}.until: expected a time in the period of {dataset}, {_said(begin)} to "
                    f"{_said(end)}, got {_said(last)}; choose one in it."
                )
    return _overlap(forms, experiment, scheduled)


def _overlap(forms: Form, experiment: Form, scheduled: Sequence[Form]) -> str:
    """Whether a backfill makes cycles that a schedule makes."""
    plan = forms.get(PLAN, {})
    if "streams" not in plan or plan.get("dry_run"):
        return ""
    wanted = _store_of(experiment)
    for one in scheduled:
        own = one["parameters"]
        if TARGET in own and _store_of(_plain(own.get(EXPERIMENT, {}))) == wanted:
            name = "/".join(str(experiment.get(key)) for key in ("dataset", "method"))
            return (
                f"{PLAN}: expected an experiment that nothing else adds cycles to, got {name}, "
                f"whose cycles the schedule of the deployment {one['name']} makes; pause that "
                "schedule first, or leave them to it."
            )
    return ""


def _store_of(experiment: Form) -> dict[str, Any]:
    """What tells the store of an experiment from others."""
    return {
        name: value
        for name, value in experiment.items()
        if name not in ELSEWHERE and value not in (None, "", {}, USUAL.get(name))
    }


def _plain(form: Form) -> dict[str, Any]:
    """A form's fields, those under `advanced` beside the others."""
    return {k: v for k, v in form.items() if k != ADVANCED} | (form.get(ADVANCED) or {})


def _instant(given: object) -> datetime | None:
    """A time of a form, which is UTC unless it says otherwise; None for none."""
    if not isinstance(given, str) or not given.strip():
        return None
    try:
        found = datetime.fromisoformat(given.strip())
    except ValueError:
        return None  # The flow says what is wrong with it.
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _said(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class FormGuard:
    """Looks at every form that is submitted, before Prefect makes a run of it.

    Attributes:
        app: Prefect's server.
    """

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse a form, or hand the call on; all other calls are handed on as they are."""
        asked = SUBMITTED.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if asked is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        said = await self._fault(scope, asked[1], asked[2], body)
        if said:
            from fastapi.responses import JSONResponse  # half a second, for the server alone

            refused = JSONResponse({"detail": f"Error creating flow run: {said}"}, status_code=409)
            await refused(scope, receive, send)
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(given, None) or await receive()

        await self.app(scope, again, send)

    async def _fault(self, scope: Message, above: str, deployment: str, body: bytes) -> str:
        headers = {
            name.decode(): value.decode()
            for name, value in scope["headers"]
            if name in (b"authorization", b"cookie")
        }
        server = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=server, base_url=f"http://server{above}")
        async with client:
            try:
                given = json.loads(body or b"{}").get("parameters") or {}
                found = await client.get(f"/deployments/{deployment}", headers=headers)
                made = found.raise_for_status().json()
                running = await client.post(
                    "/deployments/filter", headers=headers, json={"limit": MOST}
                )
                every = running.raise_for_status().json()
            except (ValueError, AttributeError, httpx.HTTPError):
                return ""  # Prefect says what is wrong with it.
        scheduled = [
            one
            for one in every
            if not one["paused"] and any(own["active"] for own in one["schedules"])
        ]
        periods = (made["parameter_openapi_schema"] or {}).get(PERIODS, {})
        return fault({**made["parameters"], **given}, periods, scheduled)
