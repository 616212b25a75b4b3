"""What a file of gridded fields holds, guessed from the file alone."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceFormatError, UnitsError
from vardax_core.data.places import open_place
from vardax_core.data.sources import COORDINATE_ATTRS
from vardax_core.data.streams.files import find_files
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.paths import default_cache_dir
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, grid_of, meaning
from vardax_core.state.grids import AbstractGrid

SAMPLED = 40
"""Fields that are looked at for the range of the values."""
MOST_FLAGS = 10
"""Different values above which a field is none of flags."""
OFTEN = 0.5
"""Part of the usual share of images below which points are hardly ever seen."""


@dataclasses.dataclass(frozen=True)
class FieldsFound:
    """A variable in a file of fields.

    Attributes:
        file: name below the folders of data.
        variable: name in the file.
        others: further variables that might be meant.
        units: as the file states them.
        attrs: of the variable.
        grid: its axes, without a mask.
        times: valid times, ascending, datetime64[ns].
        low, high: range of the values that were looked at.
    """

    file: str
    variable: str
    others: tuple[str, ...]
    units: str
    attrs: dict[str, Any]
    grid: AbstractGrid
    times: np.ndarray
    low: float
    high: float

    @property
    def step(self) -> np.timedelta64:
        """Usual time between two fields."""
        steps = np.diff(self.times)
        return np.timedelta64(1, "D") if not steps.size else np.median(steps.astype("m8[s]"))


def find_fields(name: str, folders: Sequence[pathlib.Path], units: str | None) -> FieldsFound:
    """Look at a file of fields: which variable is meant, where and when it is.

    Arguments:
        name: of the file below the folders.
        folders: of data.
        units: of what is observed; a variable in units of that kind is preferred. None if unknown.

    Raises:
        SourceError: the file cannot be read, or holds no field on latitude, longitude and time.
        UnitsError: the variable states no units.
    """
    file = find_files([StreamFile(name=name)], folders)[0]
    with contextlib.closing(open_place(file.path, default_cache_dir()).dataset) as dataset:
        known = list(_on_latitude_and_longitude(dataset))
        if not known:
            raise SourceFormatError(
                f"prior: {file.name} holds no variable on latitude, longitude and time, only "
                f"{sorted(map(str, dataset.data_vars))}; name a file of fields."
            )
        alike = [one for one in known if _convertible(dataset[one].attrs.get("units"), units)]
        chosen = (alike or known)[0]
        field = dataset[chosen]
        stated = field.attrs.get("units")
        if stated is None:
            raise UnitsError(
                f"prior: the variable '{chosen}' of {file.name} has no units attribute; state its "
                "units in the file, for fields are never converted silently."
            )
        if units is not None and not alike:
            raise UnitsError(
                f"prior: the variables {known} of {file.name} are in "
                f"{[dataset[one].attrs.get('units') for one in known]}, and the observations in "
                f"'{units}'; name a file of what is observed, or the right column (--value)."
            )
        sample = field.isel(time=slice(None, None, -(-field.sizes["time"] // SAMPLED)))
        values = sample.to_numpy()
        return FieldsFound(
            file=file.name,
            variable=chosen,
            others=tuple(one for one in known if one != chosen),
            units=str(stated),
            attrs=dict(field.attrs),
            grid=_grid(field),
            times=np.sort(_valid_times(field)),
            low=float(np.nanmin(values)),
            high=float(np.nanmax(values)),
        )


class Described(NamedTuple):
    """What a file of observations says beside the values.

    Attributes:
        attrs: of the variable.
        mask: a variable of flags on the points of images, and its values where these are seen;
            None where there is none.
    """

    attrs: dict[str, Any]
    mask: tuple[str, tuple[int, ...]] | None


def described(name: str, variable: str, folders: Sequence[pathlib.Path]) -> Described:
    """Find the attributes of an observed variable, and a mask beside it.

    Arguments:
        name: of a NetCDF or zarr file below the folders.
        variable: that is observed.
        folders: of data.
    """
    file = find_files([StreamFile(name=name)], folders)[0]
    with contextlib.closing(xr.open_dataset(file.path, decode_times=False)) as dataset:
        if variable not in dataset.variables:
            return Described({}, None)
        image = dataset[variable]
        return Described(dict(image.attrs), _mask_beside(dataset, image))


def _mask_beside(dataset: xr.Dataset, image: xr.DataArray) -> tuple[str, tuple[int, ...]] | None:
    """Flags by which points that are often seen differ from those that are hardly ever seen."""
    for name, flags in dataset.data_vars.items():
        along = [dim for dim in image.dims if dim not in flags.dims]
        of_points = flags.ndim == 2 and len(along) == image.ndim - 2 and along
        if not of_points or flags.dtype.kind not in "fiu":
            continue
        values = flags.to_numpy()
        every = np.unique(values[np.isfinite(values)])
        if not 2 <= every.size <= MOST_FLAGS or not np.array_equal(every, np.round(every)):
            continue
        seen = image.notnull().mean(along).transpose(*flags.dims).to_numpy()
        share = np.array([seen[values == value].mean() for value in every])
        often = share >= OFTEN * share.max()
        if share.max() > 0 and not often.all():
            return str(name), tuple(int(value) for value in every[often])
    return None


def _on_latitude_and_longitude(dataset: xr.Dataset) -> Iterator[str]:
    for name, field in dataset.data_vars.items():
        kinds = {_meaning_of(field, dim) for dim in field.dims}
        if {LATITUDE, LONGITUDE} <= kinds and "time" in field.dims and field.dtype.kind in "fiu":
            yield str(name)


def _meaning_of(field: xr.DataArray, dim: Any) -> str | None:
    return meaning(str(dim), field[dim].attrs) if dim in field.coords else None


def _convertible(source: str | None, target: str | None) -> bool:
    if source is None or target is None:
        return source is not None
    try:
        conversion(source, target)
    except UnknownUnitsError:
        return False
    return True


def _grid(field: xr.DataArray) -> AbstractGrid:
    axes = {_meaning_of(field, dim): field[dim].to_numpy() for dim in field.dims}
    dims = (LATITUDE, LONGITUDE)
    coords = {dim: (dim, axes[dim], COORDINATE_ATTRS[dim]) for dim in dims}
    return grid_of(xr.Dataset(coords=coords), dims)


def _valid_times(field: xr.DataArray) -> np.ndarray:
    for name in ("valid_time", "time"):
        if name in field.coords and field[name].dtype.kind == "M":
            return np.unique(field[name].to_numpy().astype("datetime64[ns]").ravel())
    raise SourceFormatError(
        f"prior: the times of '{field.name}' are no instants; state their units in the file, e.g. "
        "'days since 1950-01-01'."
    )
