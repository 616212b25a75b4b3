"""Observations of images on grids of their own."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import xarray as xr
from pydantic import Field

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.discrete import dataset_pieces, opened, variables_named
from vardax_core.data.streams.files import Found
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.source import AbstractStreamSource, Selection, Superobservation
from vardax_core.data.streams.tally import Tally
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning
from vardax_core.words import did_you_mean

_TIMES = ("valid_time", "time", "time_counter", "t", "date")
_AXES = {
    LATITUDE: ("latitude", "lat", "nav_lat", "y"),
    LONGITUDE: ("longitude", "lon", "long", "nav_lon", "x"),
}
"""Usual names of coordinates, the most certain first."""


class GriddedSource(AbstractStreamSource):
    """Images with gaps on their own grid: NetCDF or zarr with (time, y, x)."""

    name: ClassVar[str] = "gridded"
    title: ClassVar[str] = "images with gaps on their own grid: NetCDF or zarr"

    variable: str = Field(min_length=1, description="what was observed")
    axes: dict[str, str] = Field(
        default_factory=dict,
        description="coordinates of the images for `time` and the recipe's state_dims; by default "
        "as their names and attributes say",
    )
    error: str | None = Field(
        default=None, description="variable of the errors' standard deviation"
    )
    quality: str | None = Field(default=None, description="variable of the provider's flags")
    mask: Selection | None = Field(default=None, description="points that are used in every image")
    superobserve: Superobservation | None = Field(default=None, description="averages over cells")

    def _faults(self) -> Iterator[str]:
        if (self.accept is None) != (self.quality is None):
            yield "accept and quality go together: which flags of which variable are used"

    @property
    def states_errors(self) -> bool:
        return self.error is not None

    @property
    def are_images(self) -> bool:
        return True

    @property
    def averaging(self) -> Superobservation | None:
        return self.superobserve

    @property
    def is_described(self) -> bool:
        return True

    @property
    def selections(self) -> dict[str, tuple[int | str, ...]]:
        chosen = {} if self.accept is None else {"quality": self.accept}
        return chosen if self.mask is None else chosen | {"mask": self.mask.accept}

    def faults_of_axes(self, dims: Sequence[str]) -> Iterator[str]:
        for key in self.axes:
            if key not in ("time", *dims):
                yield f"axes: unknown key '{key}'{did_you_mean(key, ['time', *dims])}"

    def pieces(self, file: Found, dims: Sequence[str], tally: Tally) -> Iterator[Piece]:
        with opened(file) as dataset:
            wanted = {"value": self.variable}
            value = variables_named(dataset, wanted, file)["value"]
            for role, name in (("error", self.error), ("quality", self.quality)):
                if name is not None:
                    wanted[role] = name
            if self.mask is not None:
                wanted["mask"] = self.mask.variable
            for axis in ("time", *dims):
                wanted[axis] = self.axes.get(axis) or _found(dataset, value, axis, file)
            yield from dataset_pieces(dataset, wanted, file, tally)


def _found(dataset: xr.Dataset, value: xr.DataArray, axis: str, file: Found) -> str:
    """The coordinate of an axis, by its attributes or its usual name."""
    fitting = [
        str(name)
        for name, variable in dataset.variables.items()
        if name != value.name
        and set(variable.dims) <= set(value.dims)
        and variable.dtype.kind in "fiuM"
    ]
    if axis == "time":
        said = {n: dataset[n].attrs for n in fitting}
        told = [n for n in fitting if said[n].get("standard_name") == "time"]
        told += [n for n in fitting if said[n].get("axis") == "T" and n not in told]
        usual = [n for n in _TIMES if n in fitting]
    else:
        kind = meaning(axis, {})
        told = [n for n in fitting if kind and meaning(n, dataset[n].attrs) == kind]
        usual = [n for n in (axis, *_AXES.get(str(kind), ())) if n in fitting]
    chosen = [n for n in usual if n in told] or told or usual
    if not chosen:
        raise SourceFormatError(
            f"{file.name}: no variable on the points of '{value.name}' {value.dims} is known to be "
            f"its {axis}, only {fitting}; write source.axes, e.g. axes: {{{axis}: NAME}}."
        )
    return chosen[0]
