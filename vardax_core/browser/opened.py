"""One experiment as it stands: its times, its grid, and its parts, which are read when needed."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.browser.projections import PROJECTIONS, projection_of
from vardax_core.browser.raster import Raster, curved_places, projected, raster_of
from vardax_core.store import ExperimentStore, Location, StructureError


class NothingToShowError(ValueError):
    """What is asked for is not in the store, or cannot be drawn."""


class Opened:
    """An experiment at one snapshot.

    Attributes:
        location: of its store.
        snapshot: what readers had when it was opened.
        dataset, label: what the experiment is called.
    """

    def __init__(self, location: Location):
        self._store = ExperimentStore.open(location)
        self.location = location
        self.snapshot = self._store.tip().snapshot_id
        record = self._store.experiment
        self.dataset, _, self.label = str(record["name"]).partition("/")
        self._groups: dict[str, xr.Dataset | None] = {}
        self._means: dict[tuple[str, int], np.ndarray] = {}
        self._drawn: tuple[tuple[str, str], Raster] | None = None

    def is_current(self) -> bool:
        """Whether nothing was committed since."""
        return self._store.tip().snapshot_id == self.snapshot

    def group(self, name: str) -> xr.Dataset | None:
        """A group, of which nothing is read yet; None where the store has none of that name."""
        if name not in self._groups:
            try:
                self._groups[name] = self._store.dataset(name, as_of=self.snapshot)
            except StructureError:
                self._groups[name] = None
        return self._groups[name]

    @cached_property
    def analysis(self) -> xr.Dataset:
        """The analyses."""
        return self._store.dataset("analysis", as_of=self.snapshot)

    @cached_property
    def times(self) -> np.ndarray:
        """Analysis times (datetime64)."""
        return self.analysis["time"].to_numpy().astype("datetime64[m]")

    @cached_property
    def platforms(self) -> Sequence[str]:
        """Names of the platforms of real observations by their number; none of simulated ones."""
        arrays = self._store.arrays("platforms") if self.group("platforms") is not None else {}
        return [str(name) for name in arrays.get("name", ())]

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Of the state."""
        found = self.analysis.data_vars.items()
        return tuple(str(name) for name, array in found if "member" in array.dims)

    @property
    def dims(self) -> tuple[str, ...]:
        """Of a state."""
        return tuple(str(d) for d in self.analysis[f"{self.variables[0]}_mean"].dims[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each dimension of a state."""
        return tuple(self.analysis.sizes[dim] for dim in self.dims)

    @property
    def members(self) -> int:
        """Of the ensemble."""
        return self.analysis.sizes["member"]

    @cached_property
    def raster(self) -> Raster:
        """Where the points of a two-dimensional state are drawn.

        Raises:
            NothingToShowError: it has another number of dimensions.
        """
        if len(self.dims) != 2:
            raise NothingToShowError(
                f"Expected a state of one or two dimensions, got {', '.join(self.dims)}; open it "
                "in a notebook with vardax.open and draw a part of it."
            )
        return raster_of(self.analysis, self.dims)

    def raster_in(self, projection: str, middle: str) -> Raster:
        """Where the points are drawn in a projection; the flat map of what is not on the earth.

        Arguments:
            projection: a key of `PROJECTIONS`.
            middle: longitude that stands in the middle, degrees; empty: the usual one.

        Raises:
            NothingToShowError: no point is on such a map, or it has another number of dimensions.
        """
        flat, key = self.raster, (projection, middle)
        if self._drawn is not None and self._drawn[0] == key:
            return self._drawn[1]
        chosen = projection_of(projection, flat.bounds, float(middle) if middle else None)
        if chosen is None or not flat.on_earth:
            return flat
        made = projected(flat, chosen)
        if not made.nearest.size or not (made.nearest >= 0).any():
            raise NothingToShowError(
                f"No point of {self.dataset} is on a map of the {PROJECTIONS[projection]}; choose "
                "another map."
            )
        self._drawn = (key, made)
        return made

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Latitude and longitude of every point of a curvilinear grid, None of others."""
        return curved_places(self.analysis, self.dims)

    def along(self, dim: str) -> Float[np.ndarray, " point"]:
        """Coordinate along a dimension of the state, counted from 0 where it has no numbers."""
        known = self.analysis.coords.get(dim)
        if known is None or known.ndim != 1 or known.dtype.kind not in "iuf":
            return np.arange(self.analysis.sizes[dim], dtype=float)
        return np.asarray(known.to_numpy(), float)

    def variable(self, name: str) -> str:
        """The variable of a name, the first for an empty one.

        Raises:
            NothingToShowError: there is none of that name.
        """
        if name and name not in self.variables:
            raise NothingToShowError(
                f"Expected a variable of {', '.join(self.variables)}, got {name}."
            )
        return name or self.variables[0]

    def attributes(self, variable: str) -> Mapping[str, object]:
        """CF attributes of a variable."""
        return self.analysis[variable].attrs

    def number(self, time: str) -> int:
        """The cycle of an analysis time, or the one before it that is nearest; empty: the last.

        Raises:
            NothingToShowError: there is no cycle, or none so early.
        """
        if not len(self.times):
            raise NothingToShowError(
                f"{self.dataset}/{self.label} has no cycle yet; assimilate some first."
            )
        if not time:
            return len(self.times) - 1
        found = int(np.searchsorted(self.times, np.datetime64(time, "m"), side="right")) - 1
        if found < 0:
            raise NothingToShowError(
                f"{self.dataset}/{self.label} begins at {self.times[0]} UTC, after {time}; choose "
                "a later date."
            )
        return found

    def time(self, number: int) -> str:
        """The analysis time of a cycle (ISO 8601)."""
        return str(self.times[number])

    def mean(self, group: str, variable: str, number: int) -> Float[np.ndarray, "*state"]:
        """The mean over the members of a cycle; that of the last one read is kept."""
        key = (f"{group}/{variable}", number)
        if key not in self._means:
            if len(self._means) > KEPT:
                self._means.pop(next(iter(self._means)))
            held = self.group(group)
            if held is None:
                raise NothingToShowError(f"{self.location} has no {group}.")
            members = held[variable].isel(time=number).transpose("member", *self.dims)
            values = np.asarray(members.to_numpy(), float)
            there = np.isfinite(values).reshape(len(values), -1).any(axis=1)
            if not there.all():
                raise NothingToShowError(
                    f"Of the {group} of {self.time(number)} only {there.sum()} of {len(there)} "
                    "members are kept (`vardax thin`), so that its mean is not known; choose the "
                    "analysis mean, or a later date."
                )
            self._means[key] = values.mean(axis=0)
        return self._means[key]


KEPT = 8
"""Means of ensembles that an opened experiment holds on to."""
