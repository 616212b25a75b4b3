"""An alert on a real server: its automation calls a real webhook, once for each change."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.monitor import monitor
from flows.naming import called
from flows.parameters import ExperimentParameters, MonitorParameters
from tests.experiments import small
from tests.flows.test_server import environment, server, wait_for
from tests.operations import outage
from tests.operations.test_pools import POOLS
from tests.support import ROOT
from vardax_core.data.catalogue import datasets_dir

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with server(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@pytest.fixture
def inbox():
    """What was posted to a server of this process, and its address."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield received, f"http://127.0.0.1:{listener.server_port}/alerts"
    listener.shutdown()


def notify(home, url, webhook):
    env = environment(home, PREFECT_API_URL=url, VARDAX_WEBHOOK=webhook, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "flows.notify"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_outage_calls_the_webhook_when_it_begins_and_when_it_ends(
    tmp_path, url, inbox, monkeypatch
):
    received, address = inbox
    for webhook in ("http://127.0.0.1:9/old", address):  # the second replaces the first
        done = notify(tmp_path, url, webhook)
        assert done.returncode == 0, done.stderr
        assert webhook not in done.stdout + done.stderr
    refused = notify(tmp_path, url, "ftp://somewhere")
    assert refused.returncode == 1
    assert "VARDAX_WEBHOOK" in refused.stderr

    made = outage.experiment(tmp_path)
    store = small.ingested_store(made, outage.ingested())
    folder = tmp_path / "datasets"
    small.write_recipe(folder, outage.recipe())
    (folder / "lorenz96").symlink_to(datasets_dir() / "lorenz96")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(folder))
    parameters = ExperimentParameters(dataset="small", method="etkf", members=16, root=tmp_path)
    for number, until in enumerate((outage.BEFORE, outage.DURING, outage.RECOVERED)):
        outage.run_to(made, store, until)
        with temporary_settings({PREFECT_API_URL: url}):
            for _ in range(2):
                called(monitor, parameters, MonitorParameters(follow="schedule", as_of=until))
        wait_for(lambda n=number: len(received) >= n, seconds=60, what=f"{number} calls")
    time.sleep(5)
    assert [(told["event"], told["check"], told["severity"]) for told in received] == [
        ("vardax.alert.raised", "observations", "error"),
        ("vardax.alert.cleared", "observations", "error"),
    ]
    assert received[0] == {
        "event": "vardax.alert.raised",
        "experiment": "small/etkf",
        "check": "observations",
        "severity": "error",
        "cycle": "2000-01-20T00:00",
        "value": 0.0,
        "limit": 1.0,
        "text": "small/etkf: error raised: observations: observations used 0 at "
        "2000-01-20T00:00, limit 1",
    }


@pytest.mark.parametrize("kind", POOLS)
def test_the_server_takes_the_template(url, kind):
    with SyncPrefectClient(url) as client:
        made = client.create_work_pool(
            WorkPoolCreate(name=f"a-{kind}", type=kind, base_job_template=POOLS[kind])
        )
    assert made.base_job_template == POOLS[kind]
