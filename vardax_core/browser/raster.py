"""Where the points of a two-dimensional state are drawn: rows and columns of equal boxes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vardax_core.browser.projections import AbstractProjection
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning

MOST = 640
"""Boxes along an axis at most; of a finer grid every second, third, ... point is drawn."""
EDGES = 181
"""Places along each edge of a map by which its extent on a page is found."""
FINER = 2
"""Times as many boxes as the flat map has along its longer side, where there may be so many."""
EVEN = 1e-3
"""Share of a step by which the steps of an even axis may differ."""


Places = Float[np.ndarray, "*place"]


@dataclass(frozen=True)
class Raster:
    """Equal boxes that a grid is drawn with.

    Attributes:
        x, y: middles of the boxes, ascending.
        nearest: flat index of the grid's point that each box shows, -1 for none.
        shape: of the grid.
        x_name, y_name: what the axes are, with their units.
        on_earth: whether places are longitudes and latitudes in degrees.
        projection: how these are drawn; None where they are the axes themselves.
    """

    x: Float[np.ndarray, " column"]
    y: Float[np.ndarray, " row"]
    nearest: Int[np.ndarray, "row column"]
    shape: tuple[int, int]
    x_name: str
    y_name: str
    on_earth: bool
    projection: AbstractProjection | None = None

    @property
    def box(self) -> tuple[float, float]:
        """Width and height of a box."""
        width, height = (float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in (self.x, self.y))
        return width, height

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top edge of all boxes."""
        width, height = self.box
        left, bottom = self.x[0] - width / 2, self.y[0] - height / 2
        return (
            float(left),
            float(bottom),
            float(left + width * len(self.x)),
            float(bottom + height * len(self.y)),
        )

    @property
    def aspect(self) -> float:
        """Height over width of the map, lengths of both axes being true in its middle."""
        left, bottom, right, top = self.bounds
        degrees = self.on_earth and self.projection is None
        middle = np.cos(np.deg2rad((bottom + top) / 2)) if degrees else 1.0
        return float((top - bottom) / ((right - left) * max(middle, 0.2)))

    def drawn(self, x: Places, y: Places) -> tuple[Places, Places]:
        """Where coordinates of the grid lie on the page; NaN where they are not on it."""
        return (x, y) if self.projection is None else self.projection.forward(x, y)

    def coordinates(self) -> tuple[Places, Places]:
        """Coordinates of the grid in the middle of every box."""
        x, y = np.meshgrid(self.x, self.y)
        return (x, y) if self.projection is None else self.projection.inverse(x, y)

    def boxes(self, values: Float[np.ndarray, "*state"]) -> Float[np.ndarray, "row column"]:
        """What a field shows in each box, NaN outside of the grid."""
        flat = values.reshape(-1)
        found = flat[np.maximum(self.nearest, 0)].astype(float)
        return np.where(self.nearest >= 0, found, np.nan)

    def point(self, x: float, y: float) -> tuple[int, ...] | None:
        """Indices of the grid's point that is shown at a place, None outside of it."""
        left, bottom, right, top = self.bounds
        if not (left <= x <= right and bottom <= y <= top):
            return None
        row, column = (int(np.argmin(np.abs(axis - at))) for axis, at in ((self.y, y), (self.x, x)))
        flat = int(self.nearest[row, column])
        return None if flat < 0 else tuple(map(int, np.unravel_index(flat, self.shape)))

    def place(self, indices: Sequence[int]) -> tuple[float, float]:
        """Middle of the box that is nearest to a point of the grid in rows and columns."""
        flat = int(np.ravel_multi_index(tuple(indices), self.shape))
        found = np.argwhere(self.nearest == flat)
        if not len(found):
            rows, columns = np.unravel_index(np.maximum(self.nearest, 0), self.shape)
            apart = (rows - indices[0]) ** 2 + (columns - indices[1]) ** 2
            found = np.argwhere(apart == apart.min())
        row, column = found[0]
        return float(self.x[column]), float(self.y[row])


def raster_of(data: xr.Dataset, dims: Sequence[str]) -> Raster:
    """Lay boxes over a grid.

    Arguments:
        data: with its coordinates; an axis without numbers is counted from 0.
        dims: of a state, of which the first runs up or down.
    """
    y_dim, x_dim = dims
    shape = (data.sizes[y_dim], data.sizes[x_dim])
    curved = curved_places(data, dims)
    if curved is not None:
        return _of_curved(*curved)
    (y, y_name, y_kind), (x, x_name, x_kind) = (_axis(data, dim) for dim in dims)
    rows, columns = _boxes(y), _boxes(x)
    nearest = np.add.outer(_nearest(y, rows) * shape[1], _nearest(x, columns))
    on_earth = (y_kind, x_kind) == (LATITUDE, LONGITUDE)
    return Raster(columns, rows, nearest, shape, x_name, y_name, on_earth)


def projected(flat: Raster, projection: AbstractProjection) -> Raster:
    """Lay boxes over a map that is drawn otherwise.

    Arguments:
        flat: what `raster_of` gives, on the earth.
        projection: how it is drawn.

    Returns:
        The boxes, or without a place of the map on the page, none: `nearest` is empty.
    """
    left, bottom, right, top = flat.bounds
    x, y = projection.forward(
        *np.meshgrid(np.linspace(left, right, EDGES), np.linspace(bottom, top, EDGES))
    )
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        nothing = np.empty(0)
        return dataclasses.replace(
            flat, x=nothing, y=nothing, nearest=np.empty((0, 0), int), projection=projection
        )
    spans = [(float(a[seen].min()), float(a[seen].max())) for a in (x, y)]
    widths = [high - low for low, high in spans]
    step = max(widths) / min(MOST, FINER * max(flat.nearest.shape))
    columns, rows = (
        np.linspace(low + step / 2, high - step / 2, max(round(width / step), 1))
        for (low, high), width in zip(spans, widths, strict=True)
    )
    longitude, latitude = projection.inverse(*np.meshgrid(columns, rows))
    around = left + np.mod(longitude - left, 360)
    width, height = flat.box
    inside = (around <= right) & (latitude >= bottom) & (latitude <= top)
    at = [
        np.clip(np.where(inside, (a - first) / size, 0).astype(int), 0, count - 1)
        for a, first, size, count in (
            (latitude, bottom, height, len(flat.y)),
            (around, left, width, len(flat.x)),
        )
    ]
    nearest = np.where(inside, flat.nearest[at[0], at[1]], -1)
    return Raster(columns, rows, nearest, flat.shape, "", "", True, projection)


def _axis(data: xr.Dataset, dim: str) -> tuple[np.ndarray, str, str | None]:
    known = data.coords.get(dim)
    if known is None or known.dtype.kind not in "iuf":
        return np.arange(data.sizes[dim], dtype=float), dim, None
    kind, units = meaning(dim, known.attrs), str(known.attrs.get("units", "1"))
    name = str(known.attrs.get("long_name", dim))
    degrees = kind in (LATITUDE, LONGITUDE)
    named = kind if degrees else name if units in ("", "1") else f"{name} [{units}]"
    return known.to_numpy().astype(float), str(named), kind


def _boxes(axis: np.ndarray) -> np.ndarray:
    """Middles of equal boxes along an axis: its own points if they are even and not too many."""
    low, high, count = float(axis.min()), float(axis.max()), len(axis)
    steps = np.diff(axis)
    even = count < 3 or np.ptp(steps) <= EVEN * abs(steps.mean())
    finest = (high - low) / max(count - 1, 1) if even else float(np.abs(steps).min())
    every = -(-count // MOST) if even else 1
    fitting = count if even else round((high - low) / max(finest, 1e-12)) + 1
    chosen = min(-(-fitting // every), MOST)
    return np.linspace(low, high, chosen) if chosen > 1 else np.array([low])


def _nearest(axis: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    order = np.argsort(axis)
    edges = (axis[order][1:] + axis[order][:-1]) / 2
    return order[np.searchsorted(edges, boxes)]


def curved_places(data: xr.Dataset, dims: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Latitude and longitude of every point, where both lie on two dimensions; None elsewhere.

    Arguments:
        data: with its coordinates.
        dims: of a state.
    """
    found = {
        meaning(str(name), one.attrs): one.transpose(*dims).to_numpy().astype(float)
        for name, one in data.coords.items()
        if set(one.dims) == set(dims)
    }
    return (found[LATITUDE], found[LONGITUDE]) if {LATITUDE, LONGITUDE} <= set(found) else None


def _of_curved(latitude: np.ndarray, longitude: np.ndarray) -> Raster:
    shape = latitude.shape
    if np.ptp(longitude) > 180 and np.ptp(np.mod(longitude, 360)) < np.ptp(longitude):
        longitude = np.mod(longitude, 360)
    stretch = max(float(np.cos(np.deg2rad(latitude.mean()))), 0.2)
    sides = [min(MOST, 2 * max(shape))] * 2
    y, x = (
        np.linspace(a.min(), a.max(), n) for a, n in zip((latitude, longitude), sides, strict=True)
    )
    tree = cKDTree(np.stack([latitude.ravel(), longitude.ravel() * stretch], axis=1))
    spacing = max(
        float(np.median(np.hypot(np.diff(latitude, axis=k), stretch * np.diff(longitude, axis=k))))
        for k in (0, 1)
        if latitude.shape[k] > 1
    )
    boxes = np.stack(np.meshgrid(y, x * stretch, indexing="ij"), axis=-1)
    apart, nearest = tree.query(boxes, distance_upper_bound=spacing)
    nearest = np.where(np.isfinite(apart), nearest, -1)
    return Raster(x, y, nearest, (shape[0], shape[1]), LONGITUDE, LATITUDE, True)
