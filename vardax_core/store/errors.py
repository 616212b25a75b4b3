"""What can go wrong with an experiment store, each with its repair in the message."""

from pathlib import Path


class StoreError(ValueError):
    """Base of every error of the experiment store."""


class StoreNotFoundError(StoreError):
    """There is no experiment store at the path."""

    def __init__(self, path: Path):
        super().__init__(
            f"No experiment store at {path}. Create it with ExperimentStore.create, "
            "or correct the path."
        )


class StoreExistsError(StoreError):
    """The path that a new store was to take is taken."""

    def __init__(self, path: Path):
        super().__init__(
            f"{path} exists already. Open it with ExperimentStore.open, or choose another path."
        )


class SnapshotNotFoundError(StoreError):
    """The store has no snapshot with the identifier asked for."""

    def __init__(self, path: Path, snapshot_id: str):
        super().__init__(
            f"{path} has no snapshot {snapshot_id!r}. Take an identifier from store.history()."
        )


class ForeignExperimentError(StoreError):
    """The store belongs to an experiment with another configuration."""

    def __init__(self, path: Path, name: str, expected: str, got: str):
        super().__init__(
            f"{path} holds the experiment {name!r} with configuration digest {got}, but this "
            f"configuration has digest {expected}. Restore the configuration the store was made "
            "with, or give this one a store of its own at another path."
        )


class StructureError(StoreError):
    """Names, shapes, dtypes or metadata differ from what the store was created with."""


class OverwriteError(StoreError):
    """The new times are not strictly increasing or do not lie after the last stored time."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""

    def __init__(self, path: Path, holder: str):
        super().__init__(
            f"{path} is being written by {holder or 'another process'}. Wait for it to end "
            "(writer(wait=seconds)), or end it; readers are not affected."
        )


class SupersededError(StoreError):
    """The store moved on while the commit was being written; the commit was dropped."""

    def __init__(self, path: Path, expected: str, got: str):
        super().__init__(
            f"{path} moved from snapshot {expected} to {got} while this commit was being written "
            "without the writer lock. Nothing was published; read the tip again and redo the "
            "cycles after it."
        )


class StorageError(StoreError):
    """The file system refused to read or write.

    Attributes:
        errno: the number of the operating system's error, or None where it gave none.
    """

    def __init__(self, path: Path, action: str, reason: str, errno: int | None):
        super().__init__(
            f"Could not {action} {path}: {reason}. Cycles committed earlier are safe. Free space "
            "or restore access to the path, then run again: it goes on after the last commit."
        )
        self.errno = errno
