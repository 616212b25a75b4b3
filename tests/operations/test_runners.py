"""The runners of a backfill on a real server and real workers: they leave the same store."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from flows.serve import DEPLOYMENTS, HOME
from tests.experiments import small
from tests.flows.test_server import environment, server, wait_for
from tests.operations.backfill_program import GROUPS
from vardax_core.data.recipe import validate_recipe

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A server with the pool and the deployment of streams: its client, and its environment."""
    folder = tmp_path_factory.mktemp("service")
    values = small.recipe().model_dump(mode="json")
    values["period"]["end"] = "2001-05-15T00:00:00Z"  # 2001 cycles, several commits of a group
    small.write_recipe(folder / "datasets", validate_recipe(values, "small"))
    with server(folder) as url, SyncPrefectClient(url) as client:
        variables = environment(
            folder,
            PREFECT_API_URL=url,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            VARDAX_DATASETS_DIR=str(folder / "datasets"),
            VARDAX_HOME=str(HOME),
            PYTHONPATH=str(HOME),
        )
        client.create_work_pool(WorkPoolCreate(name="streams", type="process"))
        deploy = ["--no-prompt", "deploy", "--name", "streams"]
        file = ["--prefect-file", str(DEPLOYMENTS / "prefect.yaml")]
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *deploy, *file],
            cwd=HOME,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield client, variables


@contextmanager
def started(log, arguments, variables) -> Iterator[subprocess.Popen]:
    """A process with its log, ended at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=HOME,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def program(folder, runner, service):
    arguments = ["tests.operations.backfill_program", str(folder / "root"), runner]
    return started(folder / "backfill.log", arguments, service[1])


@contextmanager
def two_workers(folder, service):
    worker = ["prefect", "worker", "start", "--type", "process", "--pool", "streams"]
    limit = ["--limit", "1", "--name"]
    with (
        started(folder / "one.log", [*worker, *limit, "one"], service[1]) as one,
        started(folder / "two.log", [*worker, *limit, "two"], service[1]) as two,
    ):
        yield one, two


def digest_of(folder, process):
    """The digest that a backfill prints when it has ended."""
    process.wait(PATIENCE)
    text = (folder / "backfill.log").read_text()
    assert process.returncode == 0, text
    *_, state, digest = text.split("\n")[:-1]
    assert state == "Completed 2001 cycles in 4 streams", text
    return digest


@pytest.fixture(scope="module")
def local(service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    with program(folder, "local", service) as process:
        return digest_of(folder, process)


def fills(service):
    """The runs of groups, by their identifier."""
    (flow,) = (f for f in service[0].read_flows() if f.name == "fill")
    return {run.id: run for run in service[0].read_flow_runs() if run.flow_id == flow.id}


def test_dask_leaves_the_store_of_the_local_runner(service, local, tmp_path):
    with program(tmp_path, "dask", service) as process:
        assert digest_of(tmp_path, process) == local


def test_a_pool_is_waited_for_and_leaves_the_store_of_the_local_runner(service, local, tmp_path):
    before = fills(service).keys()
    with program(tmp_path, "pool", service) as process:
        wanted = "work pool 'streams' has no worker, and 2 runs wait for one; start one: "
        log = tmp_path / "backfill.log"
        wait_for(lambda: wanted in log.read_text(), seconds=PATIENCE, what="the line")
        assert "prefect worker start --pool streams" in log.read_text()
        with two_workers(tmp_path, service):
            assert digest_of(tmp_path, process) == local
    made = [run for run in fills(service).values() if run.id not in before]
    assert len(made) == GROUPS
    assert {run.state_name for run in made} == {"Completed"}
    assert all("backfill" in run.tags and run.parent_task_run_id for run in made)
    # The bars of the streams, as the artifact showed them last.
    (shown,) = (
        a for a in service[0].read_artifacts() if a.flow_run_id == parent_of(service, made[0])
    )
    assert shown.data == 100.0
    assert shown.description.count("█" * 20) == 4


def parent_of(service, run):
    return service[0].read_task_run(run.parent_task_run_id).flow_run_id


def test_a_backfill_that_dies_finds_its_runs_and_a_run_that_dies_is_replaced(
    service, local, tmp_path
):
    before = fills(service).keys()

    def at_work():
        return [
            run
            for run in fills(service).values()
            if run.id not in before and run.state_name == "Running"
        ]

    with two_workers(tmp_path, service):
        with program(tmp_path, "pool", service) as process:
            first = wait_for(at_work, seconds=PATIENCE, what="a run of a group")
            os.killpg(process.pid, signal.SIGKILL)
        found = engine_of(first[0].id)
        if found is not None:  # it may have ended meanwhile
            os.kill(found, signal.SIGKILL)
        with program(tmp_path, "pool", service) as process:
            assert digest_of(tmp_path, process) == local
    made = [run for run in fills(service).values() if run.id not in before]
    assert len(made) <= GROUPS + 1
    states = sorted(run.state_name for run in made)
    assert states[:-GROUPS] in ([], ["Completed"], ["Crashed"])


def engine_of(flow_run):
    """The process that runs a flow run: its identifier is in its environment."""
    for environ in os.scandir("/proc"):
        if environ.name.isdigit():
            try:
                with open(f"/proc/{environ.name}/environ", "rb") as stream:
                    variables = stream.read().split(b"\0")
            except OSError:
                continue
            if f"PREFECT__FLOW_RUN_ID={flow_run}".encode() in variables:
                return int(environ.name)
    return None
