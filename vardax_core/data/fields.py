"""The variable of a file as a field for each valid time on the axes of a recipe, or refused."""

import itertools
import pathlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceFormatError, TimeAxisError, UnitsError
from vardax_core.data.field_times import check_times, with_valid_times
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import Variable
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.state.axis import GridError
from vardax_core.state.coordinates import grid_of

_USUAL = {
    "latitude": (
        {"latitude", "lat"},
        {"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"},
    ),
    "longitude": (
        {"longitude", "lon", "long"},
        {"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"},
    ),
}
_ROLES = {name: role for role, (names, _) in _USUAL.items() for name in names}
WITHOUT_ROWS = {
    "reduced_gg": ("a reduced Gaussian grid", "cdo -R -f nc copy"),
    "reduced_ll": ("a reduced latitude-longitude grid", "cdo -R -f nc copy"),
    "healpix": ("a HEALPix grid", "cdo -f nc remapbil,r360x181"),
    "sh": ("spherical harmonics", "cdo -f nc sp2gpl"),
    "unstructured_grid": ("an unstructured grid", "cdo -f nc remapdis,r360x181"),
}
"""GRIB grids whose points have no rows and columns, in words, and the command that remaps each."""


def canonical_field(
    dataset: xr.Dataset,
    path: str | pathlib.Path,
    recipe: Recipe,
    name: str,
    variable: Variable | None = None,
    select: Mapping[str, float] | None = None,
    beside: tuple[str, ...] = (),
    converted: bool = True,
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """A variable of a recipe on (time, *beside, *state_dims), and what was done to have it so.

    Latitude and longitude are known by their usual names and by their CF attributes, valid times
    by theirs or as the start of a forecast and its step; a dimension of size one is left out.

    Arguments:
        name: of the variable in the file.
        variable: of the recipe; by default its first.
        select: one coordinate of each further dimension, such as levels.
        beside: dimensions that it may have beside those of a state, such as members.
        converted: whether values in other units are converted; a truth, which has a digest of its
            values, is taken as it is.

    Raises:
        SourceFormatError: it is no field of numbers on these axes.
        TimeAxisError: its valid times are unknown, not in order, or given twice.
        UnitsError: it states no units, or none that can be converted.
    """
    if name not in dataset.data_vars:
        raise SourceFormatError(
            f"{path}: there is no variable '{name}', only {sorted(map(str, dataset.data_vars))}; "
            "correct source.variable in the recipe or name another file."
        )
    field = dataset[name]
    _refuse_observations(dataset, field, path)
    if field.dtype.kind not in "fiu":
        raise SourceFormatError(
            f"{path}: variable '{name}' holds {_kind_of(field)}, expected numbers; name another "
            "variable in source.variable, or write this one as numbers."
        )
    field = selected(field, path, select or {})
    field, notes = with_valid_times(field, path)
    field, originals = _with_names(field, recipe)
    expected = ("time", *beside, *recipe.state_dims)
    single = [d for d in field.dims if d not in expected and field.sizes[d] == 1]
    notes += tuple(f"its only {d} was taken" for d in single)
    field = field.isel(dict.fromkeys(single, 0))
    _check_axes(field, recipe, path, originals, beside)
    field = field.reset_coords([c for c in field.coords if c not in field.dims], drop=True)
    _check_grid(field, recipe, path)
    check_times(field, path)
    field, note = _in_units(field, (variable or recipe.variable).units, path, converted)
    return field.transpose(*expected), notes + note


def selected(
    field: xr.DataArray, path: str | pathlib.Path, select: Mapping[str, float]
) -> xr.DataArray:
    """The part of a field at one coordinate of some of its dimensions.

    Raises:
        SourceFormatError: it has no such dimension, or no such coordinate.
    """
    for dim, value in select.items():
        if dim not in field.coords or field[dim].ndim > 1 or field[dim].dtype.kind not in "fiu":
            numbered = [str(d) for d in field.coords if field[d].dtype.kind in "fiu"]
            raise SourceFormatError(
                f"{path}: variable '{field.name}' has no dimension '{dim}' with coordinates that "
                f"are numbers, only {numbered}; correct `select` in the recipe."
            )
        there = np.atleast_1d(field[dim].values).astype(float)
        at = np.flatnonzero(np.isclose(there, value))
        if not at.size:
            known = ", ".join(f"{one:g}" for one in there[:8])
            raise SourceFormatError(
                f"{path}: there is no {dim} {value:g}, only {known}; correct `select` in the "
                "recipe."
            )
        field = field.isel({dim: int(at[0])}) if field[dim].ndim else field
        field = field.drop_vars(dim)
    return field


def on_axes(
    field: xr.DataArray, frame: xr.Dataset, dims: Sequence[str], path: str | pathlib.Path
) -> xr.DataArray:
    """The field at the coordinates of a frame and in their order, of which it may have more.

    Longitudes a full turn apart are one.

    Arguments:
        frame: with a coordinate for each of `dims`.

    Raises:
        SourceFormatError: it has other coordinates.
    """
    for dim in dims:
        if dim not in frame.coords or frame[dim].dims != (dim,):
            continue
        wanted, own = (np.asarray(one[dim].values, np.float64) for one in (frame, field))
        apart = np.abs(wanted[:, None] - own[None])
        if _ROLES.get(dim) == "longitude":
            apart = np.minimum(apart % 360, 360 - apart % 360)
        at = np.argmin(apart, axis=1)
        step = float(np.median(np.abs(np.diff(wanted)))) if wanted.size > 1 else 1.0
        if (apart[np.arange(at.size), at] > 1e-3 * step).any():
            raise SourceFormatError(
                f"{path}: variable '{field.name}' has another {dim}: {own.size} values from "
                f"{own[0]:g} to {own[-1]:g}, expected {wanted.size} from {wanted[0]:g} to "
                f"{wanted[-1]:g}; interpolate it to the grid of the states, or take that as the "
                "recipe's grid (grid.like)."
            )
        if not np.array_equal(at, np.arange(own.size)):
            field = field.isel({dim: at})
    return field


def with_named_axes(field: xr.DataArray, recipe: Recipe) -> xr.DataArray:
    """The field with the recipe's names of its axes, where their meaning is certain."""
    return _with_names(field, recipe)[0]


def _kind_of(array: xr.DataArray) -> str:
    if array.dtype.kind in "OUST" and array.size:
        first = str(array.to_numpy().flat[0])
        return f"text (such as '{first}')"
    kinds = {"M": "instants", "m": "durations", "b": "truth values", "c": "complex numbers"}
    return kinds.get(array.dtype.kind, f"values of type {array.dtype}")


def _refuse_observations(
    dataset: xr.Dataset, field: xr.DataArray, path: str | pathlib.Path
) -> None:
    """A field is what observations are simulated from; real ones must not be taken for it."""
    feature = str(dataset.attrs.get("featureType", ""))
    along = [
        str(dim)
        for dim in field.dims
        if {_role(dataset[c]) for c in dataset.variables if dataset[c].dims == (dim,)}
        >= {"latitude", "longitude"}
    ]
    told = f"featureType is '{feature}'" if feature else ""
    if not told and along and not _grid_type(field):
        told = f"each '{along[0]}' has a latitude and a longitude of its own"
    if told:
        raise SourceFormatError(
            f"{path}: variable '{field.name}' holds values at single places, as tracks, stations "
            f"and meshes do ({told}). A source of kind 'file' is a field on a grid, taken for the "
            "truth, from which observations are simulated with errors of the recipe; name a "
            "gridded file (analyses or model output)."
        )


def _grid_type(field: xr.DataArray) -> str:
    return str(field.attrs.get("GRIB_gridType", ""))


def _role(coordinate: xr.DataArray) -> str | None:
    """Latitude or longitude, by CF attributes or by the usual name."""
    standard, units = coordinate.attrs.get("standard_name"), coordinate.attrs.get("units")
    for role, (names, degrees) in _USUAL.items():
        if standard == role or str(units).strip().lower().replace(" ", "_") in degrees:
            return role
        if standard is None and units in (None, "degrees", "degree") and coordinate.name in names:
            return role
    return None


def _with_names(
    field: xr.DataArray, recipe: Recipe
) -> tuple[xr.DataArray, dict[Hashable, Hashable]]:
    """The field with the recipe's names of its axes, where these are certain, and those it had."""
    renamed: dict[Hashable, str] = {}
    for wanted in recipe.state_dims:
        if wanted in field.dims or wanted not in _ROLES:
            continue
        found = [
            d for d in field.dims if d in field.coords and _role(field[d]) == _ROLES[wanted]
        ] or [
            d for d in field.dims if _ROLES.get(str(d)) == _ROLES[wanted] and d not in field.coords
        ]
        if len(found) == 1:
            renamed[found[0]] = wanted
    clash = [c for c in field.coords if c in renamed.values() and c not in renamed]
    originals: dict[Hashable, Hashable] = {new: old for old, new in renamed.items()}
    return field.drop_vars(clash).rename(renamed), originals


def _check_axes(
    field: xr.DataArray,
    recipe: Recipe,
    path: str | pathlib.Path,
    originals: dict[Hashable, Hashable],
    beside: tuple[str, ...],
) -> None:
    dims = tuple(originals.get(dim, dim) for dim in field.dims)
    shown = f"{path}: variable '{field.name}'"
    grid = WITHOUT_ROWS.get(_grid_type(field))
    if grid is not None:
        what, command = grid
        raise SourceFormatError(
            f"{shown} is on {what} (gridType {_grid_type(field)}), whose points have no rows and "
            f"columns; interpolate it to {' and '.join(recipe.state_dims)}, for instance with "
            f"`{command} IN OUT.nc`."
        )
    if "time" not in field.dims or "time" not in field.coords:
        raise TimeAxisError(
            f"{shown} has dimensions {dims} and no time axis with coordinates: none of them has "
            "instants, the standard_name 'time' or the axis 'T'; give it a dimension 'time' with "
            "a coordinate variable of that name."
        )
    expected = ("time", *recipe.state_dims)
    lacking = [d for d in expected if d not in field.dims]
    if any(d not in field.coords for d in recipe.state_dims):
        refuse_curvilinear(field, shown)
    if lacking:
        raise SourceFormatError(
            f"{shown} has dimensions {dims}, expected {expected}: nothing says which axis is "
            f"{' or '.join(repr(d) for d in lacking)}; name the file's own axes in grid.dims of "
            "the recipe (state_dims in schema 1), or give them CF attributes."
        )
    further = [d for d in field.dims if d not in (*expected, *beside)]
    if further:
        counts = " and ".join(f"'{d}' ({field.sizes[d]}{_some(field, d)})" for d in further)
        raise SourceFormatError(
            f"{shown} also has the dimensions {counts}, expected {expected}; select one of each "
            f"level and member, {_selection(field, further)}."
        )
    for dim in recipe.state_dims:
        name = originals.get(dim, dim)
        if dim not in field.coords:
            raise SourceFormatError(
                f"{shown} has a dimension '{name}' without coordinates, expected {expected}, each "
                "with a coordinate; give it a coordinate variable of that name."
            )
        axis = field[dim]
        if axis.dtype.kind not in "fiu":
            raise SourceFormatError(
                f"{shown}: the axis '{name}' holds {_kind_of(axis)}, expected numbers, as the axis "
                "of a grid has. Are these stations with names? A source of kind 'file' is a field "
                "from which observations are simulated; name a gridded file, or number the axis."
            )
        if not np.isfinite(axis.values).all():
            raise SourceFormatError(f"{shown}: the axis '{name}' has gaps (NaN); fill them.")


def refuse_curvilinear(field: xr.DataArray, shown: str) -> None:
    """Refuse a field whose points have latitudes and longitudes, but no axes of them.

    Arguments:
        shown: the variable and its file, for messages.

    Raises:
        SourceFormatError: naming the coordinates, and the command that remaps.
    """
    found = {_role(c): str(name) for name, c in field.coords.items() if c.ndim == 2}
    if {"latitude", "longitude"} <= set(found):
        names = f"{found['latitude']} and {found['longitude']}"
        raise SourceFormatError(
            f"{shown} is on a curvilinear grid ({names} on {field[found['latitude']].dims}), "
            "expected an axis of latitudes and one of longitudes; interpolate it to a regular "
            "latitude-longitude grid first, for instance with "
            "`cdo -f nc remapbil,r1440x721 IN OUT.nc`."
        )


def _selection(field: xr.DataArray, further: Sequence[Hashable]) -> str:
    """How one coordinate of each further dimension is selected."""
    if all(d in field.coords and field[d].dtype.kind in "fiu" for d in further):
        first = ", ".join(f"{d}: {field[d].values[0]:g}" for d in further)
        return f"in the recipe beside `files`, such as `select: {{{first}}}`"
    first = ", ".join(f"{d}=0" for d in further)
    return f"for instance in Python xarray.open_dataset(IN).isel({first}).to_netcdf(OUT)"


def _check_grid(field: xr.DataArray, recipe: Recipe, path: str | pathlib.Path) -> None:
    try:
        grid_of(field, recipe.state_dims)
    except GridError as error:
        raise SourceFormatError(f"{path}: {error}") from error


def _some(field: xr.DataArray, dim: Hashable) -> str:
    if dim not in field.coords:
        return ""
    values = [
        f"{value:g}" if field[dim].dtype.kind in "fiu" else str(value)
        for value in itertools.islice(field[dim].values, 3)
    ]
    return f": {', '.join(values)}{', ...' if field.sizes[dim] > 3 else ''}"


def _in_units(
    field: xr.DataArray, expected: str, path: str | pathlib.Path, converted: bool
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """The field in the units expected, and what was done to have it so."""
    found = field.attrs.get("units")
    if found is None:
        raise UnitsError(
            f"{path}: variable '{field.name}' has no units attribute, expected '{expected}'; state "
            f"them, e.g. ncatted -a units,{field.name},c,c,{expected} {pathlib.Path(path).name}"
        )
    if found == expected:
        return field, ()
    try:
        change = conversion(str(found), expected)
    except UnknownUnitsError as error:
        raise UnitsError(
            f"{path}: variable '{field.name}' is in '{found}', expected '{expected}': {error}."
        ) from error
    if not (converted or change.is_identity):
        raise UnitsError(
            f"{path}: variable '{field.name}' is in '{found}', expected '{expected}'; convert the "
            "file, a truth is taken as it is."
        )
    attrs = field.attrs | {"units": expected}
    changed = field if change.is_identity else field * change.factor + change.shift
    return changed.assign_attrs(attrs), (change.sentence,) if change.sentence else ()
