"""Flows that are overtaken."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from tests.flows.test_server import environment, server
from vardax_core.data.catalogue import datasets_dir
from vardax_core.store import ExperimentStore

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(900)]

CYCLES = 30


@pytest.fixture
def disturbed(tmp_path):
    """Run `rival_flow.py` against a server; what it printed, and its store."""
    recipe = yaml.safe_load((datasets_dir() / "lorenz96" / "recipe.yaml").read_text())
    recipe["period"]["end"] = "2000-01-08T06:00:00Z"
    recipe["burn_in"] = 5
    (tmp_path / "datasets" / "lorenz96").mkdir(parents=True)
    (tmp_path / "datasets" / "lorenz96" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    program = Path(__file__).with_name("rival_flow.py")

    def run(url, *arguments):
        done = subprocess.run(
            [sys.executable, str(program), str(tmp_path / "root"), *map(str, arguments)],
            env=environment(
                tmp_path,
                PREFECT_API_URL=url,
                VARDAX_DATASETS_DIR=str(tmp_path / "datasets"),
                PYTHONPATH=str(program.parents[2]),
            ),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        store = ExperimentStore.open(tmp_path / "root" / "experiments" / "lorenz96" / "etkf")
        return done, store

    return run


def complete(store):
    analysis = store.dataset("analysis")
    steps = np.unique(np.diff(analysis["time"].values))
    return analysis.sizes["time"] == CYCLES and len(steps) == 1


def test_a_run_that_is_overtaken_ends_superseded(tmp_path, disturbed):
    with server(tmp_path) as url:
        done, store = disturbed(url)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("superseded")
        with SyncPrefectClient(url) as client:
            ends = [run.state.message for run in client.read_flow_runs() if run.state]
    assert "superseded" in ends
    assert complete(store)
