"""Which of several versions of one observation is used: repetitions, corrections, conflicts."""

import dataclasses

import numpy as np

from vardax_core.data.streams.records import Records, mixed
from vardax_core.observations.quality import QualityCode


@dataclasses.dataclass(frozen=True)
class Versions:
    """The records of a stream and their earlier versions.

    Attributes:
        current: the version of each observation that arrived last; the code is DUPLICATE where
            several arrived together that differ, so that none can be trusted.
        superseded: versions before, in order, with the same code where they differ.
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


def superseded_times(current: Records, superseded: Records, *, named: bool = True) -> np.ndarray:
    """When the next version of each superseded record arrived (UTC), datetime64[ns].

    Arguments:
        current, superseded: of `Versions`.
        named: see `Records.identities`.
    """
    both = (superseded, current)
    identity = np.concatenate([part.identities(named=named) for part in both])
    arrival = np.concatenate([part.arrival for part in both])
    order = np.lexsort((arrival, identity))
    one, at = identity[order], arrival[order]
    begins = np.r_[True, (one[1:] != one[:-1]) | (at[1:] != at[:-1])][: len(one)]
    first = np.append(np.flatnonzero(begins), len(one))
    after = first[np.cumsum(begins)]
    until = np.full(len(one), np.datetime64("NaT", "ns"))
    followed = np.flatnonzero(after < len(one))
    followed = followed[one[after[followed]] == one[followed]]
    until[order[followed]] = at[after[followed]]
    return until[: len(superseded)]


def resolve(records: Records) -> Versions:
    """Find the versions of each observation: records of one platform, time, place and level.

    What arrived together is one version, of which several records that differ contradict each
    other. Of versions in the order of their arrival the last is used. One that only repeats the
    version before it changes nothing, so that it counts as known since that arrived.
    """
    ordered = records.in_order()
    if not len(ordered):
        return Versions(ordered, ordered, 0, ordered, ordered, ordered)
    same = _equal_to_previous(ordered, "time", "platform", "place", "level")
    together = same & _equal_to_previous(ordered, "arrival")
    twice = together & _equal_to_previous(ordered, "value", "error_sd", "code")
    version = np.cumsum(~together) - 1
    begins = np.flatnonzero(~together)
    said = np.add.reduceat(np.where(twice, np.uint64(0), _contents(ordered)), begins)
    again = same[begins] & np.r_[False, said[1:] == said[:-1]]
    repeats = twice | again[version]
    kept, repeated = ordered.taken(~repeats), ordered.taken(repeats)

    version, same = version[~repeats], same[~repeats]
    last = np.r_[np.flatnonzero(~same)[1:], len(kept)] - 1
    latest = version == version[last][np.cumsum(~same) - 1]
    usable = kept.code == QualityCode.KEPT
    conflict = usable & (np.bincount(version, weights=usable)[version] > 1)
    code = np.where(conflict, np.int8(QualityCode.DUPLICATE), kept.code).astype(np.int8)
    marked = dataclasses.replace(kept, code=code)
    return Versions(
        current=marked.taken(latest).tidied(),
        superseded=marked.taken(~latest).tidied(),
        repeated=len(repeated),
        first_repeated=repeated.taken(np.arange(min(1, len(repeated)))),
        first_superseded=kept.taken(np.flatnonzero(~latest)[:1]),
        first_conflicting=marked.taken(np.flatnonzero(conflict & latest)[:1]),
    )


def _contents(records: Records) -> np.ndarray:
    """A number for each record of what it says, whose sums tell sets of them apart, uint64."""
    bits = records.code.astype(np.uint64)
    for column in (records.value, records.error_sd):
        column = np.where(np.isnan(column), np.nan, column + 0.0)
        bits = mixed(bits ^ column.view(np.uint64))
    return bits


def _equal_to_previous(records: Records, *names: str) -> np.ndarray:
    equal = np.ones(len(records), bool)
    equal[0] = False
    for name in names:
        column = getattr(records, name)
        now, before = column[1:], column[:-1]
        alike = (now == before) | ((now != now) & (before != before))
        equal[1:] &= alike.all(axis=1) if alike.ndim > 1 else alike
    return equal
