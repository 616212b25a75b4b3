"""Alerts: findings that have begun and not ended, kept beside the store.

The book of alerts is a note beside the store, so that an alert is raised once and cleared once
whatever becomes of the scheduler's database.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

import numpy as np
from pydantic import Field, ValidationError

from vardax_core.monitoring.base import AbstractCheck, Finding, Limits, Severity, Value, judge
from vardax_core.monitoring.situation import HISTORY_DAYS, Situation
from vardax_core.store.errors import StoreError
from vardax_core.store.location import Location
from vardax_core.words import counted

NOTE = "alerts"
KEPT = 50
"""Turns that the book remembers."""
NAMESPACE = UUID("5f0e3c8e-7d0a-4b59-9b2b-5a4b0a9d6c11")


class AlertBookError(StoreError):
    """A note that is no book of alerts."""


class Turn(StrEnum):
    """How an alert changes."""

    RAISED = "raised"
    ESCALATED = "escalated"
    CLEARED = "cleared"


class Alert(Value):
    """A finding that is a warning or an error.

    Attributes:
        since: when it was noticed, UTC.
        finding: the worst so far, with the limits that hold until the alert ends.
    """

    since: datetime
    finding: Finding


class AlertChange(Value):
    """Something to be told.

    Attributes:
        number: how many changes there were before it in this experiment.
        turn: what changed.
        at: when it was noticed, UTC.
        alert: the alert.
        now: what was found when it changed.
    """

    number: int
    turn: Turn
    at: datetime
    alert: Alert
    now: Finding

    def identifier(self, experiment: str) -> UUID:
        """The same for the same change, however often it is told."""
        return uuid5(NAMESPACE, f"{experiment} {self.number} {self.now.check} {self.turn}")

    def __str__(self) -> str:
        severity = self.alert.finding.severity.name.lower()
        return f"{severity} {self.turn}: {self.now.check}: {self.now}"


class AlertBook(Value):
    """What has begun and not ended, and the last changes.

    Attributes:
        active: alerts by the name of their check.
        changes: the last of them, oldest first.
        number: how many changes there were.
        last_cycle: last analysis time that was judged (ISO 8601), or None.
    """

    active: Mapping[str, Alert] = Field(default_factory=dict)
    changes: tuple[AlertChange, ...] = ()
    number: int = 0
    last_cycle: str | None = None

    @property
    def seen(self) -> np.datetime64 | None:
        """The last analysis time that was judged."""
        return None if self.last_cycle is None else np.datetime64(self.last_cycle, "m")

    def limits_of(self, check: str, situation: Situation) -> Limits | None:
        """The limits that an alert began with: a fault that lasts must not become the usual
        against which it is judged. They hold for as long as the usual is made of, `HISTORY_DAYS`.
        """
        alert = self.active.get(check)
        if alert is None or alert.finding.cycle is None:
            return None
        age = situation.last - np.datetime64(alert.finding.cycle, "m")
        return alert.finding.limits if age <= np.timedelta64(HISTORY_DAYS, "D") else None


def assess(
    checks: Iterable[AbstractCheck], situation: Situation, book: AlertBook
) -> tuple[Finding, ...]:
    """What all checks find now; nothing is written."""
    return tuple(judge(c, situation, book.limits_of(c.name, situation)) for c in checks)


def advance(
    book: AlertBook, findings: Iterable[Finding], situation: Situation
) -> tuple[AlertBook, tuple[AlertChange, ...]]:
    """The book after a look, and what is to be told.

    A finding without a value changes nothing: what cannot be said neither begins nor ends.
    """
    active, now = dict(book.active), situation.now
    changes: list[AlertChange] = []
    for finding in findings:
        alert = active.get(finding.check)
        if finding.value is None:
            continue
        turn = None
        if finding.severity is Severity.INFO:
            if alert is not None:
                turn = Turn.CLEARED
                del active[finding.check]
        elif alert is None:
            turn, alert = Turn.RAISED, Alert(since=now, finding=finding)
            active[finding.check] = alert
        elif finding.severity > alert.finding.severity:
            cycle = alert.finding.cycle
            worse = finding.model_copy(update={"cycle": cycle})
            turn, alert = Turn.ESCALATED, Alert(since=alert.since, finding=worse)
            active[finding.check] = alert
        if turn is not None and alert is not None:
            number = book.number + len(changes)
            changes.append(AlertChange(number=number, turn=turn, at=now, alert=alert, now=finding))
    after = AlertBook(
        active=active,
        changes=(*book.changes, *changes)[-KEPT:],
        number=book.number + len(changes),
        last_cycle=str(situation.last),
    )
    return after, tuple(changes)


def read_book(location: Location) -> AlertBook:
    """The book of the experiment whose store is at a place; empty if there is none.

    Raises:
        AlertBookError: the note is damaged.
        StorageError: the place cannot be read.
    """
    return parse_book(location, location.read_note(NOTE))


def parse_book(location: Location, note: bytes | None) -> AlertBook:
    """The book in a note.

    Raises:
        AlertBookError: it is damaged.
    """
    if not note:
        return AlertBook()
    try:
        return AlertBook.model_validate_json(note)
    except ValidationError as error:
        raise AlertBookError(
            f"{location}: the book of alerts beside it is damaged "
            f"({counted(error.error_count(), 'fault')}); remove the note '{NOTE}', and "
            "what stands is raised anew."
        ) from error
