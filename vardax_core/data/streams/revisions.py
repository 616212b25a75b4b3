"""Which of several versions of one observation is used: repetitions, corrections, conflicts."""

import dataclasses

import numpy as np

from vardax_core.data.streams.records import Records
from vardax_core.observations.quality import QualityCode


@dataclasses.dataclass(frozen=True)
class Versions:
    """The records of a stream and their earlier versions.

    Attributes:
        current: the version of each observation that arrived last; the code is DUPLICATE where
            several arrived together that differ, so that none can be trusted.
        superseded: versions before, in order.
        repeated: records that say what the version before them said, left out.
        first_repeated, first_superseded, first_conflicting: one of each, or none.
    """

    current: Records
    superseded: Records
    repeated: int
    first_repeated: Records
    first_superseded: Records
    first_conflicting: Records

    @property
    def conflicting(self) -> int:
        """Current records that contradict each other."""
        return int((self.current.code == QualityCode.DUPLICATE).sum())


def known_at(current: Records, superseded: Records, instant: np.datetime64) -> Records:
    """Give records as they were at an instant, from what had arrived by then.

    Arguments:
        current, superseded: of `Versions`.
        instant: datetime64.
    """
    conflict = current.code == QualityCode.DUPLICATE
    code = np.where(conflict, np.int8(QualityCode.KEPT), current.code)
    everything = dataclasses.replace(current, code=code.astype(np.int8)).joined(superseded)
    return resolve(everything.taken(everything.arrival <= instant)).current


def resolve(records: Records) -> Versions:
    """Find the versions of each observation: records of one platform, time, place and level.

    Of versions in the order of their arrival the last is used. One that only repeats the version
    before it changes nothing, so that it counts as known since that arrived.
    """
    ordered = records.in_order()
    if not len(ordered):
        return Versions(ordered, ordered, 0, ordered, ordered, ordered)
    same = _equal_to_previous(ordered, "time", "platform", "place", "level")
    repeats = same & _equal_to_previous(ordered, "value", "error_sd", "code")
    kept, again = ordered.taken(~repeats), ordered.taken(repeats)

    same = same[~repeats]
    group = np.cumsum(~same) - 1
    ends = np.r_[np.flatnonzero(~same)[1:], len(kept)] - 1
    latest = kept.arrival == kept.arrival[ends][group]
    usable = latest & (kept.code == QualityCode.KEPT)
    conflict = usable & (np.bincount(group, weights=usable)[group] > 1)
    code = np.where(conflict, np.int8(QualityCode.DUPLICATE), kept.code).astype(np.int8)
    marked = dataclasses.replace(kept, code=code)
    return Versions(
        current=marked.taken(latest).tidied(),
        superseded=kept.taken(~latest).tidied(),
        repeated=len(again),
        first_repeated=again.taken(np.arange(min(1, len(again)))),
        first_superseded=kept.taken(np.flatnonzero(~latest)[:1]),
        first_conflicting=marked.taken(np.flatnonzero(conflict)[:1]),
    )


def _equal_to_previous(records: Records, *names: str) -> np.ndarray:
    equal = np.ones(len(records), bool)
    equal[0] = False
    for name in names:
        column = getattr(records, name)
        now, before = column[1:], column[:-1]
        alike = (now == before) | ((now != now) & (before != before))
        equal[1:] &= alike.all(axis=1) if alike.ndim > 1 else alike
    return equal
