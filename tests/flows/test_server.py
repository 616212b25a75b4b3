"""The flows on a real Prefect server: what its scheduler does and what its pages show."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.assimilate import assimilate
from flows.cycles_page import SHOWN
from flows.environment import ALWAYS
from flows.parameters import ExperimentParameters
from tests.support import ROOT
from vardax_core.data.catalogue import datasets_dir

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(900)]

START_UP = 150.0
"""Seconds for a server with an empty database; it takes 20 on two quiet cores."""
SCHEDULING = 90.0
"""Seconds for the scheduler, which looks for new deployments every 5 and for all every 60."""

T = TypeVar("T")


def wait_for(look: Callable[[], T], *, seconds: float, what: str) -> T:
    """The first true value of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    pytest.fail(f"{what} did not happen within {seconds:g} s")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's, without any Prefect setting of its user."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    return {**kept, **ALWAYS, "PREFECT_HOME": str(home), **more}


@contextmanager
def server(home: Path, module: str = "prefect") -> Iterator[str]:
    """A server with a database of its own, of Prefect or of the service; its API's address."""
    port = free_port()
    log = home / "server.log"
    command = [sys.executable, "-m", module, "server", "start"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment(home, PREFECT_SERVER_UI_API_URL="/api", PYTHONPATH=str(ROOT)),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}/api"

    def healthy() -> bool:
        assert process.poll() is None, f"the server died:\n{log.read_text()}"
        try:
            return httpx.get(f"{url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    try:
        wait_for(healthy, seconds=START_UP, what="a healthy server")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def api(tmp_path_factory) -> Iterator[SyncPrefectClient]:
    with server(tmp_path_factory.mktemp("prefect")) as url, SyncPrefectClient(url) as client:
        yield client


@pytest.fixture(scope="module")
def runs(api, tmp_path_factory) -> dict[str, list[FlowRun]]:
    """The flow runs of `real_flows.py` on the server by name, in order of their start."""
    folder = tmp_path_factory.mktemp("flows")
    recipe = yaml.safe_load((datasets_dir() / "lorenz96" / "recipe.yaml").read_text())
    recipe["period"]["end"] = "2000-01-08T06:00:00Z"
    recipe["burn_in"] = 5
    (folder / "datasets" / "lorenz96").mkdir(parents=True)
    (folder / "datasets" / "lorenz96" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    program = Path(__file__).with_name("real_flows.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder / "root")],
        env=environment(
            folder,
            PREFECT_API_URL=str(api.api_url),
            VARDAX_DATASETS_DIR=str(folder / "datasets"),
            PYTHONPATH=str(program.parents[2]),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    undeployed = FlowRunFilter.model_validate({"deployment_id": {"is_null_": True}})
    found: dict[str, list[FlowRun]] = {}
    for run in api.read_flow_runs(flow_run_filter=undeployed, sort=FlowRunSort.START_TIME_ASC):
        found.setdefault(run.name.partition(", ")[0], []).append(run)
    return found


@pytest.fixture(scope="module")
def deployment(api):
    """`assimilate` every three hours, with a work pool that no worker serves."""
    with temporary_settings({PREFECT_API_URL: str(api.api_url)}):
        api.create_work_pool(WorkPoolCreate(name="guard", type="process"))
        made = assimilate.to_deployment(
            "every-three-hours",
            cron="0 */3 * * *",
            parameters={"experiment": {"dataset": "lorenz96", "method": "etkf"}},
            work_pool_name="guard",
        )
        return api.read_deployment(made.apply())


def test_cron_schedule_makes_scheduled_runs(api, deployment):
    chosen = FlowRunFilter.model_validate({"deployment_id": {"any_": [str(deployment.id)]}})
    scheduled = wait_for(
        lambda: api.read_flow_runs(flow_run_filter=chosen),
        seconds=SCHEDULING,
        what="a run of the cron schedule",
    )
    assert {run.state_name for run in scheduled} == {"Scheduled"}
    hours = {run.expected_start_time.hour % 3 for run in scheduled}
    assert hours == {0}


def test_form_describes_every_parameter(deployment):
    shown = deployment.parameter_openapi_schema["definitions"]["ExperimentParameters"]
    fields = ExperimentParameters.model_fields
    described = {name: field.description for name, field in fields.items()}
    assert all(described.values())
    assert {n: p.get("description") for n, p in shown["properties"].items()} == described
    assert deployment.parameter_openapi_schema["properties"].keys() == {"experiment", "target"}


def test_runs_have_readable_names_and_tags(runs):
    verbs = ("ingest", "train", "assimilate")
    expected = {f"{verb}-lorenz96-{method}" for verb in verbs for method in ("etkf", "amortized")}
    expected -= {"train-lorenz96-etkf"}  # it has nothing to learn
    expected -= {"ingest-lorenz96-amortized"}  # both read what was taken for the first
    expected |= {f"{verb}-lorenz96-amortized" for verb in ("validate", "run", "report")}
    assert runs.keys() == expected
    for name, found in runs.items():
        method = name.rsplit("-", 1)[1]
        for run in found:
            assert set(run.tags) == {"dataset:lorenz96", f"method:{method}"}, name


def test_a_run_that_adds_cycles_has_its_period_in_its_name(runs):
    first, second = runs["assimilate-lorenz96-etkf"]
    assert first.name == "assimilate-lorenz96-etkf, 2000-01-01T00:00 to 2000-01-08T06:00"
    assert second.name == "assimilate-lorenz96-etkf"


def test_states_say_what_was_done(runs):
    messages = {name: [run.state.message for run in found] for name, found in runs.items()}
    assert messages["ingest-lorenz96-etkf"] == ["30 new observation times (simulated)"]
    assert messages["train-lorenz96-amortized"][0].startswith("trained version ")
    assert messages["validate-lorenz96-amortized"][0].startswith("champion 0001-")
    assert messages["assimilate-lorenz96-amortized"] == ["30 cycles"]
    assert messages["assimilate-lorenz96-etkf"] == ["30 cycles", "up to date"]
    assert messages["run-lorenz96-amortized"] == ["done"]
    assert {run.state_name for found in runs.values() for run in found} == {"Completed"}


def test_report_is_an_artifact_with_its_pictures(api, runs):
    (report,) = (a for a in api.read_artifacts() if a.key == "calibration-lorenz96")
    assert report.type == "markdown"
    assert report.flow_run_id == runs["report-lorenz96-amortized"][0].id
    assert report.data.startswith("# Lorenz-96 twin experiment")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]*)\)", report.data)
    assert len(pictures) >= 5
    for picture in pictures:
        kind, encoded = picture.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(encoded, validate=True).startswith(b"\x89PNG\r\n")


def test_gates_are_an_artifact_with_their_verdict(api, runs):
    (gates,) = (a for a in api.read_artifacts() if a.key == "gates-lorenz96")
    assert gates.flow_run_id == runs["validate-lorenz96-amortized"][0].id
    assert "| gate | verdict |" in gates.data
    assert "data:image/png;base64" in gates.data


def test_a_run_shows_its_last_cycles_and_where_they_are_stored(api, runs):
    found = {a.key: a for a in api.read_artifacts()}
    table, link = found["cycles-lorenz96-etkf"], found["store-lorenz96-etkf"]
    ids = {run.id for run in runs["assimilate-lorenz96-etkf"]}
    assert table.flow_run_id == link.flow_run_id
    assert table.flow_run_id in ids
    rows = json.loads(table.data)
    assert [row["analysis time"] for row in rows[:2]] == ["2000-01-08T06:00", "2000-01-08T00:00"]
    assert len(rows) == SHOWN
    assert {row["result"] for row in rows} == {"ok"}
    assert {row["observations"] for row in rows} == {"40"}
    assert all(float(row["RMSE"]) > 0 for row in rows)
    assert "file:///" in link.data
    assert link.data.rstrip(")").endswith("experiments/lorenz96/etkf")


def test_progress_ends_at_a_hundred(api, runs):
    progress = {a.description: a.data for a in api.read_artifacts() if a.type == "progress"}
    assert progress == {
        "train lorenz96/amortized": 100.0,
        "validate lorenz96/amortized": 100.0,
        "assimilate lorenz96/etkf": 100.0,
        "assimilate lorenz96/amortized": 100.0,
    }


def test_server_is_told_no_values_of_tasks(api, runs):
    tasks = api.read_task_runs()
    assert {"ingest-lorenz96/etkf", "segment-2000-01-08T06:00"} <= {task.name for task in tasks}
    for task in tasks:
        assert all(inputs == [] for inputs in task.task_inputs.values()), task.name
        assert task.state.data is None, task.name
