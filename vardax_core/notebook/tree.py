"""A store as one tree of xarray, read when it is used."""

from pathlib import Path

import xarray as xr

from vardax_core.calibration.statistics import SUMS
from vardax_core.data import load_recipe
from vardax_core.experiments.settings import main_method
from vardax_core.notebook.scores import cycle_scores
from vardax_core.paths import default_root, default_stores, is_url, local_path
from vardax_core.store import ExperimentStore, Location, StructureError, location_of

GROUPS = {
    "analysis": "analysis",
    "background": "background",
    "truth": "nature_run",
    "observations": "observations",
    "innovations": "innovations",
    "smoothed": "smoothed",
}
"""Names of the parts of the tree, and of the groups of the store that they are."""


class NotebookError(ValueError):
    """A name of no store, or a tree that was not opened by `vardax.open`."""


def open_tree(
    named: str | Path | Location, *, as_of: str | None = None, root: str | Path | None = None
) -> xr.DataTree:
    """Open what an experiment has made.

    Arguments:
        named: path or `s3://` URL of its store; or the name of a data set, or of a data set and a
            method as in `lorenz96/letkf`, whose store lies below the root.
        as_of: a snapshot, or an instant (ISO 8601, UTC) for what readers had then; by default what
            there is now.
        root: folder of all runs; by default VARDAX_ROOT or `.vardax`.

    Returns:
        `analysis`, `background`, `truth` (where it is known), `observations`, `innovations`, and
        `diagnostics` with the scores of every cycle; where an earlier version made the store, they
        are left out, and the attribute `comment` says why. All of it is of one snapshot, and
        values are read when they are used. `.vardax` has a picture, scores of periods and more.

    Raises:
        NotebookError: the name stands for no store, or for several.
        StoreNotFoundError: there is no store at the path.
        SnapshotNotFoundError: there was none at that instant.
    """
    store = ExperimentStore.open(place_of(named, root))
    record = store.experiment
    if "method" not in record:
        raise NotebookError(
            f"vardax.open: expected the store of an experiment, got {store.location}, which holds "
            "the observations of several; open one of the stores beside it."
        )
    snapshot = store.tip().snapshot_id if as_of is None else store.snapshot_of(as_of)
    found = {name: _part(store, group, snapshot) for name, group in GROUPS.items()}
    parts = {f"/{name}": part for name, part in found.items() if part is not None}
    diagnostics = store.dataset("diagnostics", as_of=snapshot)
    parts["/diagnostics"] = _divided(diagnostics, parts["/analysis"])
    about = {"experiment": record["name"], "dataset": record["dataset"], "method": record["method"]}
    where = {"store": str(store.location), "snapshot": snapshot}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={**about, **where}), **parts})


def _divided(diagnostics: xr.Dataset, analysis: xr.Dataset) -> xr.Dataset:
    """The diagnostics with scores in place of sums; those of an earlier version have none."""
    others = diagnostics.drop_vars([name for name in SUMS if name in diagnostics])
    try:
        return others.merge(cycle_scores(diagnostics, analysis), join="outer")
    except StructureError as error:
        return others.assign_attrs(comment=str(error))


def _part(store: ExperimentStore, group: str, snapshot: str) -> xr.Dataset | None:
    """A group of a store; None where it has none of that name."""
    try:
        return store.dataset(group, as_of=snapshot)
    except StructureError:
        return None


def store_of(tree: xr.DataTree) -> tuple[ExperimentStore, str]:
    """The store that a tree was opened from, and the snapshot.

    Raises:
        NotebookError: it was not opened by `open_tree`.
    """
    if not {"store", "snapshot"} <= set(tree.attrs):
        raise NotebookError(
            "vardax: expected a tree that vardax.open made, got one without the attributes store "
            "and snapshot; open it with vardax.open."
        )
    return ExperimentStore.open(tree.attrs["store"]), tree.attrs["snapshot"]


def place_of(
    named: str | Path | Location, root: str | Path | None = None, what: str = "vardax.open"
) -> Location:
    """Where the store of a name lies; see `open_tree` for the names.

    Arguments:
        named, root: as `open_tree` takes them.
        what: function or command that was given the name, for the message.

    Raises:
        NotebookError: the name stands for no store, or for several.
    """
    if isinstance(named, Location):
        return named
    text = str(named).strip()
    place = location_of(text if is_url(text) else local_path(text, what).absolute())
    if is_url(text) or place.exists():
        return place
    dataset, _, label = text.partition("/")
    if "/" in label or text.startswith((".", "~", "/")):
        return place
    folder = (default_root() if root is None else local_path(root, "root")).absolute()
    stores = location_of((None if root is not None else default_stores()) or folder / "experiments")
    return stores.below(dataset, label or _only(stores.below(dataset), dataset, what))


def _only(place: Location, dataset: str, what: str) -> str:
    """The one method that a data set was assimilated with, or the usual one of several."""
    if is_url(str(place)):
        return main_method(load_recipe(dataset))
    folder = place.directory()
    stores = [path for path in sorted(folder.glob("*")) if place.below(path.name).exists()]
    known = [p.name for p in stores if "method" in ExperimentStore.open(p).experiment]
    if len(known) == 1:
        return known[0]
    if not known:
        raise NotebookError(
            f"{what}: expected a path, or a data set that was run, got {dataset!r}, of which "
            f"{folder} holds no store; run it with `vardax run {dataset}`, or name the root."
        )
    usual = main_method(load_recipe(dataset))
    if usual not in known:
        raise NotebookError(
            f"{what}: {dataset!r} was run with {', '.join(known)}; name one of them, as in "
            f"'{dataset}/{known[0]}'."
        )
    return usual
