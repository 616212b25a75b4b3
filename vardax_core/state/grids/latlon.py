"""A grid of latitudes and longitudes on the sphere."""

import numpy as np
from jaxtyping import Float, Int

from vardax_core.state.axis import ROUNDING, Axis, GridError
from vardax_core.state.grids.base import AbstractGrid, Mask, Places, Stencil
from vardax_core.state.grids.plane import product_cells, product_corners
from vardax_core.state.grids.spherical import AbstractSphericalGrid
from vardax_core.state.sphere import EARTH_RADIUS_KM, Numbers, numpy_of


class LatLon(AbstractSphericalGrid):
    """Points at every latitude and longitude of two axes in degrees.

    Longitudes are a circle in every method, of any convention and with any number of turns.
    Beyond its last row a grid that closes the circle is continued across the pole.

    Attributes:
        latitude: rising or falling, within -90 to 90.
        longitude: around the circle in either direction.
        mask: True at the points that are part of the state, or None for all.

    Raises:
        GridError: if a latitude lies beyond a pole, or the mask does not fit.
    """

    latitude: Axis
    longitude: Axis
    mask: Mask | None = None

    @classmethod
    def from_degrees(
        cls,
        latitude: Float[np.ndarray, " y"],
        longitude: Float[np.ndarray, " x"],
        *,
        mask: Mask | None = None,
    ) -> "LatLon":
        """Make the grid of two coordinates in degrees.

        Raises:
            GridError: if a coordinate is not in order, a latitude beyond a pole, or a longitude
                there twice.
        """
        return cls(
            latitude=Axis.line(latitude, "latitude"),
            longitude=Axis.on_circle(longitude, 360.0, "longitude", closed=None),
            mask=mask,
        )

    def __check_init__(self):
        points = self.latitude.points
        if isinstance(points, np.ndarray) and np.abs(points).max() > 90 * (1 + ROUNDING):
            raise GridError(
                "Latitudes must lie within -90 to 90 degrees, got "
                f"{points.min():g} to {points.max():g}; a grid in metres has units 'm', and "
                "latitude comes before longitude."
            )
        self._check_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.latitude.size, self.longitude.size)

    @property
    def wraps(self) -> tuple[bool, ...]:
        return (False, self.longitude.closed)

    def positions(self) -> Float[Numbers, "*state coordinate"]:
        points = (self.latitude.points, self.longitude.points)
        xp = numpy_of(*points)
        return xp.stack(xp.meshgrid(*points, indexing="ij"), axis=-1)

    def areas(self) -> Float[np.ndarray, "*state"]:
        heights = np.abs(np.diff(np.sin(np.deg2rad(self.latitude.edges().clip(-90, 90)))))
        widths = np.abs(np.diff(np.deg2rad(self.longitude.edges())))
        return EARTH_RADIUS_KM**2 * np.outer(heights, widths)

    def cells(self, places: Places) -> Int[np.ndarray, " place"]:
        return product_cells((self.latitude, self.longitude), self._one_name(places))

    def taken(self, *indices: Int[np.ndarray, " _"]) -> AbstractGrid:
        rows, columns = indices
        return LatLon(latitude=self.latitude.taken(rows), longitude=self.longitude.taken(columns))

    def _corners(self, places: Places) -> Stencil:
        places = self._one_name(places)
        indices, weights = product_corners((self.latitude, self.longitude), places)
        if self.longitude.closed:
            for row in (0, self.latitude.size - 1):
                self._cross_pole(row, places, indices, weights)
        return Stencil(indices, weights)

    def _one_name(self, places: Places) -> Places:
        """Give all places at a pole one longitude."""
        pole = np.abs(places[:, 0]) >= 90
        longitude = np.where(pole, self.longitude.points[0], places[:, 1])
        return np.stack([places[:, 0], longitude], axis=1)

    def _cross_pole(
        self,
        row: int,
        places: Places,
        indices: Int[np.ndarray, "place corner"],
        weights: Float[np.ndarray, "place corner"],
    ) -> None:
        """Fill the corners of places between a last row and its pole: that row, and its other
        side."""
        edge, latitude = self.latitude.points[row], places[:, 0]
        pole, gap = np.copysign(90.0, edge), 90.0 - abs(edge)
        widest = np.abs(np.diff(self.latitude.points)).max(initial=0.0)
        beyond = (abs(latitude) > abs(edge)) & (abs(latitude) <= 90) & (latitude * pole > 0)
        if not 0 < gap <= widest or not beyond.any():
            return
        here = places[beyond, 1]
        share = (90.0 - abs(latitude[beyond])) / gap
        for first, side, part in ((0, 0.0, (1 + share) / 2), (2, 180.0, (1 - share) / 2)):
            before, after, along, _ = self.longitude.between(here + side)
            for corner, column, weight in ((0, before, 1 - along), (1, after, along)):
                indices[beyond, first + corner] = row * self.longitude.size + column
                weights[beyond, first + corner] = part * weight
