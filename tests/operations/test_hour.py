"""An hour of the demonstration in six minutes, with a client that clicks without a pause: no
statement finds the database locked, no call is refused, no run is left behind."""

import itertools
import random
import threading
from collections import Counter

import httpx
import pytest

from tests.flows.test_server import wait_for
from tests.operations.serving import PATIENCE, Serve

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1800)]

COMPRESSION = 10
PERIODS = {"assimilate/demonstration": 60, "monitor/watch": 600}
"""Seconds between two runs of what is on a schedule."""
HOUR = 3600 / COMPRESSION
PAGES = {
    "flow_runs/filter": {"sort": "START_TIME_DESC", "limit": 200},
    "flow_runs/paginate": {"sort": "START_TIME_DESC", "limit": 50},
    "flow_runs/count": {},
    "task_runs/count": {},
    "deployments/filter": {"sort": "NAME_ASC"},
    "work_pools/filter": {},
    "artifacts/latest/filter": {"limit": 50},
    "logs/filter": {"sort": "TIMESTAMP_DESC", "limit": 200},
    "events/filter": {"limit": 50},
    "automations/filter": {},
}
"""What the pages of the UI ask for."""


class Clicks(threading.Thread):
    """A person who reads pages, submits and cancels runs, and switches schedules off and on."""

    def __init__(self, service: Serve):
        super().__init__()
        self._url = service.api.url
        self._client = httpx.Client(timeout=120.0)
        self._random = random.Random(1)
        self._over = threading.Event()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.submitted: list[str] = []

    def call(self, verb: str, path: str, body: dict | None = None) -> httpx.Response:
        answer = self._client.request(verb, f"{self._url}/{path}", json=body)
        self.answers[verb, answer.status_code] += 1
        return answer

    def run(self) -> None:
        names = ("assimilate/demonstration", "monitor/watch", "hold/hold", "release/release")
        for number in itertools.count():
            if self._over.wait(0.2):
                return
            for path in self._random.sample(sorted(PAGES), 3):
                self.call("POST", path, PAGES[path])
            if number % 10 == 0:
                name = names[number // 10 % len(names)]
                asked = {"parameters": {"reason": "a click"}} if name == "hold/hold" else {}
                self.submit(name, asked)
            if number % 25 == 0:
                self.switch("assimilate/demonstration")
            if number % 90 == 0 and self.submitted:
                cancelling = {"state": {"type": "CANCELLING"}}
                self.call("POST", f"flow_runs/{self.submitted[-1]}/set_state", cancelling)

    def submit(self, name: str, asked: dict) -> None:
        deployment = self.call("GET", f"deployments/name/{name}").json()
        given = {"parameters": deployment["parameters"] | asked.get("parameters", {})}
        made = self.call("POST", f"deployments/{deployment['id']}/create_flow_run", given)
        if made.is_success:
            self.submitted.append(made.json()["id"])

    def switch(self, name: str) -> None:
        identifier = self.call("GET", f"deployments/name/{name}").json()["id"]
        self.call("POST", f"deployments/{identifier}/pause_deployment")
        self.call("POST", f"deployments/{identifier}/resume_deployment")

    def stop(self) -> None:
        self._over.set()
        self.join()


def compress(service: Serve) -> None:
    """Let what is on a schedule run more often."""
    for name, seconds in PERIODS.items():
        deployment = service.api.request("GET", f"deployments/name/{name}")
        path = f"deployments/{deployment['id']}/schedules"
        for schedule in deployment["schedules"]:
            service.api.request("DELETE", f"{path}/{schedule['id']}")
        interval = {"schedule": {"interval": seconds / COMPRESSION}, "active": True}
        service.api.post(path, [interval])


def test_an_hour_with_a_person_at_the_ui_leaves_no_error_and_no_run(tmp_path):
    service = Serve(tmp_path)
    clicks = Clicks(service)
    try:
        service.start()
        compress(service)
        clicks.start()
        clicks.join(HOUR)
        assert clicks.is_alive()
        clicks.stop()
        for name in PERIODS:
            identifier = service.api.request("GET", f"deployments/name/{name}")["id"]
            service.api.post(f"deployments/{identifier}/pause_deployment", {})
        # Those that were cancelled, too.
        wait_for(
            lambda: not service.runs("CANCELLING"),
            seconds=PATIENCE,
            what="the end of cancelled runs",
        )
        ended = Counter(run["state_name"] for run in service.runs("COMPLETED", "CRASHED").values())
    finally:
        service.stop()
    refused = {asked: count for asked, count in clicks.answers.items() if asked[1] >= 500}
    assert not refused, clicks.answers
    log = (tmp_path / "logs" / "server.log").read_text()
    assert log.count("database is locked") == 0
    assert "dead letter" not in log.lower()
    assert ended["Completed"] >= 5, ended  # even on a busy machine
    assert ended["Crashed"] == 0, ended
    assert sum(clicks.answers.values()) > HOUR
    assert service.left_in_database() == []
    assert service.left_running() == []
