"""What a file of gridded fields holds, guessed from the file alone."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceFormatError, UnitsError
from vardax_core.data.field_times import is_lead, on_valid_times
from vardax_core.data.fields import refuse_curvilinear, selected
from vardax_core.data.places import open_place
from vardax_core.data.sources import COORDINATE_ATTRS
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.streams.likeness import likeness
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.paths import default_cache_dir
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, grid_of, meaning
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import counted

SAMPLED = 40
"""Fields that are looked at for the range of the values."""
MOST_FLAGS = 10
"""Different values above which a field is none of flags."""
OFTEN = 0.5
"""Part of the usual share of images below which points are hardly ever seen."""


@dataclasses.dataclass(frozen=True)
class FieldsFound:
    """A variable in files of fields.

    Attributes:
        files: name or pattern below the folders of data.
        count: of the files.
        variable: name in the files.
        others: further variables that might be meant.
        known: the attributes of all of these.
        select: one coordinate of each further dimension, such as levels.
        units: as the first file states them.
        attrs: of the variable.
        grid: its axes, without a mask.
        times: valid times, ascending, datetime64[ns].
        low, high: range of the values that were looked at.
    """

    files: str
    count: int
    variable: str
    others: tuple[str, ...]
    known: Mapping[str, Mapping[str, Any]]
    select: Mapping[str, float]
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

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        first, last = np.datetime_as_string(self.times[[0, -1]], unit="m")
        files = f" in {counted(self.count, 'file')}" if self.count > 1 else ""
        return (
            f"`{self.files}`, variable `{self.variable}`: {counted(len(self.times), 'field')}"
            f"{files}, {first} to {last}, {' x '.join(map(str, self.grid.shape))} points"
        )


def find_fields(
    name: str,
    folders: Sequence[pathlib.Path],
    units: str | None,
    like: tuple[str, Mapping[str, Any]] | None = None,
) -> FieldsFound:
    """Look at files of fields: which variable is meant, where and when it is.

    Arguments:
        name: of the file below the folders, or a pattern.
        folders: of data.
        units: of what is observed; a variable in units of that kind is preferred. None if unknown.
        like: name and attributes of what is observed; of such variables the one that is most like
            it is taken. None if unknown.

    Raises:
        SourceError: a file cannot be read, or holds no field on latitude, longitude and time.
        UnitsError: the variable states no units.
    """
    files = find_files([StreamFile(name=name)], folders)
    with _opened(files[0]) as dataset:
        known = list(_on_latitude_and_longitude(dataset))
        if not known:
            raise SourceFormatError(_no_fields(dataset, files[0]))
        alike = [one for one in known if _convertible(dataset[one].attrs.get("units"), units)]
        chosen = (alike or known)[0]
        if like is not None:
            chosen = max(
                alike or known, key=lambda one: likeness(*like, one, dict(dataset[one].attrs))
            )
        field = on_valid_times(dataset[chosen])
        attrs = dict(field.attrs)
        if attrs.get("units") is None:
            raise UnitsError(
                f"prior: the variable '{chosen}' of {files[0].name} has no units attribute, by "
                "which fields are converted to those of the observations; state its units in the "
                "file."
            )
        if units is not None and not alike:
            raise UnitsError(
                f"prior: the variables {known} of {files[0].name} are in "
                f"{[dataset[one].attrs.get('units') for one in known]}, and the observations in "
                f"'{units}'; name a file of what is observed, or the right column (--value)."
            )
        described_by = {one: dict(dataset[one].attrs) for one in known}
        select, grid = _selected(field), _grid(field)
    each = -(-SAMPLED // len(files))
    stated = str(attrs["units"])
    parts = [_sampled(file, chosen, select, stated, each) for file in files]
    every = np.concatenate([values for _, values in parts])
    if not np.isfinite(every).any():
        raise SourceFormatError(
            f"prior: the variable '{chosen}' of {name} has no values: all that were looked at are "
            "missing (NaN); name files with values, or leave the prior out."
        )
    return FieldsFound(
        files=name,
        count=len(files),
        variable=chosen,
        known=described_by,
        others=tuple(one for one in known if one != chosen),
        select=select,
        units=stated,
        attrs=attrs,
        grid=grid,
        times=np.unique(np.concatenate([times for times, _ in parts])),
        low=float(np.nanmin(every)),
        high=float(np.nanmax(every)),
    )


@contextlib.contextmanager
def _opened(file: Found) -> Iterator[xr.Dataset]:
    with contextlib.closing(open_place(file.path, default_cache_dir()).dataset) as dataset:
        yield dataset


def _selected(field: xr.DataArray) -> dict[str, float]:
    """A coordinate of each dimension of numbers that is none of a state, nor a step: the first, or
    that at the surface where all lie below it (depths or coordinates of an ocean, to zero)."""
    return {
        str(dim): _nearest(field[dim].to_numpy())
        for dim in field.dims
        if dim != "time"
        and dim in field.coords
        and field.sizes[dim] > 1
        and field[dim].dtype.kind in "fiu"
        and _meaning_of(field, dim) is None
        and not is_lead(field, dim)
    }


def _nearest(points: np.ndarray) -> float:
    return float(points[0] if points.max() > 0 else points.max())


def _sampled(
    file: Found, variable: str, select: Mapping[str, float], units: str, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The valid times of a variable of a file, and the values of some of its fields in `units`."""
    with _opened(file) as dataset:
        if variable not in dataset.data_vars:
            raise SourceFormatError(
                f"prior: {file.name} has no variable '{variable}', as the first of these files "
                f"has, only {sorted(map(str, dataset.data_vars))}; name files of one kind."
            )
        field = selected(on_valid_times(dataset[variable]), file.name, select)
        try:
            change = conversion(str(field.attrs.get("units", units)), units)
        except UnknownUnitsError as error:
            raise UnitsError(f"prior: '{variable}' of {file.name}: {error}.") from error
        sample = field.isel(time=slice(None, None, -(-field.sizes["time"] // most) or 1))
        values = sample.to_numpy().ravel().astype(np.float64)
        return _valid_times(field), change(values)


def _no_fields(dataset: xr.Dataset, file: Found) -> str:
    for name, field in dataset.data_vars.items():
        refuse_curvilinear(field, f"prior: variable '{name}' of {file.name}")
    there = ", ".join(
        f"'{name}' on ({', '.join(map(str, field.dims))})"
        for name, field in sorted(dataset.data_vars.items(), key=lambda one: str(one[0]))
    )
    return (
        f"prior: {file.name} holds no variable on latitude, longitude and time, only {there}; "
        "name a file of fields, or write the meaning of its dimensions into the attributes of "
        "their coordinates (standard_name latitude, longitude, time)."
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
    for name in dataset.data_vars:
        field = on_valid_times(dataset[name])
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
