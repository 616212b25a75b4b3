"""What the columns of a file without a header are, guessed from their values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vardax_core.data.streams.guesses import is_numeric, time_reading
from vardax_core.data.streams.numbers import numbers_of
from vardax_core.state.coordinates import LATITUDE, LONGITUDE
from vardax_core.state.grids import AbstractGrid


def _more_inside(
    numbers: Mapping[str | int, np.ndarray],
    places: Sequence[str | int],
    largest: Mapping[str | int, float],
    grid: AbstractGrid | None,
) -> bool:
    """Whether the first of two columns is the latitude; longitude usually stands first."""
    first, second = places
    if largest[second] > 90.0:
        return True
    if grid is None:
        return False
    both = np.stack([numbers[first], numbers[second]], axis=1)
    both = both[np.isfinite(both).all(axis=1)]
    return bool(grid.contains(both).sum() > grid.contains(both[:, ::-1]).sum())


def roles_by_values(
    columns: Mapping[str | int, np.ndarray], grid: AbstractGrid | None, asked: list[str]
) -> tuple[dict[str, Any], list[Any]]:
    """The roles of columns without names: time rises, and places lie within their bounds."""
    names = list(columns)
    numbers = {name: numbers_of(column)[0] for name, column in columns.items()}

    def rises(name: str | int) -> float:
        steps = np.diff(numbers[name])
        return float(np.mean(steps >= 0)) if np.isfinite(steps).all() and steps.size else -1.0

    texts = [name for name in names if not is_numeric(columns[name])]
    time = next(
        (n for n in texts if time_reading(columns[n]) is not None),
        max(names, key=rises),
    )
    largest = {name: float(np.nanmax(np.abs(numbers[name]))) for name in names if name not in texts}
    places = [name for name in names if name != time and largest.get(name, np.inf) <= 360.0][:2]
    if len(places) < 2:
        return {"time": time}, [name for name in names if name != time]
    first, second = places
    longitude, latitude = (
        (second, first)
        if largest[first] <= 90.0 and _more_inside(numbers, places, largest, grid)
        else (first, second)
    )
    asked.append(
        f"the file has no header: columns {latitude}, {longitude} and {time}, counted from 0, are "
        "taken for latitude, longitude and time"
    )
    taken = {time, latitude, longitude}
    return (
        {"time": time, LATITUDE: latitude, LONGITUDE: longitude},
        [name for name in names if name not in taken],
    )
