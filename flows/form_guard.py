"""What a form is refused for that its schema cannot say: a period that is reversed or not the data
set's, and cycles that a schedule makes already."""

import copy
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx

PERIODS = "x-periods"
"""In the schema of a form: first and last analysis time of every data set."""
SUBMITTED = re.compile(r"(.*)/deployments/([0-9a-f-]{36})/create_flow_run/?")
LOOKED_AT = re.compile(r"(.*)/ui/schemas/validate/?")
"""Asked by the form itself, which then shows what is wrong beside the field."""
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


class Fault(NamedTuple):
    """What is wrong with a form.

    Attributes:
        field: names that lead to it, from the outermost form on.
        words: what was expected, what was got, and the repair.
    """

    field: tuple[str, ...]
    words: str

    def __str__(self) -> str:
        return f"{'.'.join(name for name in self.field if name != ADVANCED)}: {self.words}"


def fault(
    parameters: Form, periods: Mapping[str, Sequence[str]], scheduled: Sequence[Form]
) -> Fault | None:
    """Find what is wrong with a form; None for nothing.

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
            return Fault(
                _field(parameters, name, "since"),
                f"expected a time before {name}.until, got {_said(first)}, which is after "
                f"{_said(last)}; exchange the two.",
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
                return Fault(
                    _field(parameters, name, "until"),
                    f"expected a time in the period of {dataset}, {_said(begin)} to {_said(end)}, "
                    f"got {_said(last)}; choose one in it.",
                )
    return _overlap(forms, experiment, scheduled)


def _field(parameters: Form, form: str, name: str) -> tuple[str, ...]:
    """Where a field stands in a form."""
    apart = name in (parameters[form].get(ADVANCED) or {})
    return (form, ADVANCED, name) if apart else (form, name)


def _overlap(forms: Form, experiment: Form, scheduled: Sequence[Form]) -> Fault | None:
    """Find whether a backfill makes cycles that a schedule makes."""
    plan = forms.get(PLAN, {})
    if "streams" not in plan or plan.get("dry_run"):
        return None
    wanted = _store_of(experiment)
    for one in scheduled:
        own = one["parameters"]
        if TARGET in own and _store_of(_plain(own.get(EXPERIMENT, {}))) == wanted:
            name = "/".join(str(experiment.get(key)) for key in ("dataset", "method"))
            return Fault(
                (PLAN,),
                f"expected an experiment that nothing else adds cycles to, got {name}, whose "
                f"cycles the schedule of the deployment {one['name']} makes; pause that schedule "
                "first, or leave them to it.",
            )
    return None


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


def beside(found: dict[str, Any], wrong: Fault) -> dict[str, Any]:
    """Add a fault to what Prefect says of a form, at its field.

    Arguments:
        found: `valid`, and `errors` that name a property each and hold those of its parts.
    """
    found = copy.deepcopy(found)
    errors = found.setdefault("errors", [])
    for name in wrong.field:
        own = [e for e in errors if isinstance(e, dict) and e.get("property") == name]
        if not own:
            own = [{"property": name, "errors": []}]
            errors.extend(own)
        errors = own[0]["errors"]
    errors.append(wrong.words[0].upper() + wrong.words[1:])
    return found | {"valid": False}


class FormGuard:
    """Looks at every form that is looked at or submitted, beside Prefect.

    A form asks before it is submitted what is wrong with it, and shows that beside the fields. What
    is submitted by other ways is refused before Prefect makes a run of it.

    Attributes:
        app: Prefect's server.
    """

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer for a form, or hand the call on; all other calls are handed on as they are."""
        asked = None
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            asked = SUBMITTED.fullmatch(path) or LOOKED_AT.fullmatch(path)
        if asked is None:
            await self.app(scope, receive, send)
            return
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        answer = await self._answer(scope, asked, body)
        if answer is not None:
            from fastapi.responses import JSONResponse  # half a second, for the server alone

            status, content = answer
            await JSONResponse(content, status_code=status)(scope, receive, send)
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(given, None) or await receive()

        await self.app(scope, again, send)

    async def _answer(
        self, scope: Message, asked: re.Match[str], body: bytes
    ) -> tuple[int, dict[str, Any]] | None:
        """Give status and content in place of Prefect's own; None where nothing is added to it."""
        headers = {
            name.decode(): value.decode()
            for name, value in scope["headers"]
            if name in (b"authorization", b"cookie")
        }
        server = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(
            transport=server, base_url=f"http://server{asked[1]}", headers=headers
        )
        async with client:
            try:
                given = json.loads(body or b"{}")
                if asked.re is SUBMITTED:
                    return await _refused(client, asked[2], given.get("parameters") or {})
                return await _looked_at(client, given)
            except (ValueError, AttributeError, KeyError, TypeError, httpx.HTTPError):
                return None  # Prefect says what is wrong with it.


async def _refused(
    client: httpx.AsyncClient, deployment: str, parameters: Form
) -> tuple[int, dict[str, Any]] | None:
    """Find whether a form that is submitted is refused."""
    made = (await client.get(f"/deployments/{deployment}")).raise_for_status().json()
    every = await _deployments(client)
    periods = (made["parameter_openapi_schema"] or {}).get(PERIODS, {})
    wrong = fault({**made["parameters"], **parameters}, periods, _running(every))
    return wrong and (409, {"detail": f"Error creating flow run: {wrong}"})


async def _looked_at(client: httpx.AsyncClient, given: Form) -> tuple[int, dict[str, Any]] | None:
    """Find what is wrong with a form of ours that is being filled in.

    The browser sends a schema without what it does not draw, the limits of numbers among it, so
    that the values are looked at by the schema of a deployment with the same form.
    """
    if EXPERIMENT not in (given["schema"].get("properties") or {}):
        return None
    every = await _deployments(client)
    ours = [one["parameter_openapi_schema"] or {} for one in every]
    periods: dict[str, Sequence[str]] = {}
    for schema in ours:
        periods |= schema.get(PERIODS, {})
    alike = [schema for schema in ours if _names(schema) == _names(given["schema"])]
    # One that was made when there were other data sets offers others.
    alike.sort(key=lambda schema: choices(schema) != choices(given["schema"]))
    asked = {"schema": (alike or [given["schema"]])[0], "values": given["values"]}
    said = (await client.post("/ui/schemas/validate", json=asked)).raise_for_status().json()
    wrong = fault(given["values"], periods, _running(every))
    return 200, said if wrong is None else beside(said, wrong)


def _names(schema: Form) -> tuple[set[str], set[str]]:
    """The names of a form's parts, by which it is known again."""
    return set(schema.get("properties") or {}), set(schema.get("definitions") or {})


def choices(part: object) -> list[object]:
    """All values that the fields of a form offer, in an order of their own."""
    if isinstance(part, list):
        return [choice for one in part for choice in choices(one)]
    if not isinstance(part, dict):
        return []
    own = part.get("enum") or []
    return [*own, *(choice for name in sorted(part) for choice in choices(part[name]))]


async def _deployments(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found = await client.post("/deployments/filter", json={"limit": MOST})
    every: list[dict[str, Any]] = found.raise_for_status().json()
    return every


def _running(deployments: Sequence[Form]) -> list[Form]:
    """Those whose schedules are on."""
    return [
        one
        for one in deployments
        if not one["paused"] and any(own["active"] for own in one["schedules"])
    ]
