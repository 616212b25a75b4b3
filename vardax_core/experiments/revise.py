"""Revisions of real observations: what came, or was corrected, after its time had been taken."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from vardax_core.data.account import span_of
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import IDENTITY, OWN_CODE, SUPERSEDED_AT
from vardax_core.data.streams.records import mixed
from vardax_core.experiments.store_layout import filled_to
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store.experiment import NOT_ARRIVED, OBSERVATIONS
from vardax_core.store.writer import Piece

Columns = Mapping[str, np.ndarray]
"""Arrays on (time, column), as an observation store has them."""
ARRIVAL = "arrival_time"
GOOD = (QualityCode.KEPT, QualityCode.WITHHELD, QualityCode.DUPLICATE)
"""Codes of values that nothing is the matter with, but for others that contradict them."""


@dataclasses.dataclass(frozen=True)
class Revision:
    """What rows of a store become.

    Attributes:
        minutes: times of the rows that change.
        columns: these rows, as wide as they must be.
        late: records that came after their times had been taken.
        corrected: records that correct others.
        since: for each row the earliest arrival of what changes it, minutes.
    """

    minutes: Int[np.ndarray, " row"]
    columns: dict[str, np.ndarray]
    late: int
    corrected: int
    since: Int[np.ndarray, " row"]

    @property
    def width(self) -> int:
        """Columns that the rows need."""
        return int(self.columns[QUALITY_CONTROL].shape[1])

    @property
    def sentence(self) -> str:
        """What somebody who runs an ingest should see."""
        return (
            "observations that came after their times had been taken, recorded: "
            f"{self.late + self.corrected}, {self.corrected} of them corrections "
            f"({span_of(self.minutes)})"
        )

    def pieces(self, width: int) -> Iterator[Piece]:
        """What is written to a store of so many columns, a row at a time."""
        columns = filled_to(self.columns, width)
        for n in range(len(self.minutes)):
            row = slice(n, n + 1)
            of_row = {name: np.ascontiguousarray(array[row]) for name, array in columns.items()}
            yield self.minutes[row], {OBSERVATIONS: of_row}


@dataclasses.dataclass
class _Version:
    """A version of an observation: where it stands, and its place among those that arrived in the
    same minute."""

    at: tuple[int, int]
    arrival: int
    rank: float
    content: int
    read: bool
    superseded: bool = False


def revised(
    recipe: Recipe, stored: Columns, read: Columns, minutes: Int[np.ndarray, " row"]
) -> Revision | None:
    """Bring the rows of a store up to what files say now; None where they say nothing new.

    A record that the store lacks gets a column of its own in the row of its time, and no column
    changes its record. Versions of one observation follow each other as they arrived; of two that
    arrived in the same minute, one that the files no longer have was replaced by one that they
    have. A version that says what the one before it, or the one after it, says is none; records
    that arrived together and differ are one version.

    Arguments:
        recipe: of the observations.
        stored: rows of the store.
        read: the same times as they are read now; platforms have the numbers of the store.
        minutes: the times.
    """
    there, given = (np.nonzero(c[QUALITY_CONTROL] != QualityCode.MISSING) for c in (stored, read))
    kept, new = _versions(recipe, stored, there), _versions(recipe, read, given)
    same = np.isin(new["exact"], kept["exact"]) | (~new["superseded"] & _says_the_same(new, kept))
    touched = np.unique(new["identity"][~same])
    late_ids = np.setdiff1d(touched, kept["identity"])
    added: list[tuple[int, int]] = []
    settled: dict[tuple[bool, tuple[int, int]], tuple[int, int, int]] = {}
    corrected = 0
    late = np.isin(new["identity"], late_ids)
    added += list(zip(given[0][late].tolist(), given[1][late].tolist(), strict=True))
    of_both = np.setdiff1d(touched, late_ids)
    for group in _grouped(of_both, (kept, there, False), (new, given, True)):
        steps = _without_repeats(_in_steps(group))
        fresh = [version.at for step in steps for version in step if version.read]
        if not fresh:
            continue
        corrected += len(fresh)
        added += fresh
        for version, outcome in _settled(steps, stored, read):
            settled[version.read, version.at] = outcome
    if not added:
        return None
    return _written(stored, read, minutes, added, settled, int(late.sum()), corrected)


def _versions(
    recipe: Recipe, columns: Columns, at: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    name = recipe.observed.name
    code = columns[OWN_CODE][at]
    bits = np.uint64(0) + np.where(np.isin(code, GOOD), QualityCode.KEPT, code).astype(np.uint64)
    for column in (name, f"{name}_error"):
        bits = mixed(bits ^ columns[column][at].astype(np.float32).view(np.uint32))
    identity, arrival = columns[IDENTITY][at], columns[ARRIVAL][at]
    told = mixed(bits ^ identity.view(np.uint64))
    return {
        "identity": identity,
        "arrival": arrival,
        "content": bits,
        "superseded": columns[QUALITY_CONTROL][at] == QualityCode.SUPERSEDED,
        "told": told,
        "exact": mixed(told ^ arrival.view(np.uint64)),
    }


def _says_the_same(new: dict[str, np.ndarray], kept: dict[str, np.ndarray]) -> np.ndarray:
    """Whether of each record's observation the last version says what it has said before."""
    identities = np.unique(new["identity"])
    last = np.zeros((2, len(identities)), np.uint64)
    for said, versions in zip(last, (new, kept), strict=True):
        of = ~versions["superseded"] & np.isin(versions["identity"], identities)
        at = np.searchsorted(identities, versions["identity"][of])
        np.add.at(said, at, versions["told"][of])
    return (last[0] == last[1])[np.searchsorted(identities, new["identity"])]


def _grouped(
    identities: np.ndarray, *sources: tuple[dict[str, np.ndarray], tuple[np.ndarray, ...], bool]
) -> Iterable[list[_Version]]:
    """The versions of each observation, in the order of their arrival."""
    groups: dict[int, list[_Version]] = {int(identity): [] for identity in identities}
    for found, (rows, columns), read in sources:
        for n in np.flatnonzero(np.isin(found["identity"], identities)):
            superseded = bool(found["superseded"][n])
            rank = float(not superseded)
            groups[int(found["identity"][n])].append(
                _Version(
                    (int(rows[n]), int(columns[n])),
                    int(found["arrival"][n]),
                    # What is read tells how versions of one minute follow each other.
                    2.0 + rank if read else rank,
                    int(found["content"][n]),
                    read,
                    superseded and not read,
                )
            )
    for versions in groups.values():
        said = {(v.arrival, v.content): v.rank for v in versions if v.read}
        for version in versions:
            version.rank = said.get((version.arrival, version.content), version.rank)
        versions.sort(key=lambda v: (v.arrival, v.rank, v.content, v.read))
        yield [
            version
            for n, version in enumerate(versions)
            if n == 0
            or (versions[n - 1].arrival, versions[n - 1].content)
            != (version.arrival, version.content)
        ]


def _in_steps(versions: Sequence[_Version]) -> list[list[_Version]]:
    """What arrived together, in order."""
    steps = itertools.groupby(versions, key=lambda v: (v.arrival, v.rank))
    return [list(step) for _, step in steps]


def _without_repeats(steps: Sequence[list[_Version]]) -> list[list[_Version]]:
    """Steps without those that say what the one before them says; what is stored stays."""
    left: list[list[_Version]] = []
    for step in steps:
        if left and {v.content for v in left[-1]} == {v.content for v in step}:
            if all(version.read for version in step):
                continue
            left[-1] = [version for version in left[-1] if not version.read]
        left.append(step)
    return [step for step in left if step]


def _settled(
    steps: Sequence[list[_Version]], stored: Columns, read: Columns
) -> Iterable[tuple[_Version, tuple[int, int, int]]]:
    """Of each version its code, its own code, and when it was superseded."""
    for number, step in enumerate(steps):
        own = {id(v): int((read if v.read else stored)[OWN_CODE][v.at]) for v in step}
        contradict = sum(code in GOOD for code in own.values()) > 1
        for version in step:
            code = own[id(version)]
            if contradict and code in GOOD and not version.superseded:
                code = int(QualityCode.DUPLICATE)
            if number + 1 < len(steps):
                until = steps[number + 1][0].arrival
                yield version, (int(QualityCode.SUPERSEDED), code, until)
            else:
                yield version, (code, code, NOT_ARRIVED)


def _written(
    stored: Columns,
    read: Columns,
    minutes: Int[np.ndarray, " row"],
    added: Sequence[tuple[int, int]],
    settled: Mapping[tuple[bool, tuple[int, int]], tuple[int, int, int]],
    late: int,
    corrected: int,
) -> Revision:
    codes = stored[QUALITY_CONTROL]
    ends = np.where(codes != QualityCode.MISSING, np.arange(1, codes.shape[1] + 1), 0).max(axis=1)
    added = sorted(added)
    rows = np.unique([row for row, _ in added])
    counts = np.bincount([row for row, _ in added], minlength=len(codes))
    width = max(codes.shape[1], int((ends + counts).max()))
    columns = filled_to({name: array[rows] for name, array in stored.items()}, width)
    place = {int(row): n for n, row in enumerate(rows)}
    free, since = ends.copy(), np.full(len(rows), np.iinfo(np.int64).max)
    outcomes = {(place[at[0]], at[1]): found for (new, at), found in settled.items() if not new}
    for at in added:
        row, to = place[at[0]], (place[at[0]], int(free[at[0]]))
        free[at[0]] += 1
        for name, array in columns.items():
            array[to] = read[name][at]
        since[row] = min(since[row], int(read[ARRIVAL][at]))
        if (True, at) in settled:
            outcomes[to] = settled[True, at]
    for to, outcome in outcomes.items():
        for name, value in zip((QUALITY_CONTROL, OWN_CODE, SUPERSEDED_AT), outcome, strict=True):
            columns[name][to] = value
    return Revision(minutes[rows], columns, late, corrected, since)
