"""What can go wrong with an experiment store, each with its repair in the message."""


class StoreError(ValueError):
    """Base of every error of the experiment store."""


class LocationError(StoreError):
    """A place that no store can be kept at."""

    def __init__(self, text: str):
        super().__init__(
            f"{text!r} is no place for a store. Give a directory, or s3://bucket/prefix with "
            "credentials in the AWS environment variables."
        )


class StoreNotFoundError(StoreError):
    """There is no experiment store at the path.

    Arguments:
        path: where none is.
        repair: a sentence; by default for who named the path.
    """

    def __init__(
        self,
        path: object,
        repair: str = "Correct the path; `vardax run NAME -m METHOD`, or ExperimentStore.create in "
        "Python, makes a store.",
    ):
        super().__init__(f"No experiment store at {path}. {repair}")


class ObservationsNotFoundError(StoreError):
    """The store that an experiment's observations are kept in is not there."""

    def __init__(self, path: object, expected: object):
        super().__init__(
            f"{path}: its observations are kept in {expected}, and no store is there. Put the "
            "folder back beside the experiment's, from where it was copied or moved.",
        )


class StoreExistsError(StoreError):
    """The path that a new store was to take is taken."""

    def __init__(self, path: object):
        super().__init__(
            f"{path} exists already. Open it with ExperimentStore.open, or choose another path."
        )


class SnapshotNotFoundError(StoreError):
    """The store has no snapshot with the identifier asked for."""

    def __init__(self, path: object, snapshot_id: str):
        super().__init__(
            f"{path} has no snapshot {snapshot_id!r}. Take an identifier from store.history()."
        )


class ForeignExperimentError(StoreError):
    """The store belongs to an experiment with another configuration."""

    def __init__(
        self,
        path: object,
        name: str,
        expected: str,
        got: str,
        *,
        changed: str = "its configuration is another",
        repair: str = "Restore that configuration, or give this one a store at another path",
    ):
        super().__init__(
            f"{path} holds the experiment {name!r} as it was before: {changed}. {repair}. "
            f"(Digest of the configuration: {got[:12]} there, {expected[:12]} here.)"
        )


class StructureError(StoreError):
    """Names, shapes, dtypes or metadata differ from what the store was created with."""


class StructureDriftError(StructureError):
    """What is to be published has another structure than what readers have now."""


class OverwriteError(StoreError):
    """Stored cycles would be rewritten, or new times are not strictly increasing."""


class RetractionError(StoreError):
    """What is to be published lacks cycles that readers have now."""


class BranchError(StoreError):
    """There is no branch of the name, or there is one already."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""

    def __init__(self, path: object, holder: str):
        super().__init__(
            f"{path} is being written by {holder or 'another process'}. Wait for it to end "
            "(writer(wait=seconds)), or end it; readers are not affected."
        )


class SupersededError(StoreError):
    """The store moved on while a commit was being made; the commit was dropped."""

    def __init__(self, path: object, expected: str, got: str):
        super().__init__(
            f"{path} moved from {expected} to {got} while this commit was being made: another "
            "process works on it. Nothing was published; read the tip again and redo the cycles "
            "after it."
        )


class NoteChangedError(StoreError):
    """A note beside the store was written by another process since it was read."""

    def __init__(self, where: object):
        super().__init__(
            f"{where} was written by another process since it was read. Nothing was overwritten; "
            "run again."
        )


class StorageError(StoreError):
    """The file system refused to read or write.

    Attributes:
        errno: the number of the operating system's error, or None where it gave none.
    """

    def __init__(self, path: object, action: str, reason: str, errno: int | None):
        super().__init__(
            f"Could not {action} {path}: {reason}. Cycles committed earlier are safe. Free space "
            "or restore access to the path, then run again: it goes on after the last commit."
        )
        self.errno = errno
