"""Holding an experiment: a note beside its store that keeps flows from adding cycles."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vardax_core.store.errors import StoreError
from vardax_core.store.location import Location
from vardax_core.words import counted

NOTE = "hold"


class HoldError(StoreError):
    """A hold without a reason, or a note that is none."""


class Hold(BaseModel):
    """Why and since when an experiment is held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1)
    since: datetime

    def __str__(self) -> str:
        return f"held since {self.since:%Y-%m-%d %H:%M} UTC: {self.reason}"


def held(location: Location) -> Hold | None:
    """The hold on the experiment whose store is, or will be, at a place; None if it may go on.

    Raises:
        HoldError: the note beside the store is damaged.
        StorageError: the place cannot be read.
    """
    return _parse(location, location.read_note(NOTE))


def hold(location: Location, reason: str, now: datetime | None = None) -> Hold:
    """Hold an experiment; a hold that is there stays, with its date and the new reason.

    Raises:
        HoldError: there is no reason, or the note beside the store is damaged.
        NoteChangedError: another process held or released it at the same moment.
        StorageError: the place refuses.
    """
    if not reason.strip():
        raise HoldError(f"{location}: a hold needs a reason; say why in words.")
    before = location.read_note(NOTE)
    known = _parse(location, before)
    since = known.since if known else (now or datetime.now(UTC)).replace(microsecond=0)
    made = Hold(reason=reason.strip(), since=since)
    location.write_note(NOTE, made.model_dump_json().encode(), expected=before)
    return made


def release(location: Location) -> Hold | None:
    """Let an experiment go on; the hold that was on it, or None.

    A damaged note is released too.

    Raises:
        NoteChangedError: another process held or released it at the same moment.
        StorageError: the place refuses.
    """
    before = location.read_note(NOTE)
    if not before:
        return None
    try:
        known = _parse(location, before)
    except HoldError:
        known = None
    location.write_note(NOTE, b"", expected=before)
    return known


def _parse(location: Location, note: bytes | None) -> Hold | None:
    if not note:
        return None
    try:
        return Hold.model_validate_json(note)
    except ValidationError as error:
        raise HoldError(
            f"{location}: the note beside it that holds the experiment is damaged "
            f"({counted(error.error_count(), 'fault')}). Remove it with `vardax release`; hold it "
            "again if it must be."
        ) from error
