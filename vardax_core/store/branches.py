"""Work branches: history rerun beside what readers have, and published in one step."""

from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import zarr

from vardax_core.store.errors import (
    BranchError,
    ForeignExperimentError,
    OverwriteError,
    RetractionError,
    StructureDriftError,
    SupersededError,
)
from vardax_core.store.files import storage_errors
from vardax_core.store.layout import TIME
from vardax_core.store.location import Location
from vardax_core.store.repository import (
    CYCLE_GROUP_ATTR,
    EXPERIMENT_ATTR,
    MAIN,
    Tip,
    dimensions,
    dtype_name,
    instant,
    read_tip,
)
from vardax_core.words import counted

BASE = ".base"
"""Added to a branch's name: the branch that keeps what `main` was when the work began."""


@dataclass(frozen=True)
class Branches:
    """The work branches of one store.

    Attributes:
        location: of the store.
        repository: its repository.
    """

    location: Location
    repository: icechunk.Repository

    def names(self) -> list[str]:
        """Names of the work branches."""
        with storage_errors(self.location, "read"):
            found = self.repository.list_branches()
        return sorted(n for n in found if n != MAIN and not n.endswith(BASE))

    def start(self, name: str, *, as_of: str | None = None) -> None:
        """Start a branch at what readers have, or at an earlier snapshot.

        Raises:
            BranchError: there is a branch of this name, or it cannot be one.
            StorageError: the storage refuses.
        """
        if name in (MAIN, *self.names()) or name.endswith(BASE) or "/" in name:
            raise BranchError(
                f"{self.location}: a branch {name!r} cannot be started; choose another name than "
                f"{[MAIN, *self.names()]}, without '/' and not ending in {BASE!r}."
            )
        with self.location.lock(60.0), storage_errors(self.location, "write to"):
            main = self.repository.lookup_branch(MAIN)
            if name + BASE in self.repository.list_branches():
                self.repository.delete_branch(name + BASE)
            self.repository.create_branch(name + BASE, main)
            self.repository.create_branch(name, as_of or main)

    def renew(self, name: str, fork: str) -> None:
        """Let a branch be published over what readers have got since it was started.

        Arguments:
            name: of the branch.
            fork: the snapshot that it was started at, after which it made every cycle again.

        Raises:
            BranchError: there is no such branch, or readers do not have that snapshot any more.
            StorageError: the storage refuses.
        """
        with self.location.lock(60.0), storage_errors(self.location, "write to"):
            if name not in self.names():
                raise BranchError(f"{self.location} has no branch {name!r} to publish.")
            main = self.repository.lookup_branch(MAIN)
            if all(s.id != fork for s in self.repository.ancestry(snapshot_id=main)):
                raise BranchError(
                    f"{self.location}: branch {name!r} was started at {fork}, which is no part of "
                    f"the history of {MAIN} any more. Give it up, and make its cycles again."
                )
            # A base that is missing for a moment, where this dies, is that of an outdated branch.
            if name + BASE in self.repository.list_branches():
                self.repository.delete_branch(name + BASE)
            self.repository.create_branch(name + BASE, main)

    def outdated(self, name: str) -> bool:
        """Whether `main` has moved since a branch was started."""
        with storage_errors(self.location, "read"):
            heads = self.repository.list_branches()
            return name + BASE not in heads or (
                self.repository.lookup_branch(name + BASE) != self.repository.lookup_branch(MAIN)
            )

    def delete(self, name: str) -> None:
        """Give a branch up; its commits go with the next collection of garbage."""
        with self.location.lock(60.0), storage_errors(self.location, "write to"):
            for each in (name, name + BASE):
                if each in self.repository.list_branches():
                    self.repository.delete_branch(each)

    def publish(self, name: str, *, rewrite: bool = False) -> Tip:
        """Make a branch what readers have, by compare-and-swap, and delete the branch.

        Arguments:
            name: of the branch.
            rewrite: whether the branch may replace cycles that readers have now.

        Raises:
            BranchError: there is no such branch.
            ForeignExperimentError: it holds another experiment.
            StructureDriftError: its structure differs from that of `main`.
            RetractionError: it lacks cycles that `main` has.
            OverwriteError: it goes back behind cycles of `main`, and `rewrite` is False.
            SupersededError: `main` has moved since the branch was started.
            StorageError: the storage refuses.
        """
        if name not in self.names():
            raise BranchError(f"{self.location} has no branch {name!r} to publish.")
        with self.location.lock(60.0), storage_errors(self.location, "publish to"):
            heads = self.repository.list_branches()
            if name + BASE not in heads:
                raise SupersededError(self.location, "the start of the branch", "none")
            base = self.repository.lookup_branch(name + BASE)
            now, branch = self.repository.lookup_branch(MAIN), self.repository.lookup_branch(name)
            if now != base:
                raise SupersededError(self.location, base, now)
            self._check(now, branch)
            descends = any(s.id == now for s in self.repository.ancestry(snapshot_id=branch))
            if not descends and not rewrite:
                raise OverwriteError(
                    f"{self.location}: branch {name!r} goes back behind cycles that readers have. "
                    "Pass rewrite=True to replace them; the old ones stay readable by as_of."
                )
            self.location.make_durable()
            try:
                self.repository.reset_branch(MAIN, branch, from_snapshot_id=base)
            except icechunk.IcechunkError as error:
                now = self.repository.lookup_branch(MAIN)
                if now != base:
                    raise SupersededError(self.location, base, now) from error
                raise
            self.location.make_durable()
            self.repository.delete_branch(name)
            self.repository.delete_branch(name + BASE)
            return read_tip(self.repository)

    def _check(self, main: str, branch: str) -> None:
        old, new = (
            zarr.open_group(self.repository.readonly_session(snapshot_id=s).store, mode="r")
            for s in (main, branch)
        )
        attrs: list[dict[str, Any]] = [root.attrs.asdict() for root in (old, new)]
        records = [dict(each[EXPERIMENT_ATTR]) for each in attrs]
        if records[0] != records[1]:
            raise ForeignExperimentError(
                self.location,
                str(records[0]["name"]),
                expected=str(records[1]["digest"]),
                got=str(records[0]["digest"]),
                changed=f"the branch is of the experiment {records[1]['name']!r}",
                repair="Delete the branch, and start it again from what readers have",
            )
        before, after = structure(old), structure(new)
        if before != after:
            drifted = sorted(name for name in before | after if before.get(name) != after.get(name))
            raise StructureDriftError(
                f"{self.location}: the branch differs from main in {drifted}. Readers rely on the "
                "structure; make a store of its own for another one."
            )
        group = str(old.attrs[CYCLE_GROUP_ATTR])
        have, brought = (_times(root, group) for root in (old, new))
        lost = np.setdiff1d(have, brought)
        if lost.size:
            raise RetractionError(
                f"{self.location}: the branch lacks {counted(lost.size, 'cycle')} that readers "
                f"have, first {instant(int(lost[0]))}. Run it on to {instant(int(have[-1]))} "
                "at least."
            )


def _times(root: zarr.Group, group: str) -> np.ndarray:
    return np.asarray(zarr.open_array(root.store, path=f"{group}/{TIME}", mode="r")[:])


def structure(root: zarr.Group) -> dict[str, list]:
    """Dtype, dimensions, attributes and shape without time of every array that grows."""
    found = {}
    for name, group in root.groups():
        for key, array in group.arrays():
            dims = dimensions(array)
            if TIME in group:
                sizes = [n for n, dim in zip(array.shape, dims, strict=True) if dim != TIME]
                found[f"{name}/{key}"] = [dtype_name(array), dims, sizes, array.attrs.asdict()]
    return found
