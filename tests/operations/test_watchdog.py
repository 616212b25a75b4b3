"""The watchdog on a real server: what has no process is ended, what lives anywhere is let alone."""

import os
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from flows.environment import RUN_VARIABLE
from flows.service_api import Api
from flows.watchdog import (
    BEGINNING,
    BEGUN,
    CANCELLING,
    FETCHING,
    SILENCE,
    WORKER_LABEL,
    Watchdog,
    Worker,
    worker_name,
)
from tests.flows.test_server import server, wait_for

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(300)]

SECOND = timedelta(seconds=1)
STATES = {
    "Pending": ["Pending"],
    "Submitting": ["Pending", "Submitting"],
    "Running": ["Pending", "Running"],
    "Cancelling": ["Pending", "Running", "Cancelling"],
}
"""Names of states in which a run holds its places, and how it comes there."""


def now() -> datetime:
    return datetime.now(UTC)


class Site:
    """A pool of its own, and a deployment that takes one run at a time."""

    def __init__(self, api: Api):
        self.api = api
        self.pool = f"pool-{uuid.uuid4().hex[:8]}"
        self.here = worker_name(self.pool)
        api.post("work_pools/", {"name": self.pool, "type": "process", "concurrency_limit": 1})
        flow = api.post("flows/", {"name": self.pool})
        wanted = {"name": self.pool, "flow_id": flow["id"], "work_pool_name": self.pool}
        made = api.post("deployments/", wanted | {"concurrency_limit": 1})
        self.deployment = made["id"]
        self.watchdog = Watchdog(api, [self.pool])

    def worker(self, since: datetime) -> list[Worker]:
        return [Worker(self.here, self.pool, since)]

    def run(self, state: str, label: str | None) -> str:
        """A run in a state, which a worker has taken."""
        run = self.api.post(f"deployments/{self.deployment}/create_flow_run", {})["id"]
        for name in STATES[state]:
            wanted = {"type": "PENDING" if name == "Submitting" else name.upper(), "name": name}
            done = self.api.post(f"flow_runs/{run}/set_state", {"state": wanted})
            assert done["status"] == "ACCEPT", done
            if name == "Pending" and label is not None:
                self.api.request("PATCH", f"flow_runs/{run}/labels", {WORKER_LABEL: label})
        return run

    def state(self, run: str) -> str:
        return self.api.request("GET", f"flow_runs/{run}")["state"]["name"]

    def look(self, workers: list[Worker], after: timedelta = timedelta(0)) -> None:
        """Look now and at an instant after that."""
        self.watchdog.look(workers, now())
        if after:
            self.watchdog.look(workers, now() + after)

    def heartbeat(self, run: str) -> None:
        event = {
            "event": "prefect.flow-run.heartbeat",
            "id": str(uuid.uuid4()),
            "occurred": now().isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        }
        self.api.post("events", [event])
        wanted = {
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            "event": {"name": ["prefect.flow-run.heartbeat"]},
        }
        wait_for(
            lambda: self.api.post("events/filter", {"filter": wanted})["events"],
            seconds=30,
            what="the heartbeat",
        )

    def next_begins(self) -> bool:
        """Whether the deployment has a place for one more run."""
        run = self.api.post(f"deployments/{self.deployment}/create_flow_run", {})["id"]
        done = self.api.post(f"flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
        return done["status"] == "ACCEPT"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with server(tmp_path_factory.mktemp("prefect"), "flows.server") as url:
        yield Api(url)


@pytest.fixture
def site(api):
    return Site(api)


@pytest.fixture
def process():
    """Start a process that executes a run, as far as the table of processes says."""
    started = []

    def start(run: str) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", "input()"],
                env=os.environ | {RUN_VARIABLE: run},
                stdin=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.communicate()


@pytest.mark.parametrize("state", STATES)
def test_a_service_that_starts_ends_what_a_former_one_has_left(site, state):
    run = site.run(state, site.here)
    assert not site.next_begins()
    site.look([])
    assert site.state(run) == ("Cancelled" if state == "Cancelling" else "Crashed")
    assert site.next_begins()


@pytest.mark.parametrize("state", STATES)
def test_what_a_worker_took_that_was_started_again_is_ended(site, state):
    run = site.run(state, site.here)
    site.look(site.worker(since=now()))
    assert site.state(run) in ("Cancelled", "Crashed")


def test_a_run_that_was_taken_and_not_yet_labelled_is_known_by_its_pool(site):
    run = site.run("Pending", None)
    site.look(site.worker(since=now() - 9 * SECOND))
    assert site.state(run) == "Pending"
    site.look([])
    assert site.state(run) == "Crashed"


@pytest.mark.parametrize("state", STATES)
def test_a_worker_at_work_has_time_to_start_and_to_report(site, state):
    begun = site.worker(since=now() - SECOND)
    run = site.run(state, site.here)
    grace = BEGINNING if state in ("Pending", "Submitting") else BEGUN
    site.look(begun, grace - 5 * SECOND)
    assert site.state(run) == state
    site.look(begun, grace + 5 * SECOND)
    assert site.state(run) in ("Cancelled", "Crashed")


def test_a_run_with_a_process_lives_for_ever_whoever_started_it(site, process):
    run = site.run("Running", site.here)
    child = process(run)
    site.look([], timedelta(days=9))
    assert site.state(run) == "Running"
    child.communicate()
    site.look([])
    assert site.state(run) == "Crashed"


def test_a_cancelled_run_whose_worker_is_gone_is_ended_and_its_process_too(site, process):
    run = site.run("Cancelling", site.here)
    child = process(run)
    site.look([], CANCELLING - 5 * SECOND)
    assert child.poll() is None
    site.look([], CANCELLING + SECOND)
    assert child.wait(30) == -signal.SIGTERM
    site.look([])
    assert site.state(run) == "Cancelled"


@pytest.mark.parametrize("label", ["cpu@elsewhere", None])
def test_a_run_elsewhere_lives_while_it_is_heard_of(site, label):
    online = {"name": "cpu@elsewhere", "heartbeat_interval_seconds": 3600}
    site.api.post(f"work_pools/{site.pool}/workers/heartbeat", online)
    run = site.run("Running", label)
    site.look([], SILENCE - 9 * SECOND)
    site.look([], timedelta(days=1))
    assert site.state(run) == "Running"  # it may be one that sends no heartbeats
    site.heartbeat(run)
    site.look([], SILENCE - 9 * SECOND)
    assert site.state(run) == "Running"
    site.look([], SILENCE + 9 * SECOND)
    assert site.state(run) == "Crashed"


def test_a_run_elsewhere_may_take_long_to_start_while_its_worker_is_online(site):
    run = site.run("Submitting", "docker@elsewhere")
    online = {"name": "docker@elsewhere", "heartbeat_interval_seconds": 3600}
    site.api.post(f"work_pools/{site.pool}/workers/heartbeat", online)
    site.look([], FETCHING - 9 * SECOND)
    assert site.state(run) == "Submitting"
    site.look([], FETCHING + 9 * SECOND)
    assert site.state(run) == "Crashed"


def test_a_run_of_a_worker_elsewhere_that_is_gone_is_ended_after_a_while(site):
    run = site.run("Submitting", "docker@elsewhere")
    site.look([], SILENCE - 9 * SECOND)
    assert site.state(run) == "Submitting"
    site.look([], SILENCE + 9 * SECOND)
    assert site.state(run) == "Crashed"


def test_a_place_that_no_run_holds_is_given_back(site):
    """As it is where the server died between the count and the run."""
    path = f"v2/concurrency_limits/deployment:{site.deployment}"
    site.api.request("PATCH", path, {"active_slots": 1})
    assert not site.next_begins()
    site.look([], BEGUN - SECOND)
    assert not site.next_begins()
    site.look([], BEGUN + SECOND)
    assert site.next_begins()


def test_a_part_of_a_run_ends_with_it(site):
    parent = site.run("Running", site.here)
    task = {"flow_run_id": parent, "task_key": "part", "dynamic_key": "0"}
    task = site.api.post("task_runs/", task)["id"]
    flow = site.api.request("GET", f"flow_runs/{parent}")["flow_id"]
    part = {"flow_id": flow, "parent_task_run_id": task, "state": {"type": "RUNNING"}}
    run = site.api.post("flow_runs/", part)["id"]
    site.watchdog.look(site.worker(since=now() - 9 * SECOND), now())
    assert site.state(run) == "Running"
    site.look([], SECOND)
    assert {site.state(parent), site.state(run)} == {"Crashed"}
