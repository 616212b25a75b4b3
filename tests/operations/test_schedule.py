"""Runs that are missed, late, doubled and out of order leave the store of an orderly day."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prefect.states import Scheduled

from flows.serve import HOME
from tests.experiments import small
from tests.flows.test_server import wait_for
from tests.operations.services import deployed, two_workers
from vardax_core.data.recipe import validate_recipe
from vardax_core.store import ExperimentStore, content_digest

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0
CYCLE = timedelta(hours=6)
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=9)
TIMES = [START + number * CYCLE for number in range(30)]
"""The analysis times; a run is due five minutes after each."""
BATCHES = (
    (3,),  # the first three runs were missed
    (4, 4),  # one was made twice, and both wait for one place
    (9, 6),  # two late ones
    (5, 2),  # two that a later one has overtaken
    (12, 12, 11, 10),
    (15,),
)
"""Numbers of the cycles whose runs come at once, one batch after another."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    values = small.recipe().model_dump(mode="json")
    values["period"] = {"start": TIMES[0].isoformat(), "end": TIMES[-1].isoformat()}
    recipe = validate_recipe(values, "small")
    with deployed(tmp_path_factory.mktemp("service"), "cpu", "operational", recipe) as made:
        yield made


def orderly(folder, service):
    """The digest of a store whose runs came in time, one for every five cycles."""
    times = [time.strftime("%Y-%m-%dT%H:%M") for time in TIMES[: BATCHES[-1][-1] + 1 : 5]]
    done = subprocess.run(
        [sys.executable, "-m", "tests.operations.orderly_program", str(folder), *times],
        cwd=HOME,
        env=service.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_disorderly_day_leaves_the_store_of_an_orderly_one(tmp_path, service):
    client = service.client
    deployment = client.read_deployment_by_name("assimilate/operational")
    parameters = {
        "experiment": {"dataset": "small", "method": "etkf", "root": str(tmp_path / "root")},
        "target": {"follow": "schedule"},
    }
    ends = []
    with two_workers(tmp_path, "cpu", service):
        for batch in BATCHES:
            runs = [
                client.create_flow_run_from_deployment(
                    deployment.id,
                    parameters=parameters,
                    state=Scheduled(scheduled_time=TIMES[number] + timedelta(minutes=5)),
                ).id
                for number in batch
            ]

            def ended(runs=runs):
                found = [client.read_flow_run(run).state for run in runs]
                return found if all(state.is_final() for state in found) else None

            ends.append(wait_for(ended, seconds=PATIENCE, what=f"the end of {batch}"))
    said = [sorted(state.message for state in states) for states in ends]
    assert {state.name for states in ends for state in states} == {"Completed"}, said
    assert said[0] == ["4 cycles"]
    assert said[1] == ["1 cycles", "up to date"]
    assert said[3] == ["up to date"] * 2
    assert said[5] == ["3 cycles"]
    store = ExperimentStore.open(tmp_path / "root" / "experiments" / "small" / "etkf")
    assert store.tip().cycles == BATCHES[-1][-1] + 1
    times = store.dataset("analysis")["time"].values
    assert (np.diff(times) == np.timedelta64(6, "h")).all()
    assert content_digest(store) == orderly(tmp_path / "orderly", service)
