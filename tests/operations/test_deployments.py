"""The deployment files: what they name exists, and their parameters are those of the flows."""

import importlib
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from prefect.types import DateTime
from rich.console import Console

from flows import processes
from flows.environment import RUN_VARIABLE, SERVICE_VARIABLE
from flows.parameters import (
    BackfillParameters,
    ExperimentParameters,
    MonitorParameters,
    TargetParameters,
)
from flows.processes import Processes, ServiceError, runs_at_work
from flows.serve import CONTROL, DEPLOYMENTS, HOME, Service
from vardax_core.data import load_recipe
from vardax_core.data.timeaxis import instant_to_minutes
from vardax_core.experiments.settings import training_digest

FILE = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
NAMES = [made["name"] for made in FILE["deployments"]]
SUBMITTED = [made for made in FILE["deployments"] if made["name"].startswith("streams")]
"""What backfills submit, with all parameters and as many at a time as there are workers."""
CALLED = [made for made in FILE["deployments"] if made not in SUBMITTED]


@pytest.mark.parametrize("made", CALLED, ids=lambda made: made["name"])
def test_a_deployment_s_flow_takes_its_parameters(made):
    path, name = made["entrypoint"].split(":")
    assert (HOME / path).is_file()
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    asked = {"reason": "a test"} if name == "hold" else {}
    checked = flow.validate_parameters(made["parameters"] | asked)
    if "experiment" in checked:
        assert checked["experiment"].experiment()
    assert made["description"]
    assert made["work_pool"]["name"] in ("cpu", "gpu", CONTROL)
    if made["work_pool"]["name"] != CONTROL:
        # Two runs of one experiment would only wait for each other's lock.
        assert made["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_groups_of_streams_do_not_wait_in_the_pool_of_their_backfill():
    pools = {f"fill/{made['name']}": made["work_pool"]["name"] for made in SUBMITTED}
    assert pools == {"fill/streams": "streams", "fill/streams-on-gpu": "gpu"}
    assert not any("concurrency_limit" in made for made in SUBMITTED)
    assert {made["entrypoint"] for made in SUBMITTED} == {"flows/fill.py:fill"}
    assert BackfillParameters().deployment in pools
    (backfill,) = (made for made in CALLED if made["name"] == "backfill")
    assert backfill["work_pool"]["name"] not in pools.values()


def test_hold_and_release_wait_for_no_other_run():
    pools = {made["name"]: made["work_pool"]["name"] for made in CALLED}
    assert [name for name, pool in pools.items() if pool == CONTROL] == ["hold", "release"]
    assert not any("concurrency_limit" in made for made in CALLED if pools[made["name"]] == CONTROL)


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


def test_only_the_demonstration_runs_by_itself():
    active = {
        made["name"]
        for made in FILE["deployments"]
        for schedule in made.get("schedules", [])
        if schedule.get("active", True)
    }
    assert active == {"demonstration", "daily", "watch"}


def test_the_late_stream_waits_for_what_the_early_one_cannot_have():
    """They are two stores of one experiment, analysed with the same weights."""
    early, late = (
        ExperimentParameters(**made["parameters"]["experiment"]).experiment()
        for name in ("early", "late")
        for made in CALLED
        if made["name"] == name
    )
    waits = [made.settings.latency(made.recipe) for made in (early, late)]
    assert waits == [early.recipe.latency, late.settings.cut_off]
    assert early.settings.cut_off < early.recipe.latency < late.settings.cut_off
    assert len({str(made.store_location) for made in (early, late)}) == 2
    assert len({training_digest(made.recipe, made.settings, "") for made in (early, late)}) == 1


RECIPE = load_recipe("lorenz96")
START = RECIPE.period.start
CREATED = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("target", "scheduled", "expected"),
    [
        ({}, CREATED, RECIPE.period.end),
        ({"until": "2000-02-01"}, CREATED, datetime(2000, 2, 1, tzinfo=UTC)),
        ({"follow": "schedule"}, CREATED, RECIPE.period.end),
        ({"follow": "schedule"}, START + timedelta(days=3), START + timedelta(days=3)),
        ({"follow": "demonstration"}, CREATED - timedelta(hours=1), START),
        (
            {"follow": "demonstration"},
            CREATED + timedelta(seconds=150),
            START + timedelta(hours=12),
        ),
        ({"follow": "demonstration"}, CREATED + timedelta(days=365), RECIPE.period.end),
        (
            {"follow": "demonstration", "until": "2000-01-01T06:00"},
            CREATED + timedelta(days=365),
            START + timedelta(hours=6),
        ),
    ],
)
def test_a_late_run_has_the_target_of_its_schedule(target, scheduled, expected):
    assert TargetParameters(**target).instant(RECIPE, scheduled, CREATED) == expected


def test_the_latency_of_the_data_is_waited_for():
    late = RECIPE.model_copy(update={"latency": timedelta(hours=5)})
    scheduled = START + timedelta(days=1)
    target = TargetParameters(follow="schedule")
    assert target.instant(late, scheduled, CREATED) == scheduled - timedelta(hours=5)


def test_the_schedule_is_kept_in_the_dates_that_prefect_gives():
    """Their differences are no timedelta, and cannot be divided by one."""
    scheduled = DateTime.instance(START + timedelta(hours=7, minutes=5))
    target = TargetParameters(follow="schedule").instant(RECIPE, scheduled, CREATED)
    assert instant_to_minutes(target) - instant_to_minutes(START) == 425
    assert type(target) is type(MonitorParameters().moment(scheduled)) is datetime
    assert MonitorParameters().moment(scheduled) == scheduled


def test_a_password_without_a_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_AUTH", "secret")
    with pytest.raises(ServiceError, match="expected user:password") as refused:
        Service(tmp_path, port=1).check()
    assert "secret" not in str(refused.value)


def test_a_webhook_that_is_no_url_is_refused_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_WEBHOOK", "ftp://somewhere")
    with pytest.raises(ServiceError, match="VARDAX_WEBHOOK: expected an http or https URL"):
        Service(tmp_path, port=1).check()


def test_a_root_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    service = Service(tmp_path / "file" / "root", port=1)
    with pytest.raises(ServiceError, match=r"Not a directory.*--root"), service.running():
        pass


def test_an_open_address_without_a_password_warns(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("VARDAX_AUTH", raising=False)
    Service(tmp_path, host="0.0.0.0", port=1).check()
    assert "VARDAX_AUTH=user:password" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("VARDAX_AUTH", "user:password")
    Service(tmp_path, host="0.0.0.0", port=1).check()
    assert not capsys.readouterr().out


def test_passwords_travel_in_the_environment_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_AUTH", "user:password")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    made = Service(tmp_path, port=4321).environment()
    assert made["PREFECT_SERVER_API_AUTH_STRING"] == made["PREFECT_API_AUTH_STRING"]
    assert made["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"


def test_flow_runs_that_outlive_their_worker_are_ended(tmp_path, monkeypatch, capsys):
    """A worker that starts a run in a session of its own and ends at once when it is asked to."""
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
    run = "import time; time.sleep(300)"
    worker = (
        "import os, subprocess, sys\n"
        f"variables = os.environ | {{{RUN_VARIABLE!r}: 'a-run'}}\n"
        f"command = [sys.executable, '-c', {run!r}]\n"
        "subprocess.Popen(command, env=variables, start_new_session=True).wait()\n"
    )
    (tmp_path / "worker.py").write_text(worker)
    variables = os.environ | {SERVICE_VARIABLE: str(tmp_path)}
    started = Processes(tmp_path, variables, Console())
    monkeypatch.setattr(processes, "HOME", tmp_path)
    started.start("worker-cpu", ["worker"])
    while not runs_at_work(tmp_path):
        time.sleep(0.05)
    ((child,),) = runs_at_work(tmp_path).values()
    started.stop(["worker-cpu"], [child])
    assert f"ended a flow run (process {child})" in capsys.readouterr().out
    assert not runs_at_work(tmp_path)
