"""A grid whose latitudes and longitudes are given point by point."""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vardax_core.state.axis import GridError
from vardax_core.state.grids.base import AbstractGrid, Mask, Places, Stencil
from vardax_core.state.grids.spherical import AbstractSphericalGrid
from vardax_core.state.sphere import EARTH_RADIUS_KM, Numbers, numpy_of, unit_vectors

NEWTON_STEPS = 8
NEAREST = 4
"""Points around a place whose quadrilaterals are looked at."""
ON_THE_EDGE = 1e-6
"""Part of a side by which a place may lie outside of a quadrilateral."""


class Curvilinear(AbstractSphericalGrid):
    """Points in rows and columns anywhere on the sphere, as of an ocean model or a projection.

    Attributes:
        latitude, longitude: of every point in degrees, longitudes of any convention.
        periodic: whether the last column is followed by the first.
        mask: True at the points that are part of the state, or None for all.

    Raises:
        GridError: if there are not two rows and columns, a coordinate is not finite, or the mask
            does not fit.
    """

    latitude: Float[Numbers, "y x"]
    longitude: Float[Numbers, "y x"]
    periodic: bool = eqx.field(static=True, default=False)
    mask: Mask | None = None

    def __check_init__(self):
        if self.latitude.shape != self.longitude.shape or min(self.shape) < 2:
            raise GridError(
                f"Curvilinear: expected latitudes and longitudes on two rows and columns at least, "
                f"got {self.latitude.shape} and {self.longitude.shape}."
            )
        if isinstance(self.latitude, np.ndarray):
            good = np.isfinite(self.longitude) & (np.abs(self.latitude) <= 90)
            if not good.all():
                raise GridError(
                    f"Curvilinear: {int((~good).sum())} points lie nowhere (a coordinate is not "
                    "finite, or a latitude beyond a pole); fill the coordinates, under a mask too."
                )
        self._check_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.latitude.shape

    @property
    def wraps(self) -> tuple[bool, ...]:
        return (False, self.periodic)

    def positions(self) -> Float[Numbers, "*state coordinate"]:
        xp = numpy_of(self.latitude, self.longitude)
        return xp.stack([self.latitude, self.longitude], axis=-1)

    def areas(self) -> Float[np.ndarray, "*state"]:
        places = unit_vectors(np.asarray(self.positions(), np.float64))
        along_y = np.gradient(places, axis=0)
        if self.periodic:
            around = np.concatenate([places[:, -1:], places, places[:, :1]], axis=1)
            along_x = np.gradient(around, axis=1)[:, 1:-1]
        else:
            along_x = np.gradient(places, axis=1)
        return EARTH_RADIUS_KM**2 * np.linalg.norm(np.cross(along_y, along_x), axis=-1)

    def cells(self, places: Places) -> Int[np.ndarray, " place"]:
        good = np.isfinite(places).all(axis=1)
        _, nearest = self._tree().query(unit_vectors(np.where(good[:, None], places, 0.0)))
        points = self.points()[nearest]
        reach = np.sqrt(self.areas().reshape(-1)[nearest] / 2)
        return np.where(good & (self.distance(points, places) <= reach), nearest, -1)

    def taken(self, *indices: Int[np.ndarray, " _"]) -> AbstractGrid:
        chosen = np.ix_(*indices)
        return Curvilinear(
            latitude=np.asarray(self.latitude)[chosen],
            longitude=np.asarray(self.longitude)[chosen],
            periodic=self.periodic,
        )

    def _tree(self) -> cKDTree:
        return cKDTree(unit_vectors(self.points()))

    def _corners(self, places: Places) -> Stencil:
        count = len(places)
        indices, weights = np.zeros((count, 4), np.int64), np.zeros((count, 4))
        todo = np.isfinite(places).all(axis=1) & (np.abs(places[:, 0]) <= 90)
        vectors = np.asarray(unit_vectors(np.where(todo[:, None], places, 0.0)))
        points = np.asarray(unit_vectors(self.points()))
        most = min(NEAREST, self.size)
        _, nearest = cKDTree(points).query(vectors, k=np.arange(1, most + 1))
        rows, columns = self.shape
        for candidate in nearest.T:
            for down, right in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
                row, column = candidate // columns + down, candidate % columns + right
                there = todo & (row >= 0) & (row < rows - 1)
                if not self.periodic:
                    there &= (column >= 0) & (column < columns - 1)
                if not there.any():
                    continue
                above, below = row[there] * columns, (row[there] + 1) * columns
                left, right_of = column[there] % columns, (column[there] + 1) % columns
                corners = np.stack(
                    [above + left, above + right_of, below + left, below + right_of], axis=1
                )
                s, t, inside = _place_in_quadrilateral(points[corners], vectors[there])
                chosen = np.flatnonzero(there)[inside]
                s, t = s[inside], t[inside]
                indices[chosen] = corners[inside]
                weights[chosen] = np.stack(
                    [(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t], axis=1
                )
                todo[chosen] = False
        return Stencil(indices, weights)


def _place_in_quadrilateral(
    corners: Float[np.ndarray, "place 4 3"], places: Float[np.ndarray, "place 3"]
) -> tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"], np.ndarray]:
    """Solve for the bilinear coordinates (0 to 1) of places in quadrilaterals, seen from the
    centre of the sphere on the plane that touches it at the place; and say which are inside."""
    helper = np.where(np.abs(places[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(helper, places)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(places, east)
    depth = np.einsum("pck,pk->pc", corners, places)
    near = (depth > 0.1).all(axis=1)
    depth = np.where(depth > 0.1, depth, 1.0)
    flat = np.stack(
        [np.einsum("pck,pk->pc", corners, axis) / depth for axis in (east, north)], axis=-1
    )
    origin, x, y = flat[:, 0], flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    twist = flat[:, 3] - flat[:, 2] - flat[:, 1] + flat[:, 0]
    s, t = np.full(len(places), 0.5), np.full(len(places), 0.5)
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            off = origin + s[:, None] * y + t[:, None] * x + (s * t)[:, None] * twist
            by_s, by_t = y + t[:, None] * twist, x + s[:, None] * twist
            determinant = by_s[:, 0] * by_t[:, 1] - by_s[:, 1] * by_t[:, 0]
            s = s - (off[:, 0] * by_t[:, 1] - off[:, 1] * by_t[:, 0]) / determinant
            t = t - (by_s[:, 0] * off[:, 1] - by_s[:, 1] * off[:, 0]) / determinant
    low, high = -ON_THE_EDGE, 1 + ON_THE_EDGE
    inside = near & (s >= low) & (s <= high) & (t >= low) & (t <= high)
    return s.clip(0, 1), t.clip(0, 1), inside
