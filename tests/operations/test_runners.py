"""The runners of a backfill on a real server and real workers: they leave the same store."""

import os
import signal

import pytest

from tests.experiments import small
from tests.flows.test_server import wait_for
from tests.operations.backfill_program import GROUPS
from tests.operations.services import deployed, started, two_workers
from vardax_core.data.recipe import validate_recipe

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A server with the pool and the deployment of streams."""
    values = small.recipe().model_dump(mode="json")
    values["period"]["end"] = "2001-05-15T00:00:00Z"  # 2001 cycles, several commits of a group
    recipe = validate_recipe(values, "small")
    with deployed(tmp_path_factory.mktemp("service"), "streams", "streams", recipe) as made:
        yield made


def program(folder, runner, service):
    arguments = ["tests.operations.backfill_program", str(folder / "root"), runner]
    return started(folder / "backfill.log", arguments, service.variables)


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
    (flow,) = (f for f in service.client.read_flows() if f.name == "fill")
    return {run.id: run for run in service.client.read_flow_runs() if run.flow_id == flow.id}


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
        with two_workers(tmp_path, "streams", service):
            assert digest_of(tmp_path, process) == local
    made = [run for run in fills(service).values() if run.id not in before]
    assert len(made) == GROUPS
    assert {run.state_name for run in made} == {"Completed"}
    assert all("backfill" in run.tags and run.parent_task_run_id for run in made)
    # The bars of the streams, as the artifact showed them last.
    (shown,) = (
        a
        for a in service.client.read_artifacts()
        if a.flow_run_id == parent_of(service, made[0]) and a.type == "progress"
    )
    assert shown.data == 100.0
    assert shown.description.count("█" * 20) == 4


def parent_of(service, run):
    return service.client.read_task_run(run.parent_task_run_id).flow_run_id


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

    with two_workers(tmp_path, "streams", service):
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
