"""Lines of the earth on a map: coastlines, and a net of meridians and parallels."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from vardax_core.browser.raster import Raster
from vardax_core.calibration.plots.coast import coastlines

Path = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]
"""Lines one after another, NaN between them: a page is sent two arrays, and not two for each."""

STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
"""Degrees between the lines of a net."""
MOST_LINES = 8
"""Along the longer side of a map, where so many are enough with steps of 30 degrees."""
JUMP = 1.0
"""Radii of the earth between two neighbours of a line that crosses the edge of a map."""
FINE = 1.0
"""Degrees between two points of a line of the net."""


def seen(raster: Raster) -> tuple[float, float, float, float]:
    """The westernmost, southernmost, easternmost and northernmost place of a map, in degrees."""
    longitude, latitude = raster.coordinates()
    return tuple(  # type: ignore[return-value]
        float(edge(a)) for edge in (np.nanmin, np.nanmax) for a in (longitude, latitude)
    )


def coast(raster: Raster) -> Path:
    """The coastlines of a map, broken where they leave it; none of what is not on the earth."""
    if not raster.on_earth:
        return one_path((), ())
    if raster.projection is None:
        return one_path(*coastlines(*raster.bounds))
    return _drawn(raster, *coastlines(*seen(raster)))


def net(raster: Raster) -> Path:
    """Meridians and parallels of a map whose axes say no degrees; none of others."""
    if raster.projection is None:
        return one_path((), ())
    left, bottom, right, top = seen(raster)
    span = max(right - left, top - bottom)
    step = next((one for one in STEPS if span / one <= MOST_LINES), STEPS[-1])
    east = np.arange(np.ceil(left / step), np.floor(right / step) + 1) * step
    north = np.arange(np.ceil(bottom / step), np.floor(top / step) + 1) * step
    along_x = np.arange(left, right + FINE, FINE)
    along_y = np.clip(np.arange(bottom, top + FINE, FINE), -90, 90)
    lines = [(np.full_like(along_y, x), along_y) for x in east]
    lines += [(along_x, np.full_like(along_x, y)) for y in north]
    return _drawn(raster, *zip(*lines, strict=True)) if lines else one_path((), ())


def one_path(xs: Iterable[np.ndarray], ys: Iterable[np.ndarray]) -> Path:
    """Lines as one path with gaps, in single precision."""
    gap = np.full(1, np.nan)
    x, y = (
        np.concatenate([gap, *(part for line in lines for part in (line, gap))])[1:]
        for lines in (xs, ys)
    )
    return x.astype("f4"), y.astype("f4")


def _drawn(raster: Raster, longitudes: tuple, latitudes: tuple) -> Path:
    xs, ys = [], []
    for longitude, latitude in zip(longitudes, latitudes, strict=True):
        x, y = raster.drawn(longitude, latitude)
        if np.isfinite(x).any():
            # A line that leaves at one edge comes back at the other.
            far = np.flatnonzero(np.abs(np.diff(x)) > JUMP) + 1
            xs.append(np.insert(x, far, np.nan))
            ys.append(np.insert(y, far, np.nan))
    return one_path(xs, ys)
