"""`vardax deploy` and the forms of a service, against the answers of a server."""

from datetime import timedelta

import httpx
import pytest

from flows.cli import ExitCode
from flows.deploying import IntervalError, deploy
from flows.environment import ServerError
from flows.forms import BY_HAND, bring_up_to_date, manual, page

BASE = {
    "id": "1",
    "flow_id": "f",
    "name": "operational",
    "description": "Catch up.",
    "entrypoint": "flows/assimilate.py:assimilate",
    "work_pool_name": "cpu",
    "concurrency_limit": 1,
    "schedules": [],
    "parameters": {"experiment": {"dataset": "gone"}},
    "parameter_openapi_schema": {"properties": {"dataset": {"type": "string"}}},
}


class Server:
    """What a service asks of the API, and what it is answered."""

    url = "http://127.0.0.1:4200/api"

    def __init__(self, *deployments):
        self.deployments = {one["name"]: one for one in deployments}
        self.sent = []

    def request(self, verb, path, body=None):
        self.sent.append((verb, path, body))
        name = path.rpartition("/")[2]
        if verb == "GET" and name not in self.deployments:
            asked = httpx.Request(verb, path)
            raise httpx.HTTPStatusError("404", request=asked, response=httpx.Response(404))
        return self.deployments.get(name)

    def post(self, path, body):
        return self.request("POST", path, body)

    def all(self, path, body):
        flows = [{"id": "f", "name": "assimilate"}]
        return flows if path.startswith("flows/") else list(self.deployments.values())


def test_a_data_set_of_one_s_own_is_assimilated_and_watched():
    server = Server(BASE, BASE | {"name": "watch-operational"})
    experiment = {"dataset": "sea", "method": "letkf"}
    made = deploy(server, "sea-letkf", experiment, timedelta(hours=6), ["operational"])
    assert made == ("assimilate/sea-letkf", "monitor/sea-letkf")
    bodies = [body for verb, _, body in server.sent if verb == "POST"]
    for body in bodies:
        assert body["parameters"] == {"experiment": experiment, "target": {"follow": "schedule"}}
        (schedule,) = body["schedules"]
        assert schedule["schedule"]["interval"] == 6 * 3600
        assert body["work_pool_name"] == "cpu"
    with pytest.raises(IntervalError, match="a minute or more"):
        deploy(server, "sea", experiment, timedelta(seconds=5), [])
    with pytest.raises(ServerError, match="start it with `vardax serve`"):
        deploy(Server(), "sea", experiment, timedelta(hours=6), [])


def test_a_schedule_is_said_in_the_manual():
    every = [{"active": True, "schedule": {"interval": 21600}}]
    said = manual()
    assert "**When** Every 6:00:00 hours." in page("Catch up.", "assimilate", "sea", said, every)
    assert BY_HAND in page("Catch up.", "assimilate", "sea", said)


def test_forms_are_written_once():
    server = Server(BASE)
    names = bring_up_to_date(server)
    ((verb, path, changed),) = server.sent
    assert (verb, path) == ("PATCH", "deployments/1")
    fields = changed["parameter_openapi_schema"]["properties"]
    # A deployment whose recipe was taken away can still be looked at.
    assert fields["dataset"]["enum"] == sorted([*names, "gone"])
    assert "lorenz96" in names
    server = Server(BASE | changed)
    bring_up_to_date(server)
    assert server.sent == []


def test_deploy_without_a_service_says_how_to_start_one(vardax, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    result = vardax("deploy", "small", "--every", "6h", "-m", "climatology")
    assert result.exit_code == ExitCode.WRONG_INPUT
    assert "start it with `vardax serve`" in result.output
    result = vardax("deploy", "small", "--every", "soon", "-m", "climatology")
    assert "a time such as 6h" in result.output


def test_a_dry_run_says_what_would_be_done_and_makes_nothing(vardax, tmp_path):
    result = vardax("backfill", "small", "-m", "climatology", "--dry-run")
    assert result.exit_code == ExitCode.DONE, result.output
    assert "30 cycles from 2000-01-01 00:00 to 2000-01-08 06:00 UTC" in result.output
    assert not (tmp_path / "root" / "experiments").exists()
