"""Which observations matter at which grid point, and how much."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.local.cells import Cells, cells_of
from vardax_core.observations.placement import AbstractPlaced, Placement, Search
from vardax_core.state.grids import AbstractGrid, GridError, LatLon, Plane, Ring
from vardax_core.state.lattice import lattice_of


class LocalizationError(ValueError):
    """A localization that cannot be: no length, no station, or a station outside the domain."""


def gaspari_cohn(distance: Float[Array, "*any"], half_width: float) -> Float[Array, "*any"]:
    """The compactly supported fifth-order correlation; zero from twice the half-width on.

    With r = distance / half_width it is 1 - 5 r^2 / 3 + 5 r^3 / 8 + r^4 / 2 - r^5 / 4 up to 1 and
    from there (2 - r)^4 (r^2 + 2 r - 1 / 2) / (12 r), the published polynomial in factors: so it
    lies in [0, 1] in any precision.

    Arguments:
        distance: not negative, in the unit of `half_width`; one that is not known (NaN) counts as
            out of reach.
        half_width: called c in the source; about 1.82 standard deviations of the Gaussian that
            the function resembles.

    Source: Gaspari and Cohn (1999), doi:10.1002/qj.49712555417, equation 4.10
    """
    r = jnp.where(distance <= 0, 0.0, distance / half_width)
    r = jnp.where(r < 2, r, 2.0)
    low, high = jnp.minimum(r, 1.0), jnp.maximum(r, 1.0)
    near = 1 + low**2 * (-5 / 3 + low * (5 / 8 + low * (1 / 2 - low / 4)))
    far = (2 - high) ** 4 * (high * (high + 2) - 0.5) / (12 * high)
    return jnp.where(r <= 1, near, far)


class LocalNetwork(AbstractPlaced):
    """For every grid point, the observations within reach and their weights in R^-1.

    Attributes:
        indices: index of each local observation; arbitrary where the weight is zero.
        weights: Gaspari-Cohn taper of its distance.
        n_stations: number of observations that the indices count.
        half_width: of the taper, in the grid's unit of distance.
        cells: where the points are the nodes of a lattice and not all points of the grid.
        spacing: of the lattice, in points; 1 where there is none.
    """

    indices: Int[Array, "point local"]
    weights: Float[Array, "point local"]
    n_stations: int = eqx.field(static=True)
    half_width: float = eqx.field(static=True)
    cells: Cells | None = None
    spacing: int = eqx.field(static=True, default=1)

    @property
    def size(self) -> int:
        """Number of points of the grid."""
        return self.indices.shape[0] if self.cells is None else self.cells.size

    @property
    def search(self) -> Search:
        """All that it has room for, within twice the half-width."""
        return Search(2 * self.half_width, self.indices.shape[1], spacing=self.spacing)

    def placed(self, placement: Placement) -> "LocalNetwork":
        near = placement.nearest >= 0
        distances = jnp.where(near, placement.distances, 2 * self.half_width)
        return LocalNetwork(
            indices=jnp.where(near, placement.nearest, 0),
            weights=gaspari_cohn(distances, self.half_width),
            n_stations=placement.platforms.shape[0],
            half_width=self.half_width,
            cells=self.cells,
            spacing=self.spacing,
        )


def _check_half_width(half_width: float) -> None:
    if not half_width > 0:
        raise LocalizationError(
            f"localization: half_width must be positive, got {half_width}; observations are used "
            "up to twice that distance."
        )


def local_network(
    grid: AbstractGrid,
    stations: Float[np.ndarray, "obs coordinate"],
    half_width: float,
    *,
    max_local: int | None = None,
    spacing: int = 1,
) -> LocalNetwork:
    """Find the observations around every point of a grid, or every `spacing`-th.

    Arguments:
        grid: of the state.
        stations: place of each observation, in the order of the grid's axes.
        half_width: of the taper, in the grid's unit of distance.
        max_local: keep at most so many of the nearest observations at a point.
        spacing: of the points at which transforms are made, see `lattice_of`.

    Raises:
        LocalizationError: if the half-width is not positive, the network is empty, or a station
            lies nowhere.
    """
    _check_half_width(half_width)
    if len(stations) == 0:
        raise LocalizationError(
            "localization: the network has no station; analyse with BackgroundOnly instead."
        )
    if not np.isfinite(stations).all():
        bad = int(np.argwhere(~np.isfinite(stations))[0, 0])
        raise LocalizationError(
            f"localization: station {bad} lies nowhere, at {stations[bad]}; drop it."
        )
    try:
        lattice = None if spacing == 1 else lattice_of(grid, spacing)
        at = None if lattice is None else grid.points()[lattice.nodes]
        indices, distances = grid.neighbours(stations, 2 * half_width, most=max_local, at=at)
    except GridError as error:
        raise LocalizationError(f"localization: {error}") from error
    found = np.isfinite(distances)
    taper = gaspari_cohn(jnp.asarray(np.where(found, distances, 2 * half_width)), half_width)
    numbers = jnp.asarray(indices, jnp.int32)
    return LocalNetwork(numbers, taper, len(stations), half_width, cells_of(lattice), spacing)


def unplaced_network(
    grid: AbstractGrid, half_width: float, most: int, *, spacing: int = 1
) -> LocalNetwork:
    """Make the observing network of observations that bring their places, before there are any.

    Arguments:
        grid: of the state.
        half_width: of the taper, in the grid's unit of distance.
        most: keep so many of the nearest observations at a point.
        spacing: of the points at which transforms are made, see `lattice_of`.

    Raises:
        LocalizationError: if the half-width is not positive.
    """
    _check_half_width(half_width)
    lattice = None if spacing == 1 else lattice_of(grid, spacing)
    nothing = np.zeros((grid.size if lattice is None else lattice.nodes.size, most))
    return LocalNetwork(
        indices=jnp.asarray(nothing, jnp.int32),
        weights=jnp.asarray(nothing, jnp.float32),
        n_stations=0,
        half_width=half_width,
        cells=cells_of(lattice),
        spacing=spacing,
    )


def ring_network(
    n_points: int,
    stations: Float[np.ndarray, " obs"],
    half_width: float,
    *,
    max_local: int | None = None,
) -> LocalNetwork:
    """Observations at positions `0 <= s < n_points` on a periodic ring of unit spacing.

    Arguments:
        stations: position of each observation in grid units.
        half_width: of the taper, in grid units.
        max_local: keep at most so many of the nearest observations at a point.

    Raises:
        LocalizationError: if the half-width is not positive, the network is empty, or a station
            lies outside the ring.
    """
    stations = np.asarray(stations, float).reshape(-1, 1)
    if np.any((stations < 0) | (stations >= n_points)):
        raise LocalizationError(f"ring_network: stations must lie in the domain [0, {n_points}).")
    return local_network(Ring(n=n_points), stations, half_width, max_local=max_local)


def plane_network(
    grid_y: Float[np.ndarray, " y"],
    grid_x: Float[np.ndarray, " x"],
    stations: Float[np.ndarray, "obs 2"],
    half_width: float,
    *,
    max_local: int | None = None,
) -> LocalNetwork:
    """Observations at `(y, x)` around the points of a Cartesian grid, row by row.

    Arguments:
        grid_y, grid_x: grid coordinates.
        stations: `(y, x)` of each observation in the same unit.
        half_width: of the taper, same unit.
        max_local: keep at most so many of the nearest observations at a point.

    Raises:
        LocalizationError: if the half-width is not positive or the network is empty.
    """
    grid = Plane.from_axes(grid_y, grid_x)
    return local_network(grid, np.asarray(stations, float), half_width, max_local=max_local)


def sphere_network(
    latitudes: Float[np.ndarray, " y"],
    longitudes: Float[np.ndarray, " x"],
    stations: Float[np.ndarray, "obs 2"],
    half_width_km: float,
    *,
    max_local: int | None = None,
) -> LocalNetwork:
    """Observations at `(latitude, longitude)` around the points of a grid on the sphere.

    Arguments:
        latitudes, longitudes: grid coordinates in degrees.
        stations: latitude and longitude of each observation in degrees.
        half_width_km: of the taper, in kilometres.
        max_local: keep at most so many of the nearest observations at a point.

    Raises:
        LocalizationError: if the half-width is not positive, the network is empty, or a latitude
            lies beyond a pole.
    """
    grid = LatLon.from_degrees(latitudes, longitudes)
    return local_network(grid, np.asarray(stations, float), half_width_km, max_local=max_local)
