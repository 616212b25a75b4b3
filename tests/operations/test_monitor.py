"""The monitor flow on a real store: events, artifacts, and the note of the alerts."""

import json
import re

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter

from flows import monitor as module
from flows.monitor import monitor
from flows.naming import called
from flows.parameters import ExperimentParameters, MonitorParameters
from tests.experiments import small
from tests.monitoring import outage
from vardax_core.data.catalogue import datasets_dir
from vardax_core.monitoring.alerts import NOTE, AlertBook, advance, read_book

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(600)]
OUTAGE = (outage.BEFORE, outage.DURING, outage.RECOVERED)


@pytest.fixture
def twin(tmp_path):
    made = outage.experiment(tmp_path)
    return made, small.ingested_store(made, outage.ingested())


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch, prefect_api):
    folder = tmp_path / "datasets"
    small.write_recipe(folder, outage.recipe())
    (folder / "lorenz96").symlink_to(datasets_dir() / "lorenz96")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(folder))
    # The six members of the small filter are overconfident in truth, which is not looked at here.
    watched = tuple(check for check in module.CHECKS if check.name not in ("verdict", "life"))
    monkeypatch.setattr(module, "CHECKS", watched)


def events(prefix="vardax.alert"):
    with get_client(sync_client=True) as client:
        chosen = EventFilter(event=EventNameFilter(prefix=[prefix]))
        body = {"filter": chosen.model_dump(mode="json", exclude_none=True), "limit": 50}
        answer = client.request("POST", "/events/filter", json=body)
        answer.raise_for_status()
        return [
            (e["event"], e["payload"]["check"], e["payload"]["severity"])
            for e in reversed(answer.json()["events"])
        ]


def test_events_and_artifacts_tell_of_an_outage(twin, monkeypatch):
    made, store = twin
    parameters = ExperimentParameters(dataset="small", method="etkf", members=16, root=made.root)
    assert parameters.experiment().digest == made.digest
    stored = []
    for until in OUTAGE:
        outage.run_to(made, store, until)
        target = MonitorParameters(follow="schedule", as_of=until)
        if until == outage.DURING:
            with monkeypatch.context() as broken:
                broken.setattr(module, "tell_surely", _refuse)
                with pytest.raises(httpx.ConnectError):
                    called(monitor, parameters, target)
            assert not read_book(store.location).active  # not told, so not noted
        called(monitor, parameters, target)
        called(monitor, parameters, target)
        stored.append(read_book(store.location))
    assert events() == [
        ("vardax.alert.raised", "observations", "error"),
        ("vardax.alert.cleared", "observations", "error"),
    ]
    assert [list(book.active) for book in stored] == [[], ["observations"], []]
    with get_client(sync_client=True) as client:
        pages = {a.key: a.data for a in client.read_latest_artifacts()}
    assert "| well | observations | observations used: 24 |" in pages["monitor-small-etkf"]
    page = pages["dashboard-small-etkf"]
    assert "Last analysis 2000-01-21T06:00 UTC (0 cycles behind)" in page
    assert len(re.findall(r"!\[last analysis\]\(data:image/png;base64,", page)) == 1
    assert "error cleared: observations" in page
    assert json.loads(made.store_location.read_note(NOTE))["number"] == 2


def test_the_slower_of_two_monitors_notes_nothing(twin, monkeypatch):
    made, store = twin
    outage.run_to(made, store, outage.BEFORE)
    parameters = ExperimentParameters(dataset="small", method="etkf", members=16, root=made.root)
    theirs = AlertBook(last_cycle="1999-12-31T00:00").model_dump_json().encode()

    def meanwhile(book, findings, situation):
        store.location.write_note(NOTE, theirs, expected=None)
        return advance(book, findings, situation)

    monkeypatch.setattr(module, "advance", meanwhile)
    state = monitor(parameters, return_state=True)
    assert state.message == "superseded: another run noted these alerts"
    assert store.location.read_note(NOTE) == theirs


def _refuse(*arguments):
    raise httpx.ConnectError("the server is gone")
