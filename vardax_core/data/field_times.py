"""The times of a field in a file: those that its values are valid for, in their order."""

import pathlib
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from vardax_core.data.errors import TimeAxisError

_LEADS = {"step", "forecast_period", "lead_time", "leadtime", "prediction_timedelta"}
_VALID = ("valid_time", "time")
_STARTS = {"forecast_reference_time", "reftime", "init_time", "initial_time"}
_REFERENCE, _PERIOD = "forecast_reference_time", "forecast_period"


def with_valid_times(
    field: xr.DataArray, path: str | pathlib.Path
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """The field on a dimension `time` of valid times, and what was done to have it so.

    A field whose times are not known stays as it is.

    Raises:
        TimeAxisError: it has forecasts that overlap, have no start, or have several.
    """
    leads = [d for d in field.dims if is_lead(field, d)]
    if not leads:
        return on_valid_times(field), ()
    lead = _only_lead(field, leads, path)
    return _joined(field, _start_of(field, lead, path), lead, _steps(field, lead), path)


def on_valid_times(field: xr.DataArray) -> xr.DataArray:
    """The field with its valid times as the dimension `time`; as it is where none are along one.

    In GRIB `time` is the start of the forecast and `valid_time` what it is valid for; today's
    ERA5 has a dimension `valid_time`, NEMO's `time_counter`.
    """
    for name in valid_times_of(field):
        if len(field[name].dims) == 1:
            (dim,) = field[name].dims
            if dim != "time" and "time" in field.dims:
                continue
            values = field[name].values
            field = field.drop_vars([c for c in ("time", name) if c in field.coords])
            field = field.rename({dim: "time"} if dim != "time" else {})
            return field.assign_coords(time=("time", values))
    return field


def valid_times_of(field: xr.DataArray) -> list[str]:
    """The coordinates that hold valid times, the most certain first.

    By the usual names, the standard name `time` or the axis `T`, those of a dimension before
    others; and, without steps of forecasts, the only dimension of instants that are no starts.
    """
    coords = sorted(map(str, field.coords), key=lambda c: c not in field.dims)
    named = [c for c in _VALID if c in field.coords and _is_instants(field[c])]
    told = [
        c
        for c in coords
        if field[c].dims
        and (field[c].attrs.get("standard_name") == "time" or field[c].attrs.get("axis") == "T")
        and (_is_instants(field[c]) or c in field.dims)
        and not _is_start(field, c)
    ]
    instants = [
        c for c in coords if c in field.dims and _is_instants(field[c]) and not _is_start(field, c)
    ]
    if len(instants) != 1 or any(is_lead(field, dim) for dim in field.dims):
        instants = []
    return list(dict.fromkeys([*named, *told, *instants]))


def _is_start(field: xr.DataArray, name: str) -> bool:
    return name in _STARTS or field[name].attrs.get("standard_name") == _REFERENCE


def _only_lead(field: xr.DataArray, leads: Sequence[Hashable], path: str | pathlib.Path) -> str:
    if len(leads) > 1:
        raise TimeAxisError(
            f"{path}: variable '{field.name}' has several dimensions of forecast steps "
            f"({list(leads)}); select one."
        )
    return str(leads[0])


def _start_of(field: xr.DataArray, lead: str, path: str | pathlib.Path) -> str:
    """The coordinate of the starts of forecasts that have a dimension of steps."""
    starts = [
        str(c)
        for c in field.coords
        if _is_instants(field[c]) and c != "valid_time" and field[c].dims in ((c,), ())
    ]
    if len(starts) != 1:
        raise TimeAxisError(
            f"{path}: variable '{field.name}' has forecast steps ('{lead}') but its forecasts have "
            f"{'no' if not starts else 'more than one'} start time {starts or ''}; give it one "
            "coordinate of start times."
        )
    return starts[0]


def forecasts_of(
    field: xr.DataArray,
    path: str | pathlib.Path,
    *,
    starts: str | None = None,
    leads: str | None = None,
) -> Iterator[tuple[xr.DataArray, np.ndarray | None]]:
    """The forecasts of a file one after another, each with one field for a valid time.

    Arguments:
        starts, leads: coordinates of the times that forecasts start at and reach; by default as
            names and attributes say.

    Returns:
        Each with its start, or the starts of all its times; None where nothing says them.

    Raises:
        TimeAxisError: the forecasts have no start, or several, or there is no such coordinate.
    """
    field = _marked(field, path, {starts: _REFERENCE, leads: _PERIOD})
    reference = [
        str(c) for c in field.coords if _is_instants(field[c]) and _is_start(field, str(c))
    ]
    if not reference and "valid_time" in field.coords and "time" in field.coords:
        # In GRIB `time` is the start of the forecast and `valid_time` what it is valid for.
        reference = ["time"]
    found = [d for d in field.dims if is_lead(field, d)]
    if found:
        lead = _only_lead(field, found, path)
        start = reference[0] if len(reference) == 1 else _start_of(field, lead, path)
        begins = np.atleast_1d(field[start].values).astype("datetime64[ns]")
        others = [c for c in field.coords if _is_instants(field[c]) and c != start]
        field = field.drop_vars(others)
        for number, begin in enumerate(begins):
            yield field.isel({start: [number]}) if start in field.dims else field, begin
    elif reference:
        valid = next((c for c in valid_times_of(field) if c not in reference), None)
        if valid is None and reference[0] == "time" and "time" in field.dims:
            # Analyses, whose times some archives call starts: each is valid when it begins.
            yield field, None
            return
        if valid is None:
            raise TimeAxisError(
                f"{path}: variable '{field.name}' has starts of forecasts ('{reference[0]}') and "
                "nothing says how far they reach; give it a coordinate of steps or of valid times."
            )
        starts_of, shape = field[reference[0]].values, np.atleast_1d(field[valid].values).shape
        yield _of_one_time(field, valid), np.broadcast_to(starts_of, shape)
    else:
        alone = next(iter(valid_times_of(field)), None)
        yield field if alone is None else _of_one_time(field, alone), None


def _of_one_time(field: xr.DataArray, valid: str) -> xr.DataArray:
    """The field with a dimension of valid times, also where it has one of them."""
    if field[valid].ndim:
        return field
    instant = field[valid].values
    return field.drop_vars([valid, "time"], errors="ignore").expand_dims(time=[instant])


def _marked(
    field: xr.DataArray, path: str | pathlib.Path, meanings: Mapping[str | None, str]
) -> xr.DataArray:
    """The field with the meaning of some coordinates as their attribute."""
    for name, meaning in meanings.items():
        if name is None:
            continue
        if name not in field.coords:
            raise TimeAxisError(
                f"{path}: variable '{field.name}' has no coordinate '{name}', only "
                f"{list(map(str, field.coords))}; correct forecast.starts and forecast.leads."
            )
        attrs = {**field[name].attrs, "standard_name": meaning}
        field = field.assign_coords({name: field[name].assign_attrs(attrs)})
    return field


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


def is_lead(field: xr.DataArray, dim: Hashable) -> bool:
    """Whether a dimension is that of the steps of forecasts."""
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


def check_times(field: xr.DataArray, path: str | pathlib.Path) -> None:
    """Refuse times that are no instants, or not in order.

    Raises:
        TimeAxisError: naming the first at fault, and the repair.
    """
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
