"""How a backfill judges the runs of its groups in a work pool, and what it says of the pool."""

import logging
import types
import uuid

import httpx
import pytest
from prefect.exceptions import TerminationSignal
from prefect.states import Completed, Crashed, Failed, Running, Scheduled, State

from flows import pool
from flows.parameters import BackfillParameters, ExperimentParameters
from flows.runners import Job, RunnerError
from vardax_core.store import SupersededError
from vardax_core.store.location import LocalLocation

URL = "http://127.0.0.1:4200/api"


class Server:
    """A server whose runs take one state after another from a list."""

    def __init__(self, states: list[State], *, workers: tuple[str, ...] = ("ONLINE",)):
        self.api_url = URL
        self.states = iter(states)
        self.keys: dict[str, uuid.UUID] = {}
        self.ended: set[uuid.UUID] = set()
        self.workers = workers
        self.paused = False
        self.cancelled: list[uuid.UUID] = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def read_deployment_by_name(self, name):
        return types.SimpleNamespace(id=uuid.uuid4(), work_pool_name="streams")

    def run_deployment(self, name, *, idempotency_key, **options):
        run = self.keys.setdefault(idempotency_key, uuid.uuid4())
        state = Crashed() if run in self.ended else Scheduled()
        return types.SimpleNamespace(id=run, name=idempotency_key, state=state)

    def read_flow_run(self, run):
        state = next(self.states)
        if isinstance(state, Exception):
            raise state
        if state.is_final():
            self.ended.add(run)
        return types.SimpleNamespace(id=run, name="a run", state=state)

    def read_work_pool(self, name):
        return types.SimpleNamespace(is_paused=self.paused)

    def read_workers_for_work_pool(self, name):
        return [types.SimpleNamespace(status=status) for status in self.workers]

    def set_flow_run_state(self, run, state):
        assert state.is_cancelling()
        self.cancelled.append(run)


@pytest.fixture
def watched(tmp_path, monkeypatch, caplog):
    """Run the pool runner against a server, with so many looks before the group is done."""
    monkeypatch.setattr(pool, "POLL", 0.0)
    monkeypatch.setattr(pool, "get_run_logger", lambda: logging.getLogger("backfill"))
    caplog.set_level(logging.INFO, "backfill")
    experiment = ExperimentParameters.model_validate({"root": tmp_path})

    def run(server, looks=1000):
        monkeypatch.setattr(pool, "get_client", lambda sync_client: server)
        monkeypatch.setattr(pool, "run_deployment", server.run_deployment)
        work = types.SimpleNamespace(branch="backfill-0-30-2-4-2")
        branch = types.SimpleNamespace(location=LocalLocation(tmp_path))
        known = Job(experiment, BackfillParameters(), work, branch, {})
        left = iter(range(looks - 1, 0, -1))
        share = types.SimpleNamespace(model_dump=lambda mode: {})
        job = types.SimpleNamespace(
            **vars(known),
            shares=lambda: {0: share} if next(left, 0) else {},
            portable=known.portable,
            superseded=known.superseded,
        )
        return pool.in_pool(job)

    return run


def test_runs_that_crash_are_started_again_three_times(watched, caplog):
    server = Server([Scheduled(), Running(), Crashed(message="killed")] * 9)
    with pytest.raises(RunnerError, match=r"crashed, as 3 before it.*killed"):
        list(watched(server))
    assert len(server.keys) == 4
    assert caplog.text.count("started again") == 3


def test_a_group_that_was_committed_after_its_run_was_read_has_not_crashed(watched):
    server = Server([Running(), Completed(message="200 cycles of group 1")])
    # Two looks see the group at work; the third finds it done, behind the end of its run.
    assert len(list(watched(server, looks=3))) == 2
    assert len(server.keys) == 1


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (Failed(message="UnprovenModelError: no gate report"), RunnerError, "no gate report"),
        (Completed(message="superseded"), SupersededError, "backfill-0-30-2-4-2"),
    ],
)
def test_an_end_that_no_other_run_would_mend_ends_the_backfill(watched, state, error, told):
    with pytest.raises(error, match=told):
        list(watched(Server([Running(), state])))


def test_a_pool_without_workers_is_named_with_the_command_that_starts_one(watched, caplog):
    list(watched(Server([Scheduled()] * 9, workers=("OFFLINE",)), looks=8))
    told = f"'streams' has no worker, and 1 run waits for one; start one: PREFECT_API_URL={URL}"
    assert caplog.text.count(told) == 1
    assert "prefect worker start --pool streams" in caplog.text


def test_a_paused_pool_is_named(watched, caplog):
    server = Server([Scheduled()] * 9)
    server.paused = True
    list(watched(server, looks=4))
    assert "is paused" in caplog.text
    assert "prefect work-pool resume streams" in caplog.text


def test_a_server_that_is_silent_for_a_while_costs_nothing(watched, caplog):
    silence = [httpx.ConnectError("refused")] * 3
    list(watched(Server([Running(), *silence, *[Running()] * 9]), looks=8))
    assert caplog.text.count("The server does not answer") == 1
    assert caplog.text.count("The server answers again") == 1


def test_a_server_that_stays_silent_ends_the_backfill(watched, monkeypatch):
    monkeypatch.setattr(pool, "SILENCE", -1.0)
    with pytest.raises(RunnerError, match=r"has not answered.*run the backfill again"):
        list(watched(Server([Running(), httpx.ConnectError("refused")])))


def test_a_cancelled_backfill_cancels_its_runs(watched):
    server = Server([Running()] * 9)
    moments = watched(server)
    next(moments)
    with pytest.raises(TerminationSignal):
        moments.throw(TerminationSignal(15))
    assert server.cancelled == list(server.keys.values())


def test_the_parameters_of_a_run_hold_for_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = ExperimentParameters.model_validate({"root": "here"})
    job = Job(experiment, BackfillParameters(), None, None, {})
    assert job.portable()["root"] == str(tmp_path / "here")
