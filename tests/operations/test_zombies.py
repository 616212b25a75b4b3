"""Workers, flow runs, servers and services that are killed: runs are ended, the store goes on."""

import os
import signal

import pytest

from tests.flows.test_server import wait_for
from tests.operations.serving import PATIENCE, Serve, signal_all

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1800)]

CLEARED = 120.0
"""Seconds after which a run without a process is marked at the latest; some twenty are usual."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = Serve(tmp_path_factory.mktemp("service"))
    try:
        made.start()
        wait_for(lambda: made.committed() >= 1, seconds=PATIENCE, what="the first cycle")
        yield made
    finally:
        made.stop()


def test_a_run_that_died_with_its_worker_is_cleared_and_the_store_goes_on(service):
    run, engines = service.victim()
    before = service.committed()
    worker = service.pid("worker-cpu")
    signal_all([worker, *engines], signal.SIGKILL)  # the worker first, so that it tells nobody
    wait_for(lambda: service.state(run) == "CRASHED", seconds=CLEARED, what="the zombie's end")
    assert "worker-cpu had ended; started again" in service.said()
    assert service.pid("worker-cpu") != worker
    service.goes_on(before)


def test_a_run_that_died_alone_is_cleared_at_once_by_its_worker(service):
    run, engines = service.victim()
    before = service.committed()
    signal_all(engines, signal.SIGKILL)
    wait_for(lambda: service.state(run) == "CRASHED", seconds=60.0, what="the run's end")
    service.goes_on(before)


def test_a_run_whose_worker_died_ends_by_itself(service):
    run, engines = service.victim()
    before = service.committed()
    os.kill(service.pid("worker-cpu"), signal.SIGKILL)
    signal_all(engines, signal.SIGCONT)
    wait_for(lambda: service.state(run) == "COMPLETED", seconds=CLEARED, what="the run's end")
    service.goes_on(before)


def test_a_cancelled_run_whose_worker_died_ends(service):
    run, engines = service.victim()
    worker = service.pid("worker-cpu")
    os.kill(worker, signal.SIGSTOP)  # it does nothing, and is not started again
    signal_all(engines, signal.SIGCONT)
    cancelling = {"state": {"type": "CANCELLING"}}
    service.api.post(f"flow_runs/{run}/set_state", cancelling)
    ends = ("CANCELLED", "COMPLETED")
    wait_for(lambda: service.state(run) in ends, seconds=CLEARED, what="the cancelled run's end")
    os.kill(worker, signal.SIGCONT)


def test_hold_and_release_wait_for_no_other_run(service):
    before = service.committed()
    for pool in ("cpu", "streams"):
        service.api.request("PATCH", f"work_pools/{pool}", {"is_paused": True})
    try:
        for name, asked in (("hold/hold", {"reason": "a test"}), ("release/release", {})):
            run = service.submit(name, **asked)
            wait_for(lambda run=run: service.state(run) == "COMPLETED", seconds=PATIENCE, what=name)
    finally:
        for pool in ("cpu", "streams"):
            service.api.request("PATCH", f"work_pools/{pool}", {"is_paused": False})
    service.goes_on(before)


def test_a_server_that_died_is_started_again_and_the_store_goes_on(service):
    run, engines = service.victim()
    before = service.committed()
    server = service.pid("server")
    os.kill(server, signal.SIGKILL)
    signal_all(engines, signal.SIGCONT)
    wait_for(lambda: service.pid("server") != server, seconds=60.0, what="another server")
    wait_for(service.api.healthy, seconds=PATIENCE, what="an answer of the server")
    assert "the server had ended with code -9; started again" in service.said()
    ends = ("CRASHED", "COMPLETED", "FAILED")  # a run waits some 30 seconds for a server
    wait_for(lambda: service.state(run) in ends, seconds=CLEARED, what="the run's end")
    service.goes_on(before)
    assert service.process.poll() is None


def test_a_server_that_dies_while_runs_start_leaves_none_of_them(service):
    run = service.starting()
    before = service.committed()
    signal_all(
        [service.pid("worker-cpu"), service.pid("server"), *service.engines()], signal.SIGKILL
    )
    wait_for(service.api.healthy, seconds=PATIENCE, what="an answer of the server")
    wait_for(lambda: service.state(run) == "CRASHED", seconds=CLEARED, what="the run's end")
    service.goes_on(before)


def test_a_service_that_was_killed_is_replaced_by_the_next(service):
    run = service.starting()
    before = service.committed()
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    assert service.left_running()
    signal_all(service.engines(), signal.SIGKILL)
    service.start()
    assert service.state(run) == "CRASHED"
    service.goes_on(before)


def test_stopping_leaves_nothing_and_takes_as_long_however_it_is_asked_for(service):
    took = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        service.starting()
        took[number] = service.stop(number)
        assert service.process.returncode == 0
        assert (service.left_in_database(), service.left_running()) == ([], [])
        service.start()
    # The same work is done; a run that is about to end by itself makes a difference of some
    # seconds, and so does the load of the machine.
    assert took[signal.SIGTERM] < 3 * took[signal.SIGINT] + 5, took
