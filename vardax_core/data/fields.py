"""The variable of a file as a field for each valid time on the axes of a recipe, or refused."""

import itertools
import pathlib
from collections.abc import Hashable

import numpy as np
import xarray as xr

from vardax_core.data.errors import SourceFormatError, TimeAxisError, UnitsError
from vardax_core.data.recipe import Recipe
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
_LEADS = {"step", "forecast_period", "lead_time", "leadtime", "prediction_timedelta"}
_VALID = ("valid_time", "time")
WITHOUT_ROWS = {
    "reduced_gg": ("a reduced Gaussian grid", "cdo -R -f nc copy"),
    "reduced_ll": ("a reduced latitude-longitude grid", "cdo -R -f nc copy"),
    "healpix": ("a HEALPix grid", "cdo -f nc remapbil,r360x181"),
    "sh": ("spherical harmonics", "cdo -f nc sp2gpl"),
    "unstructured_grid": ("an unstructured grid", "cdo -f nc remapdis,r360x181"),
}
"""GRIB grids whose points have no rows and columns, in words, and the command that remaps each."""


def canonical_field(
    dataset: xr.Dataset, path: str | pathlib.Path, recipe: Recipe, name: str
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """The variable of a recipe on (time, *state_dims), and what was done to have it so.

    Latitude and longitude are known by their usual names and by their CF attributes, valid times
    by theirs or as the start of a forecast and its step; a dimension of size one is left out.

    Raises:
        SourceFormatError: it is no field of numbers on these axes.
        TimeAxisError: its valid times are unknown, not in order, or given twice.
        UnitsError: it is not in the recipe's units.
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
    field, notes = _with_valid_times(field, path)
    field, originals = _with_names(field, recipe)
    single = [
        d for d in field.dims if d not in {"time", *recipe.state_dims} and field.sizes[d] == 1
    ]
    notes += tuple(f"its only {d} was taken" for d in single)
    field = field.isel(dict.fromkeys(single, 0))
    _check_axes(field, recipe, path, originals)
    field = field.reset_coords([c for c in field.coords if c not in field.dims], drop=True)
    _check_grid(field, recipe, path)
    _check_times(field, path)
    _check_units(field, recipe, path)
    return field.transpose("time", *recipe.state_dims), notes


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


def _with_valid_times(
    field: xr.DataArray, path: str | pathlib.Path
) -> tuple[xr.DataArray, tuple[str, ...]]:
    leads = [d for d in field.dims if _is_lead(field, d)]
    given = [c for c in _VALID if c in field.coords and _is_instants(field[c])]
    by_name = [
        str(c)
        for c in field.coords
        if _is_instants(field[c])
        and field[c].dims
        and field[c].attrs.get("standard_name") == "time"
    ]
    if not leads:
        # In GRIB `time` is the start of the forecast and `valid_time` what it is valid for.
        for name in dict.fromkeys([*given, *by_name]):
            if len(field[name].dims) == 1:
                (dim,) = field[name].dims
                values = field[name].values
                field = field.drop_vars([c for c in ("time", name) if c in field.coords])
                return field.rename({dim: "time"} if dim != "time" else {}).assign_coords(
                    time=("time", values)
                ), ()
        return field, ()
    (lead, *others) = leads
    if others:
        raise TimeAxisError(
            f"{path}: variable '{field.name}' has several dimensions of forecast steps ({leads}); "
            "select one."
        )
    steps = _steps(field, lead)
    starts = [
        c
        for c in field.coords
        if _is_instants(field[c]) and c != "valid_time" and field[c].dims in ((c,), ())
    ]
    if len(starts) != 1:
        raise TimeAxisError(
            f"{path}: variable '{field.name}' has forecast steps ('{lead}') but its forecasts have "
            f"{'no' if not starts else 'more than one'} start time {starts or ''}; give it one "
            "coordinate of start times."
        )
    (start,) = starts
    return _joined(field, str(start), str(lead), steps, path)


def _joined(
    field: xr.DataArray, start: str, lead: str, steps: np.ndarray, path: str | pathlib.Path
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Forecasts one after another, at their valid times."""
    begins = np.atleast_1d(field[start].values).astype("datetime64[ns]")
    if start not in field.dims:
        field = field.drop_vars(start).expand_dims({start: begins})
    valid = (begins[:, None] + steps[None, :]).ravel()
    unique, count = np.unique(valid, return_counts=True)
    if (count > 1).any():
        raise TimeAxisError(
            _overlap_message(path, str(field.name), lead, begins, steps, unique, count)
        )
    gone = [c for c in field.coords if {start, lead} & set(field[c].dims)]
    rest = [d for d in field.dims if d not in {start, lead}]
    order = np.argsort(valid, kind="stable")
    joined = field.drop_vars(gone).transpose(start, lead, *rest)
    joined = joined.stack({"_valid": (start, lead)}, create_index=False)
    joined = joined.rename({"_valid": "time"}).assign_coords(time=("time", valid))
    if not np.array_equal(order, np.arange(order.size)):
        joined = joined.isel(time=order)
    note = f"valid times are those of {begins.size} forecasts and their {steps.size} steps"
    return joined.transpose("time", *rest), (note,)


def _overlap_message(
    path: str | pathlib.Path,
    name: str,
    lead: str,
    begins: np.ndarray,
    steps: np.ndarray,
    unique: np.ndarray,
    count: np.ndarray,
) -> str:
    first = unique[count > 1][0]
    apart = np.diff(np.unique(begins)).min() if np.unique(begins).size > 1 else None
    chosen = steps if apart is None else steps[(steps >= steps[0]) & (steps < steps[0] + apart)]
    hours = ", ".join(f"{step / np.timedelta64(1, 'h'):g}" for step in chosen[:24])
    given = [
        f"step {(first - begin) / np.timedelta64(1, 'h'):g} h from {_minute(begin)}"
        for begin in begins
        if (first - begin) in steps
    ]
    return (
        f"{path}: variable '{name}' has forecasts that overlap: {int((count > 1).sum())} of "
        f"{unique.size} valid times are given more than once ({_minute(first)} by "
        f"{' and by '.join(given)}). Select the steps that follow each other from start to start, "
        f"here '{lead}' = {hours} hours (grib_copy -w stepRange=0/1/2... IN OUT, or xarray's sel)."
    )


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m"))


def _is_instants(coordinate: xr.DataArray) -> bool:
    return bool(np.issubdtype(coordinate.dtype, np.datetime64))


def _is_lead(field: xr.DataArray, dim: Hashable) -> bool:
    if dim not in field.coords:
        return False
    coordinate = field[dim]
    named = dim in _LEADS or coordinate.attrs.get("standard_name") == "forecast_period"
    return coordinate.dtype.kind == "m" or (named and coordinate.dtype.kind in "iuf")


def _steps(field: xr.DataArray, lead: Hashable) -> np.ndarray:
    coordinate = field[lead].variable
    if coordinate.dtype.kind != "m":
        coordinate = xr.conventions.decode_cf_variable(lead, coordinate, decode_timedelta=True)
    if coordinate.dtype.kind != "m":
        raise TimeAxisError(
            f"the forecast steps '{lead}' have units {field[lead].attrs.get('units')!r}; expected "
            "hours, minutes, days or seconds."
        )
    return np.asarray(coordinate.values).astype("timedelta64[ns]")


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
            f"{shown} has dimensions {dims} and no time axis with "
            "coordinates; give it a dimension 'time' with a coordinate variable of that name."
        )
    expected = ("time", *recipe.state_dims)
    lacking = [d for d in expected if d not in field.dims]
    if lacking:
        raise SourceFormatError(
            f"{shown} has dimensions {dims}, expected {expected}: nothing says which axis is "
            f"{' or '.join(repr(d) for d in lacking)}; name the file's own axes in state_dims of "
            "the recipe, or give them CF attributes."
        )
    further = [d for d in field.dims if d not in expected]
    if further:
        counts = " and ".join(f"'{d}' ({field.sizes[d]}{_some(field, d)})" for d in further)
        first = ", ".join(f"{d}=0" for d in further)
        raise SourceFormatError(
            f"{shown} also has the dimensions {counts}, expected {expected}; select one of each "
            "level and member, for instance in Python "
            f"xarray.open_dataset(IN).isel({first}).to_netcdf(OUT)."
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


def _check_times(field: xr.DataArray, path: str | pathlib.Path) -> None:
    time = field["time"]
    if not np.issubdtype(time.dtype, np.datetime64) or not time.notnull().all() or not time.size:
        raise TimeAxisError(
            f"{path}: the time axis does not decode to instants (dtype {time.dtype}); it needs CF "
            "units such as 'hours since 2019-03-01', the standard calendar and no gap."
        )
    steps = np.diff(time.values)
    zero = np.timedelta64(0, "ns")
    for fault, wrong in (
        ("is not in time order", steps < zero),
        ("holds a time twice", steps == zero),
    ):
        if wrong.any():
            at = int(np.argmax(wrong))
            repair = "sort the file by time"
            if fault == "holds a time twice":
                repair = _repair_of_twins(field, np.flatnonzero(wrong))
            raise TimeAxisError(
                f"{path}: the time axis {fault} ({int(wrong.sum())} places, first at index "
                f"{at + 1}: {time.values[at]} is followed by {time.values[at + 1]}); {repair}."
            )


def _repair_of_twins(field: xr.DataArray, places: np.ndarray) -> str:
    for at in places[:100]:
        one, other = field.isel(time=int(at)), field.isel(time=int(at) + 1)
        if not np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True):
            return (
                f"the two fields of {_minute(field['time'].values[at])} differ, so that one of "
                "them must be chosen (an older version, another experiment or member?)"
            )
    return "the fields are the same: drop the duplicates"


def _check_units(field: xr.DataArray, recipe: Recipe, path: str | pathlib.Path) -> None:
    expected, found = recipe.variable.units, field.attrs.get("units")
    if found is None:
        raise UnitsError(
            f"{path}: variable '{field.name}' has no units attribute, expected '{expected}'; state "
            f"them, e.g. ncatted -a units,{field.name},c,c,{expected} {pathlib.Path(path).name}"
        )
    if found != expected:
        raise UnitsError(
            f"{path}: variable '{field.name}' is in '{found}', expected '{expected}'; convert the "
            "file, a nature run is never converted silently."
        )
