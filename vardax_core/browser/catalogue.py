"""The experiments that can be looked at: the stores below a folder or a prefix, or one store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vardax_core.paths import default_stores, is_url, local_path
from vardax_core.store import ExperimentStore, Location, StoreError, location_of
from vardax_core.words import did_you_mean

METHOD = "method"
"""In the record of an experiment; a store of observations has none."""


class NothingToBrowseError(ValueError):
    """A name of no experiment, or a place without one."""


@dataclass(frozen=True)
class Catalogue:
    """Where experiments are kept.

    Attributes:
        place: folder or prefix of the data sets, whose stores lie below them.
        root: folder of all runs, in which trained weights are.
        alone: the store of one experiment, looked at instead.
    """

    place: Location
    root: Path
    alone: Location | None = None

    def experiments(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the experiments of each data set, both sorted; it is looked up every time."""
        if self.alone is not None:
            dataset, _, label = str(ExperimentStore.open(self.alone).experiment["name"]).partition(
                "/"
            )
            return {dataset: (label,)}
        found = {}
        for dataset in self.place.names():
            below = self.place.below(dataset)
            labels = tuple(name for name in below.names() if _is_experiment(below.below(name)))
            if labels:
                found[dataset] = labels
        return found

    def location(self, dataset: str, label: str) -> Location:
        """Where the store of an experiment is."""
        return self.alone or self.place.below(dataset, label)


_known: set[Location] = set()
"""Stores that were looked into; what is an experiment stays one."""


def _is_experiment(place: Location) -> bool:
    if place in _known and place.exists():
        return True
    try:
        found = place.exists() and METHOD in ExperimentStore.open(place).experiment
    except (StoreError, KeyError):
        return False
    if found:
        _known.add(place)
    return found


def catalogue_of(named: str | None, root: Path) -> tuple[Catalogue, str, str]:
    """The experiments that a name, a path or a URL stands for.

    Arguments:
        named: data set, or data set and method as in `lorenz96/letkf`, whose store lies below the
            root; or the path or `s3://` URL of a store. None for all below the root.
        root: folder of all runs.

    Returns:
        The catalogue, and the data set and the experiment to begin with, empty where any will do.

    Raises:
        NothingToBrowseError: the name stands for nothing.
        StoreNotFoundError: there is no store at a path.
    """
    place = location_of(default_stores() or root / "experiments")
    text = (named or "").strip()
    if text and (is_url(text) or text.startswith((".", "~", "/"))):
        store = location_of(text if is_url(text) else local_path(text, "NAME").absolute())
        record = ExperimentStore.open(store).experiment
        if METHOD not in record:
            raise NothingToBrowseError(
                f"{text}: expected the store of an experiment, got one of observations; name "
                "one of the stores beside it."
            )
        dataset, _, label = str(record["name"]).partition("/")
        return Catalogue(place, root, store), dataset, label
    found = Catalogue(place, root)
    there = found.experiments()
    dataset, _, label = text.partition("/")
    if dataset and dataset not in there:
        raise NothingToBrowseError(
            f"{dataset!r} has no experiment below {place}{did_you_mean(dataset, list(there))} "
            f"There are {', '.join(there)}; make others with `vardax run {dataset}`."
        )
    if label and label not in there[dataset]:
        raise NothingToBrowseError(
            f"{dataset!r} was not run with {label!r}{did_you_mean(label, there[dataset])} There "
            f"are {', '.join(there[dataset])}."
        )
    return found, dataset, label
