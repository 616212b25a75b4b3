"""An outage of the observations on a real store, and what else alerts are made of."""

import numpy as np
import pytest

from tests.experiments import small
from tests.monitoring import outage
from vardax_core.monitoring.alerts import (
    NOTE,
    AlertBook,
    AlertBookError,
    Turn,
    advance,
    assess,
    read_book,
)
from vardax_core.monitoring.base import Severity
from vardax_core.monitoring.checks import CHECKS
from vardax_core.monitoring.situation import survey
from vardax_core.store.hold import hold, release

OUTAGE = (outage.BEFORE, outage.DURING, outage.RECOVERED)


@pytest.fixture
def twin(tmp_path):
    made = outage.experiment(tmp_path)
    return made, small.ingested_store(made, outage.ingested())


WATCHED = tuple(check for check in CHECKS if check.name not in ("verdict", "life"))
"""The six members of the small filter are overconfident in truth, which is not looked at here."""


def look(made, store, until, book):
    due = None if until is None else outage.instant(until)
    now = outage.instant("2026-01-01")
    situation = survey(made, store, now=now, due=due, seen=book.seen)
    findings = assess(WATCHED, situation, book)
    return findings, *advance(book, findings, situation)


@pytest.mark.slow
def test_an_outage_raises_one_alert_and_its_end_clears_it(twin):
    made, store = twin
    book, told = AlertBook(), []
    for until in OUTAGE:
        outage.run_to(made, store, until)
        for _ in range(2):  # whoever looks twice tells nothing twice
            _, book, changes = look(made, store, until, book)
            told += changes
    assert [(c.turn, c.now.check) for c in told] == [
        (Turn.RAISED, "observations"),
        (Turn.CLEARED, "observations"),
    ]
    raised, cleared = told
    assert raised.alert.finding.severity is Severity.ERROR
    assert raised.alert.finding.cycle == str(outage.START)
    assert str(raised) == (
        "error raised: observations: observations used 0 at 2000-01-20T00:00, limit 1"
    )
    assert cleared.now.value == 24
    assert not book.active


@pytest.mark.slow
def test_an_outage_between_two_looks_is_seen(twin):
    made, store = twin
    outage.run_to(made, store, outage.BEFORE)
    _, book, changes = look(made, store, outage.BEFORE, AlertBook())
    assert changes == ()
    outage.run_to(made, store, "2000-01-25T00:00")
    _, book, changes = look(made, store, "2000-01-25T00:00", book)
    assert [c.now.check for c in changes] == ["observations"]


@pytest.mark.slow
def test_a_fault_that_lasts_does_not_become_the_usual(tmp_path):
    """After 16 days without a third of the stations, the median of the last 20 days is that of
    the fault; the limit of the alert is the one from before it."""
    made = outage.experiment(tmp_path)
    ingested = outage.ingested(silent=[])
    late = ingested.observations["time"].to_numpy() >= outage.START
    ingested.observations["x"].values[np.ix_(late, np.arange(24) < 8)] = np.nan
    ingested.observations["quality_control"].values[np.ix_(late, np.arange(24) < 8)] = 2
    store = small.ingested_store(made, ingested)
    outage.run_to(made, store, outage.DURING)
    _, book, changes = look(made, store, outage.DURING, AlertBook())
    assert [(c.turn, c.now.severity) for c in changes] == [(Turn.RAISED, Severity.WARNING)]
    outage.run_to(made, store, "2000-02-05T00:00")
    _, after, changes = look(made, store, "2000-02-05T00:00", book)
    assert [c for c in changes if c.now.check == "observations"] == []
    assert "observations" in after.active
    fresh, *_ = look(made, store, "2000-02-05T00:00", AlertBook(last_cycle="2000-02-04T18:00"))
    assert {f.check: f.severity for f in fresh}["observations"] is Severity.INFO


@pytest.mark.slow
def test_a_store_that_falls_behind_is_late_unless_it_is_held(twin):
    made, store = twin
    outage.run_to(made, store, "2000-01-10T00:00")
    levels = {}
    for day, due in ((0, "2000-01-10T12:00"), (1, "2000-01-11T00:00"), (9, "2000-01-13T00:00")):
        findings, *_ = look(made, store, due, AlertBook())
        levels[day] = findings[0].severity
    assert levels == {0: Severity.INFO, 1: Severity.WARNING, 9: Severity.ERROR}
    hold(store.location, "moving", outage.instant("2025-12-30"))
    findings, *_ = look(made, store, "2000-01-13", AlertBook())
    assert str(findings[0]) == "cycles behind: held"
    assert findings[-1].value == 2.0
    release(store.location)
    findings, *_ = look(made, store, None, AlertBook())
    assert str(findings[0]) == "cycles behind: no clock says what is due"


def test_a_store_without_cycles_is_late_and_nothing_else(twin):
    made, store = twin
    findings, *_ = look(made, store, "2000-01-01", AlertBook())
    said = {f.check: f.value for f in findings if f.value is not None}
    assert said.keys() == {"freshness", "disk", "hold"}
    assert said["freshness"] == 1.0


def test_no_ensemble_is_read(twin, monkeypatch):
    made, store = twin
    outage.run_to(made, store, outage.BEFORE)
    asked = {}
    dataset = type(store).dataset

    def watched(self, group, **options):
        asked[group] = dataset(self, group, **options)
        return asked[group]

    monkeypatch.setattr(type(store), "dataset", watched)
    look(made, store, outage.BEFORE, AlertBook())
    assert asked.keys() == {"diagnostics", "analysis"}
    # Of the analyses the coordinates alone.
    assert not any(array._in_memory for array in asked["analysis"].data_vars.values())


def test_a_damaged_book_is_refused(twin):
    made, _ = twin
    made.store_location.write_note(NOTE, b"[]", expected=None)
    with pytest.raises(AlertBookError, match="damaged"):
        read_book(made.store_location)
