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

from flows.cli_common import ExitCode
from tests.experiments import small
from tests.flows.test_server import environment, server, wait_for
from tests.monitoring import outage
from tests.operations.test_pools import POOLS
from tests.support import ROOT
from vardax_core.data.catalogue import datasets_dir

OUTAGE = (outage.BEFORE, outage.DURING, outage.RECOVERED)
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


def run(home, url, *words, **more):
    """A module in a process of its own, with the server at `url`."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=environment(home, PREFECT_API_URL=url, PYTHONPATH=str(ROOT), COLUMNS="200", **more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_outage_calls_the_webhook_when_it_begins_and_when_it_ends(tmp_path, url, inbox):
    received, address = inbox
    for webhook in ("http://127.0.0.1:9/old", address):  # the second replaces the first
        done = run(tmp_path, url, "flows.notify", VARDAX_WEBHOOK=webhook)
        assert done.returncode == 0, done.stderr
        assert webhook not in done.stdout + done.stderr
    refused = run(tmp_path, url, "flows.notify", VARDAX_WEBHOOK="ftp://somewhere")
    assert refused.returncode == 1
    assert "VARDAX_WEBHOOK" in refused.stderr

    made = outage.experiment(tmp_path)
    store = small.ingested_store(made, outage.ingested())
    folder = tmp_path / "datasets"
    small.write_recipe(folder, outage.recipe())
    (folder / "lorenz96").symlink_to(datasets_dir() / "lorenz96")
    options = ("small", "-m", "etkf", "--members", "16", "--root", str(tmp_path))
    looks = ((1, ExitCode.DONE), (3, ExitCode.ALERT), (1, ExitCode.DONE))
    for number, (until, (times, code)) in enumerate(zip(OUTAGE, looks, strict=True)):
        outage.run_to(made, store, until)
        clock = ("--follow", "schedule", "--as-of", until)
        for look in range(times):
            command = ("flows.cli", "monitor", *options, *clock)
            command += () if look == 1 else ("--announce",)
            done = run(tmp_path, url, *command, VARDAX_DATASETS_DIR=str(folder))
            assert done.returncode == code, done.stdout + done.stderr
            assert "cycles behind: 0" in done.stdout
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
