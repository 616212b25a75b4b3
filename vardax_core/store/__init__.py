"""The experiment store: transactional, resumable, readable by plain xarray."""

from vardax_core.store.branches import Branches
from vardax_core.store.digest import content_digest, groups_digest
from vardax_core.store.errors import (
    BranchError,
    ForeignExperimentError,
    LocationError,
    NoteChangedError,
    ObservationsNotFoundError,
    OverwriteError,
    RetractionError,
    SnapshotNotFoundError,
    StorageError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    StructureDriftError,
    StructureError,
    SupersededError,
)
from vardax_core.store.experiment import (
    Diagnostic,
    ObservedDescription,
    StateDescription,
    experiment_layout,
    observation_layout,
)
from vardax_core.store.export import ExportError, export
from vardax_core.store.layout import ChunkPlan, Coordinate, Group, Layout, Variable
from vardax_core.store.location import Location, location_of
from vardax_core.store.repository import CommitRecord, Tip
from vardax_core.store.retention import RetentionError, collect, thin
from vardax_core.store.store import ExperimentStore
from vardax_core.store.summary import StoreSummary, render, summarize
from vardax_core.store.writer import Writer

__all__ = [
    "BranchError",
    "Branches",
    "ChunkPlan",
    "CommitRecord",
    "Coordinate",
    "Diagnostic",
    "ExperimentStore",
    "ExportError",
    "ForeignExperimentError",
    "Group",
    "Layout",
    "Location",
    "LocationError",
    "NoteChangedError",
    "ObservationsNotFoundError",
    "ObservedDescription",
    "OverwriteError",
    "RetentionError",
    "RetractionError",
    "SnapshotNotFoundError",
    "StateDescription",
    "StorageError",
    "StoreBusyError",
    "StoreError",
    "StoreExistsError",
    "StoreNotFoundError",
    "StoreSummary",
    "StructureDriftError",
    "StructureError",
    "SupersededError",
    "Tip",
    "Variable",
    "Writer",
    "collect",
    "content_digest",
    "experiment_layout",
    "export",
    "groups_digest",
    "location_of",
    "observation_layout",
    "render",
    "summarize",
    "thin",
]
