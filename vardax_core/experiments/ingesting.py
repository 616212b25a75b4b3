"""The observations of a data set, taken once for all methods that are run on it."""

import contextlib
import datetime
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vardax_core.data.ingest import Ingested, ingest
from vardax_core.data.source_files import Identities, first_time_in, source_files
from vardax_core.data.timeaxis import (
    duration_to_minutes,
    instant_to_minutes,
    minutes_to_instant,
)
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import (
    ExperimentStore,
    Location,
    NoteChangedError,
    OverwriteError,
    StoreExistsError,
    StoreNotFoundError,
    SupersededError,
)
from vardax_core.store.experiment import OBSERVATIONS

LOOK_BACK = datetime.timedelta(days=10)
"""How long before the last observation time of a store real observations are read again, whatever
files changed."""
INGEST_WAIT = 600.0
"""Seconds to wait for another process that takes observations of the same data set."""
ATTEMPTS = 5
"""How often it is tried where storage without a lock took what another process wrote first."""
NOTE = "seen"

Tell = Callable[[str], None]


class _Seen(BaseModel):
    """What was looked at when a store got as far as it is.

    Attributes:
        snapshot: of the store.
        until: last time that was asked for, minutes since `MINUTES_EPOCH`.
        files: what the source was.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    snapshot: str
    until: int
    files: Identities

    def is_all(self, snapshot: str, until: int, files: Identities | None) -> bool:
        """Whether there is nothing to look at, for a store and a source as they are now."""
        return (snapshot, files) == (self.snapshot, self.files) and until <= self.until


def take_observations(
    experiment: Experiment,
    *,
    until: datetime.datetime | None = None,
    path: str | Path | None = None,
    say: Tell = lambda _: None,
    warn: Tell = lambda _: None,
) -> int:
    """Add the observations that their store lacks, and make the experiment's store where there is
    none; the number of new times.

    A source that ends before is taken as far as it goes. Nothing is read where the files are those
    of the last time. Otherwise a simulated source is compared with the store at all times that both
    have, and real observations are read again from the first time in any file that changed, and for
    some days before the last.

    Arguments:
        until: last valid time that is asked for; by default the end of the recipe's period.
        path: what is read in place of the recipe's file.
        say, warn: called with what somebody who runs this may or should see.

    Raises:
        SourceError: if the source cannot be used.
        SourceChangedError: if it does not continue the one of the store.
        StoreBusyError: another process takes observations of the same data set.
        StorageError: if the file system refuses.
    """
    place = experiment.observations_location
    for attempt in range(ATTEMPTS):
        try:
            with place.beside(f"{OBSERVATIONS}.ingest").lock(INGEST_WAIT):
                new = _taken(experiment, until, path, say, warn)
                if not experiment.store_location.exists():
                    experiment.create_store()
                return new
        except (OverwriteError, StoreExistsError, SupersededError):
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _taken(
    experiment: Experiment,
    until: datetime.datetime | None,
    path: str | Path | None,
    say: Tell,
    warn: Tell,
) -> int:
    recipe, window = experiment.recipe, experiment.recipe.window
    spacing = duration_to_minutes(window.spacing)
    begin = instant_to_minutes(recipe.period.start) - (window.times - 1) * spacing
    last_cycle = recipe.period.end if until is None else max(until, recipe.period.start)
    end = instant_to_minutes(last_cycle) + (window.after or 0) * spacing
    try:
        store = experiment.open_observations()
    except StoreNotFoundError:
        store = None
    tip = None if store is None else store.tip(OBSERVATIONS)
    last = None if tip is None else tip.last_time
    files, start, asked = source_files(recipe, path), begin, end
    if store is not None and tip is not None and last is not None:
        seen = _seen(store.location)
        if seen is not None and seen.is_all(tip.snapshot_id, end, files):
            return 0
        if recipe.reported:
            start = _read_again_from(experiment, files or {}, seen, begin, last)
        elif last >= end and path is None:
            return 0  # the recipe's own file is known by its checksum
        else:
            start = max(begin, last)
        end = max(end, last)
    known = () if store is None else experiment.platforms(store)
    first, final = minutes_to_instant(start), minutes_to_instant(end)
    ingested = ingest(recipe, start=first, end=final, path=path, partly=True, known=known)
    store = experiment.create_observations(ingested) if store is None else store
    new = experiment.append_observations(store, ingested, warn)
    _account(ingested, new, say, warn)
    if files is not None:
        _note(store, _Seen(snapshot=store.tip(OBSERVATIONS).snapshot_id, until=asked, files=files))
    return new


def _read_again_from(
    experiment: Experiment, files: Identities, seen: _Seen | None, begin: int, last: int
) -> int:
    """From when on real observations are read again, minutes."""
    if seen is None:
        return begin
    changed = {name for name, identity in files.items() if seen.files.get(name) != identity}
    changed |= seen.files.keys() - files.keys()
    found = first_time_in(experiment.recipe, changed, known=files, start=begin, end=last)
    return max(begin, min(found - experiment.recipe.spacing, last - duration_to_minutes(LOOK_BACK)))


def _account(ingested: Ingested, new: int, say: Tell, warn: Tell) -> None:
    for text in ingested.account.sentences() if new else ():
        say(text)
    for text in ingested.account.warnings():
        warn(text)


def _seen(place: Location) -> _Seen | None:
    """What a note beside a store says; None, so that all is read again, where it is none."""
    note = place.read_note(NOTE)
    try:
        return _Seen.model_validate_json(note) if note else None
    except ValidationError:
        return None


def _note(store: ExperimentStore, seen: _Seen) -> None:
    before = store.location.read_note(NOTE)
    with contextlib.suppress(NoteChangedError):
        store.location.write_note(NOTE, seen.model_dump_json().encode(), expected=before)
