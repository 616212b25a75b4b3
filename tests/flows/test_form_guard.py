"""Forms are refused for what their schemas cannot say: reversed periods, cycles of a schedule."""

import httpx
import pytest

from flows.form_guard import PERIODS, Fault, beside, choices, fault
from flows.forms import manual, periods, with_data_sets
from flows.watch_parameters import PeriodParameters
from tests.flows.test_server import server

KNOWN = {"ring": ["2000-01-01T00:00", "2000-03-01T00:00"]}
RING = {"dataset": "ring", "method": "etkf"}
PLAN = {"type": "object", "properties": {"streams": {"type": "integer", "minimum": 1}}}
FULL = {"type": "object", "properties": {"experiment": {}, "plan": PLAN}, PERIODS: KNOWN}
SCHEDULED = [{"name": "hourly", "parameters": {"experiment": RING, "target": {}}}]


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        (
            {"period": {"since": "2000-02-01T00:00:00Z", "until": "2000-01-01T00:00:00Z"}},
            "period.since: expected a time before period.until, got 2000-02-01 00:00 UTC, which "
            "is after 2000-01-01 00:00 UTC; exchange the two.",
        ),
        (
            {"experiment": RING, "plan": {"until": "1999-12-31T00:00:00Z"}},
            "plan.until: expected a time in the period of ring, 2000-01-01 00:00 UTC to "
            "2000-03-01 00:00 UTC, got 1999-12-31 00:00 UTC; choose one in it.",
        ),
        (
            {"experiment": RING, "target": {"until": "2001-01-01"}},
            "target.until: expected a time in the period of ring, 2000-01-01 00:00 UTC to "
            "2000-03-01 00:00 UTC, got 2001-01-01 00:00 UTC; choose one in it.",
        ),
        (
            {"experiment": {**RING, "lag": 0, "advanced": None}, "plan": {"streams": 3}},
            "plan: expected an experiment that nothing else adds cycles to, got ring/etkf, whose "
            "cycles the schedule of the deployment hourly makes; pause that schedule first, or "
            "leave them to it.",
        ),
    ],
)
def test_what_is_wrong_with_a_form_is_said(forms, said):
    assert str(fault(forms, KNOWN, SCHEDULED)) == said


@pytest.mark.parametrize(
    "forms",
    [
        {},
        {"experiment": RING, "target": {"until": "2000-02-01T01:00:00+02:00"}},
        {"experiment": RING, "target": {"until": "2001-01-01", "advanced": {"follow": "schedule"}}},
        {"experiment": RING, "target": {"until": "soon"}},
        {"experiment": RING, "plan": {"streams": 3, "dry_run": True}},
        {"experiment": {**RING, "advanced": {"cut_off": "3h"}}, "plan": {"streams": 3}},
        {"experiment": {"dataset": "sea", "method": "etkf"}, "plan": {"until": "1900-01-01"}},
    ],
)
def test_other_forms_are_taken(forms):
    assert fault(forms, KNOWN, SCHEDULED) is None


def test_a_fault_stands_beside_its_field():
    forms = {"experiment": RING, "target": {"advanced": {"until": "1999-01-01"}}}
    wrong = fault(forms, KNOWN, [])
    assert wrong is not None
    assert wrong.field == ("target", "advanced", "until")
    known = {"property": "target", "errors": [{"property": "cycles", "errors": ["too few"]}]}
    found = beside({"errors": [known], "valid": False}, wrong)
    own = {"property": "until", "errors": ["E" + wrong.words[1:]]}
    advanced = {"property": "advanced", "errors": [own]}
    assert found == {
        "errors": [{"property": "target", "errors": [*known["errors"], advanced]}],
        "valid": False,
    }
    assert beside({"errors": [], "valid": True}, Fault(("plan",), "no.")) == {
        "errors": [{"property": "plan", "errors": ["No."]}],
        "valid": False,
    }


def test_a_form_is_known_by_what_it_offers():
    offered = {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}
    form = {"properties": {"x": offered}, "definitions": {"y": {"enum": [1], "minimum": 0}}}
    drawn = {"definitions": {"y": {"enum": [1]}}, "properties": {"x": offered}}
    assert choices(form) == choices(drawn) == [1, "a", "b"]
    assert choices(form) != choices({"properties": {"x": {"enum": ["a"]}}})


def test_a_form_knows_the_periods_of_its_data_sets():
    found = with_data_sets({"properties": {}}, ["lorenz96"], periods(["lorenz96", "nothing"]))
    assert found[PERIODS]["lorenz96"][0] == "2000-01-01T00:00"
    assert "nothing" not in found[PERIODS]


def test_a_reversed_period_is_refused_without_a_form_too():
    with pytest.raises(ValueError, match="exchange the two"):
        PeriodParameters(since="2000-02-01T00:00Z", until="2000-01-01T00:00Z")


@pytest.mark.flows
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_of_a_service_refuses_such_forms(tmp_path):
    assert "backfill" in manual()["flows"]
    with server(tmp_path, "flows.server") as url:

        def post(path: str, body: dict) -> httpx.Response:
            return httpx.post(f"{url}/{path}", json=body, timeout=60)

        schedule = {"schedule": {"cron": "* * * * *"}, "active": True}
        made = {}
        for name, parameters, schedules in (
            ("backfill", {"experiment": RING, "plan": {}}, []),
            ("hourly", SCHEDULED[0]["parameters"], [schedule]),
        ):
            flow = post("flows/", {"name": name}).json()["id"]
            body = {
                "name": name,
                "flow_id": flow,
                "parameters": parameters,
                "schedules": schedules,
                "parameter_openapi_schema": FULL,
            }
            made[name] = post("deployments/", body).json()["id"]

        def submit(**plan: object) -> httpx.Response:
            given = {"parameters": {"plan": plan}}
            return post(f"deployments/{made['backfill']}/create_flow_run", given)

        def looked_at(**plan: object) -> dict:
            # As the browser sends it, without the limits of numbers and all that is ours.
            schema = {"type": "object", "properties": {"experiment": {}, "plan": {}}}
            values = {"experiment": RING, "plan": plan}
            return post("ui/schemas/validate", {"schema": schema, "values": values}).json()

        (at_plan,) = looked_at(until="1999-01-01")["errors"]
        assert at_plan["property"] == "plan"
        (at_field,) = at_plan["errors"]
        assert at_field["property"] == "until"
        assert at_field["errors"][0].startswith("Expected a time in the period of ring")
        (limit,) = looked_at(streams=0, dry_run=True)["errors"]
        assert limit["errors"][0]["errors"] == ["0 is less than the minimum of 1"]
        unread = post("ui/schemas/validate", {"values": {}})
        assert unread.status_code == 422
        assert looked_at(until="2000-02-01") == {"errors": [], "valid": True}
        refused = submit(until="1999-01-01")
        assert refused.status_code == 409
        assert refused.json()["detail"].startswith("Error creating flow run: plan.until: expected")
        assert "of the deployment hourly" in submit(streams=3).json()["detail"]
        taken = submit(until="2000-02-01")
        assert taken.status_code == 201
        assert taken.json()["parameters"]["plan"] == {"until": "2000-02-01"}
        httpx.patch(f"{url}/deployments/{made['hourly']}", json={"paused": True}, timeout=60)
        assert submit(streams=3).status_code == 201
