"""Where maps can be made, guessed from the places of observations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vardax_core.data.streams.records import Records

MOST_POINTS = 20_000
FEWEST_ALONG = 8
COARSEST = 10.0
"""Degrees; a whole number of such steps makes a right angle."""
_FAR = 3.0


class Area(NamedTuple):
    """A regular latitude-longitude grid.

    Attributes:
        latitude, longitude: first and last coordinate of each axis, degrees; longitudes may pass
            180.
        step: degrees between two points.
        why: a sentence.
    """

    latitude: tuple[float, float]
    longitude: tuple[float, float]
    step: float
    why: str


def area_of(parts: Sequence[Records], minutes: int) -> Area:
    """Guess a grid over all observations, two points to the usual distance between them.

    Arguments:
        parts: records of every stream on (latitude, longitude), one at least.
        minutes: time between two maps; what is observed in it counts for the distance.
    """
    places = np.concatenate([part.place for part in parts])
    south, north = _bounds(places[:, 0])
    west, east = _bounds(_unwrapped(places[:, 1]))
    wide = max(east - west, 1e-3) * np.cos(np.deg2rad((south + north) / 2))
    tall = max(north - south, 1e-3)
    times = np.concatenate([part.time for part in parts])
    span = np.ptp(times) / np.timedelta64(minutes, "m")
    different = len(np.unique(np.round(places, 2), axis=0))
    seen = max(1.0, min(different, len(places) / max(1.0, span)))
    apart = float(np.sqrt(wide * tall / seen))
    largest = max(min(wide, tall) / FEWEST_ALONG, max(wide, tall) / 40, 1e-3)
    smallest = float(np.sqrt(wide * tall / MOST_POINTS))
    step = round_step(min(max(apart / 2, smallest), largest, COARSEST))
    low, high = _on_steps(south - step, north + step, step)
    left, right = _on_steps(west - step, east + step, step)
    why = (
        f"observations of {counted_minutes(minutes)} are some {apart:.2g} degrees apart; half of "
        "that, rounded"
    )
    low, high = max(low, -90.0), min(high, 90.0)
    if right - left >= 360.0:
        left, right = left, left + 360.0 - step
    return Area((low, high), (left, right), step, why)


def round_step(step: float) -> float:
    """The number of 1, 2 and 5 times a power of ten that is nearest below or above."""
    power = 10.0 ** np.floor(np.log10(step))
    choices = np.array([1.0, 2.0, 5.0, 10.0]) * power
    nearest = choices[np.argmin(np.abs(np.log(choices / step)))]
    return float(f"{nearest:.3g}")


def counted_minutes(minutes: int) -> str:
    """Minutes in words of hours or days."""
    return f"{minutes / 1440:g} d" if minutes % 1440 == 0 else f"{minutes / 60:g} h"


def _unwrapped(longitudes: Float[np.ndarray, " place"]) -> Float[np.ndarray, " place"]:
    """Longitudes in one piece, begun after the widest gap around the earth."""
    different = np.unique(longitudes)
    gaps = np.diff(np.append(different, different[0] + 360.0))
    begin = different[(int(np.argmax(gaps)) + 1) % different.size]
    return np.where(longitudes >= begin, longitudes, longitudes + 360.0)


def _bounds(values: Float[np.ndarray, " place"]) -> tuple[float, float]:
    """Smallest and largest, a few that lie far from all others left out."""
    low, high = np.quantile(values, [0.005, 0.995])
    reach = max(high - low, 0.1)
    near = values[(values >= low - _FAR * reach) & (values <= high + _FAR * reach)]
    return float(near.min()), float(near.max())


def _on_steps(low: float, high: float, step: float) -> tuple[float, float]:
    return (
        float(f"{np.floor(low / step + 1e-9) * step:.8g}"),
        float(f"{np.ceil(high / step - 1e-9) * step:.8g}"),
    )
