"""From the coordinates of a data set to its grid, by what they say they mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.state.axis import Axis, GridError
from vardax_core.state.grids.base import AbstractGrid, Mask
from vardax_core.state.grids.curvilinear import Curvilinear
from vardax_core.state.grids.latlon import LatLon
from vardax_core.state.grids.plane import Plane

LATITUDE, LONGITUDE = "latitude", "longitude"
_NAMES = {"latitude": LATITUDE, "lat": LATITUDE, "longitude": LONGITUDE, "lon": LONGITUDE}
_STANDARD_NAMES = {
    "latitude": LATITUDE,
    "longitude": LONGITUDE,
    "grid_latitude": LATITUDE,
    "grid_longitude": LONGITUDE,
}
_DIRECTED = {
    f"degree{plural}{end}": kind
    for kind, ends in ((LATITUDE, ("_north", "_n", "n")), (LONGITUDE, ("_east", "_e", "e")))
    for end in ends
    for plural in ("", "s")
}
_DEGREES = ("degree", "degrees")
_LENGTHS = {
    spelling: unit
    for unit, spellings in {
        "m": ("m", "meter", "meters", "metre", "metres"),
        "km": ("km", "kilometer", "kilometers", "kilometre", "kilometres"),
    }.items()
    for spelling in spellings
}
_PROJECTED = ("projection_x_coordinate", "projection_y_coordinate")


def meaning(name: str, attrs: Mapping[str, Any]) -> str | None:
    """Say what a coordinate is from its CF attributes: latitude, longitude, m, km, or None.

    Its name decides only where it has neither units nor a standard name and the name can mean
    one thing alone.

    Source: CF conventions 1.11, chapter 4.
    """
    units, standard = str(attrs.get("units", "")).strip(), attrs.get("standard_name")
    if units in _LENGTHS:
        horizontal = standard in (None, *_PROJECTED) and name.lower() not in _NAMES
        return _LENGTHS[units] if horizontal else None
    named = _NAMES.get(name.lower()) if standard is None else _STANDARD_NAMES.get(str(standard))
    directed = _DIRECTED.get(units.lower().replace(" ", "_"))
    if directed is not None:
        return directed if standard is None or named == directed else None
    return named if units in ("", *_DEGREES) else None


def grid_of(
    data: xr.Dataset | xr.DataArray, dims: Sequence[str], *, mask: Mask | None = None
) -> AbstractGrid:
    """Make the grid of a data set from the meaning of its coordinates.

    One or two lengths make a plane, a latitude and a longitude along dimensions of their own a
    latitude-longitude grid, and both on two dimensions a curvilinear one.

    Arguments:
        data: with coordinates.
        dims: dimensions of one state, in order.
        mask: True at the points that are part of the state, or None for all.

    Raises:
        GridError: if the coordinates are not understood; names them and says what to write.
    """
    along = {dim: data[dim] for dim in dims if dim in data.coords}
    kinds = [meaning(dim, along[dim].attrs) if dim in along else None for dim in dims]
    points = [_numbers(dim, along[dim]) for dim, kind in zip(dims, kinds, strict=True) if kind]
    match kinds:
        case ["latitude", "longitude"]:
            return LatLon.from_degrees(*points, mask=mask)
        case ["longitude", "latitude"]:
            raise GridError(
                f"The state dimensions {list(dims)} are longitude and latitude; write latitude "
                f"first: [{dims[1]}, {dims[0]}]."
            )
        case ["m" | "km" as unit, *others] if len(dims) <= 2 and set(others) <= {unit}:
            axes = tuple(Axis.line(p, dim) for p, dim in zip(points, dims, strict=True))
            return Plane(axes=axes, unit=unit, mask=mask)
        case ["m" | "km", "m" | "km"]:
            raise GridError(
                f"The axes {list(dims)} are in {kinds[0]} and {kinds[1]}; write both in one unit."
            )
    if len(dims) == 2 and not any(kinds):
        found = _two_dimensional(data, dims)
        if found is not None:
            return Curvilinear(latitude=found[0], longitude=found[1], mask=mask)
    said = " and ".join(
        f"'{dim}' ({_described(along[dim].attrs)})" if dim in along else f"'{dim}' (no coordinate)"
        for dim in dims
    )
    raise GridError(
        f"It is not understood where the points of a grid with the axes {said} are: distances "
        "need their meaning. Write it into the coordinates' attributes: units degrees_north and "
        "degrees_east for latitude and longitude, or units m (or km) for both axes of a "
        "projected grid, with the standard_name projection_y_coordinate and "
        "projection_x_coordinate; e.g. ncatted "
        + " ".join(f"-a units,{dim},c,c,m" for dim in dims)
        + " FILE"
    )


def _numbers(name: str, coordinate: xr.DataArray) -> Float[np.ndarray, " n"]:
    if coordinate.dtype.kind not in "iuf":
        raise GridError(
            f"The coordinate '{name}' holds {coordinate.dtype} and no numbers; write it as numbers."
        )
    return coordinate.to_numpy().astype(np.float64)


def _described(attrs: Mapping[str, Any]) -> str:
    said = [f"{key} {attrs[key]!r}" for key in ("units", "standard_name") if key in attrs]
    return ", ".join(said) or "without units"


def _two_dimensional(
    data: xr.Dataset | xr.DataArray, dims: Sequence[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    found = {
        meaning(str(name), coordinate.attrs): np.asarray(coordinate.transpose(*dims), np.float64)
        for name, coordinate in data.coords.items()
        if set(coordinate.dims) == set(dims)
    }
    if LATITUDE in found and LONGITUDE in found:
        return found[LATITUDE], found[LONGITUDE]
    return None
