"""What every grid can do."""

import math
from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vardax_core.state.axis import GridError
from vardax_core.state.sphere import Numbers

Mask = Bool[Numbers, "*state"]
Places = Float[np.ndarray, "place coordinate"]

LEAST_WEIGHT = 1e-6
"""Weight of the unmasked corners around a place below which it lies among masked points."""


class OutsideDomainError(ValueError):
    """A place that lies outside the grid, or nowhere."""


class Stencil(NamedTuple):
    """The points between which each place lies.

    Attributes:
        indices: flat (row-major) index of each corner; arbitrary where its weight is zero.
        weights: of the corners, not negative, with a sum of one.
    """

    indices: Int[np.ndarray, "place corner"]
    weights: Float[np.ndarray, "place corner"]


class Neighbours(NamedTuple):
    """The places around each point, the nearest first.

    Attributes:
        indices: of the places; 0 where there are no more.
        distances: infinite where there are no more.
    """

    indices: Int[np.ndarray, "point near"]
    distances: Float[np.ndarray, "point near"]


class PlaceTree(NamedTuple):
    """Places on a grid, ready to be found from any of its points, masked or not.

    Attributes:
        grid: on which distances are measured.
        tree: of the places, in the space of the grid's straight lines.
    """

    grid: "AbstractGrid"
    tree: cKDTree

    def count(self, at: Places, radius: float) -> int:
        """Count the places less than a radius, in the grid's unit, away from where most are."""
        lengths = self.tree.query_ball_point(
            self.grid._straight(at), self._reach(radius), return_length=True
        )
        return int(np.max(lengths, initial=0))

    def nearest(self, at: Places, radius: float, count: int) -> Neighbours:
        """Find so many of the places less than a radius away, for each row of coordinates."""
        chords, indices = self.tree.query(
            self.grid._straight(at),
            k=np.arange(1, count + 1),
            distance_upper_bound=self._reach(radius),
        )
        near = np.isfinite(chords)
        return Neighbours(np.where(near, indices, 0), self.grid._arc(chords))

    def within(self, at: Places, radius: float) -> Int[np.ndarray, " near"]:
        """Give the number of every place that may be less than a radius away from any of `at`."""
        points = self.grid._straight(at)
        reached = cKDTree(points, boxsize=self.grid._periods())
        near, _ = reached.query(self.tree.data, distance_upper_bound=self._reach(radius))
        return np.flatnonzero(np.isfinite(near))

    def _reach(self, radius: float) -> float:
        return self.grid._chord(radius) * (1 - 1e-12)


class Tiles(NamedTuple):
    """Blocks of equal shape that cover a grid.

    Attributes:
        points: flat index of every point of each block, its halo included.
        own: which of them the tile is responsible for: each unmasked point in one tile.
    """

    points: Int[np.ndarray, "tile *block"]
    own: Bool[np.ndarray, "tile *block"]


class AbstractGrid(eqx.Module):
    """Where the points of a state are.

    A place is a row of coordinates in the order of the grid's axes: the number of a point on a
    ring, (y, x) on a plane, latitude and longitude in degrees on the sphere.

    Attributes:
        mask: True at the points that are part of the state, or None for all.
    """

    mask: eqx.AbstractVar[Mask | None]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a field."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """Unit of distances."""

    @property
    @abstractmethod
    def axis_unit(self) -> str:
        """Unit of the coordinates."""

    @property
    @abstractmethod
    def axis_step(self) -> float:
        """Distance that one unit of the coordinates stands for."""

    @property
    @abstractmethod
    def wraps(self) -> tuple[bool, ...]:
        """Whether the grid closes on itself along each dimension."""

    @abstractmethod
    def positions(self) -> Float[Numbers, "*state coordinate"]:
        """Give the coordinates of every point."""

    @abstractmethod
    def distance(
        self, first: Float[Numbers, "*#any coordinate"], second: Float[Numbers, "*#any coordinate"]
    ) -> Float[Numbers, "*any"]:
        """Measure from places to others, in `unit`."""

    @abstractmethod
    def areas(self) -> Float[np.ndarray, "*state"]:
        """Give the area of the cell around every point, masked or not, in the square of `unit`."""

    @abstractmethod
    def cells(self, places: Places) -> Int[np.ndarray, " place"]:
        """Give the flat index of the point whose cell each place is in, -1 for none."""

    @abstractmethod
    def boxes(self, places: Places, side: float) -> Int[np.ndarray, "place coordinate"]:
        """Number the boxes of a mesh, in units of the coordinates, that places are in; equal rows
        are one box."""

    @abstractmethod
    def taken(self, *indices: Int[np.ndarray, " _"]) -> "AbstractGrid":
        """Make the coarser grid of some rows and columns, without a mask."""

    @abstractmethod
    def aspect(self) -> float:
        """Length on a map of one unit of the first axis over that of one unit of the last."""

    @abstractmethod
    def _corners(self, places: Places) -> Stencil:
        """Give the stencil regardless of the mask; all weights zero for a place outside."""

    @abstractmethod
    def _straight(self, places: Places) -> Float[np.ndarray, "place straight"]:
        """Give the places in a space where straight lines order them as `distance` does."""

    @abstractmethod
    def _periods(self) -> Float[np.ndarray, " straight"] | None:
        """Give the length of each direction of that space, 0 for endless ones."""

    @abstractmethod
    def _chord(self, distance: float) -> float:
        """Turn a distance into one in that space."""

    @abstractmethod
    def _arc(self, chord: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Turn a length in that space into a distance; infinite ones stay so."""

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def points(self) -> Places:
        """Give the coordinates of every point, row-major."""
        positions = np.asarray(self.positions(), np.float64)
        return positions.reshape(self.size, -1)

    def unmasked(self) -> "AbstractGrid":
        """Give the same grid, all of whose points belong to the state."""
        return eqx.tree_at(lambda g: g.mask, self, None, is_leaf=lambda x: x is None)

    def pairwise(self) -> Float[np.ndarray, "n n"]:
        """Measure between all points, row-major, in `unit`."""
        points = self.points()
        return np.asarray(self.distance(points[:, None], points[None]))

    def weights(self) -> Float[np.ndarray, "*state"]:
        """Give the areas over their mean at unmasked points; zero at masked ones."""
        areas = self.areas()
        inside = np.ones(self.shape, bool) if self.mask is None else np.asarray(self.mask)
        if not inside.any():
            raise GridError(f"All {self.size} points of the grid are masked; correct the mask.")
        even = np.ptp(areas[inside]) <= 1e-6 * areas[inside].max()
        share = np.ones_like(areas) if even else areas / areas[inside].mean()
        return np.where(inside, share, 0.0)

    def contains(self, places: Places) -> Bool[np.ndarray, " place"]:
        """Say which places lie between points of which one at least is not masked."""
        return self._unmasked(places).weights.sum(axis=1) >= LEAST_WEIGHT

    def stencil(self, places: Places) -> Stencil:
        """Find the points between which places lie, and their weights for linear interpolation.

        Masked points get no weight and the others share it.

        Raises:
            OutsideDomainError: if a place lies outside the grid, nowhere, or among masked points
                only; see `contains`.
        """
        indices, weights = self._unmasked(places)
        total = weights.sum(axis=1, keepdims=True)
        if (lost := np.flatnonzero(total[:, 0] < LEAST_WEIGHT)).size:
            raise OutsideDomainError(
                f"{lost.size} of {len(places)} places lie outside the domain or among masked "
                f"points, first place {lost[0]} at {tuple(map(float, places[lost[0]]))}; the grid "
                f"spans {self.span()}. Drop them or mark them missing."
            )
        return Stencil(indices, weights / total)

    def span(self) -> str:
        """Say in words from where to where the grid goes."""
        points = self.points()
        return ", ".join(f"{column.min():g} to {column.max():g}" for column in points.T)

    def tree(self, places: Places) -> PlaceTree:
        """Make finite places ready to be searched."""
        return PlaceTree(self, cKDTree(self._straight(places), boxsize=self._periods()))

    def neighbours(
        self,
        places: Places,
        radius: float,
        *,
        most: int | None = None,
        at: Float[np.ndarray, "point coordinate"] | None = None,
    ) -> Neighbours:
        """Find the places less than a radius away from each point of the grid.

        A masked point has none.

        Arguments:
            places: finite.
            radius: in `unit`.
            most: keep at most so many of the nearest.
            at: look from these places and not from the grid's points.
        """
        inside = np.flatnonzero(np.ones(self.size, bool) if self.mask is None else self.mask)
        points, tree = self.points()[inside] if at is None else at, self.tree(places)
        found = tree.count(points, radius)
        count = max(1, found if most is None else min(found, most))
        indices, distances = tree.nearest(points, radius, count)
        if self.mask is None or at is not None:
            return Neighbours(indices, distances)
        all_indices = np.zeros((self.size, count), indices.dtype)
        all_distances = np.full((self.size, count), np.inf)
        all_indices[inside], all_distances[inside] = indices, distances
        return Neighbours(all_indices, all_distances)

    def points_near(self, places: Places, radius: float) -> Neighbours:
        """Find the unmasked points of the grid less than a radius away from each place.

        Arguments:
            places: finite.
            radius: in `unit`.
        """
        inside = np.flatnonzero(np.ones(self.size, bool) if self.mask is None else self.mask)
        tree = cKDTree(self._straight(self.points()[inside]), boxsize=self._periods())
        reach, wanted = self._chord(radius) * (1 - 1e-12), self._straight(places)
        count = max(1, int(np.max(tree.query_ball_point(wanted, reach, return_length=True))))
        chords, found = tree.query(wanted, k=np.arange(1, count + 1), distance_upper_bound=reach)
        near = np.isfinite(chords)
        return Neighbours(inside[np.where(near, found, 0)], self._arc(chords))

    def embedded(self, places: Places) -> Float[np.ndarray, "place straight"]:
        """Give the places in a space where straight lines measure as `unit` does, nearly.

        A direction that closes on itself is a circle there and the sphere is round, so that lines
        are chords: short of the way along the grid by a part in 24 (d / radius)^2. Every function
        that is positive definite in space is so on the grid.
        """
        straight, periods = self._straight(places), self._periods()
        if periods is None:
            return straight
        columns = []
        for column, period in zip(straight.T, periods, strict=True):
            if period == 0:
                columns.append(column)
                continue
            radius = period / (2 * np.pi)
            columns += [radius * np.cos(column / radius), radius * np.sin(column / radius)]
        return np.stack(columns, axis=1)

    def near(self, places: Places, radius: float) -> Bool[np.ndarray, "place place"]:
        """Say which pairs of places are at most a radius in `unit` apart; each is near itself."""
        tree = cKDTree(self._straight(places), boxsize=self._periods())
        pairs = tree.query_pairs(self._chord(radius) * (1 + 1e-12), output_type="ndarray")
        found = np.eye(len(places), dtype=bool)
        found[pairs[:, 0], pairs[:, 1]] = found[pairs[:, 1], pairs[:, 0]] = True
        return found

    def tiles(self, size: int, halo: int) -> Tiles:
        """Cover the grid with blocks of `size` points a side and `halo` more on every side.

        Where the grid ends, the halo repeats its last points, and so does a last block that
        would stick out.

        Raises:
            GridError: if the size is less than one point or the halo negative.
        """
        if size < 1 or halo < 0:
            raise GridError(
                f"tiles: size must be at least 1 and halo not negative, got {size} and {halo}."
            )
        flat = np.zeros((1,) * (2 * len(self.shape)), np.int64)
        own = np.ones_like(flat, bool)
        inner = np.arange(-halo, size + halo)
        dims = len(self.shape)
        for axis, (length, wraps) in enumerate(zip(self.shape, self.wraps, strict=True)):
            index = np.arange(0, length, size)[:, None] + inner
            owned = (inner >= 0) & (inner < size) & (index < length)
            index = index % length if wraps else index.clip(0, length - 1)
            others = [i for i in range(2 * dims) if i not in (axis, dims + axis)]
            flat = flat * length + np.expand_dims(index, others)
            own = own & np.expand_dims(owned, others)
        block = flat.shape[dims:]
        points = flat.reshape(-1, *block)
        own = own.reshape(-1, *block)
        if self.mask is not None:
            own = own & np.asarray(self.mask).reshape(-1)[points]
        return Tiles(points, own)

    def _unmasked(self, places: Places) -> Stencil:
        indices, weights = self._corners(places)
        if self.mask is None:
            return Stencil(indices, weights)
        return Stencil(indices, weights * np.asarray(self.mask).reshape(-1)[indices])

    def _check_mask(self) -> None:
        if self.mask is not None and self.mask.shape != self.shape:
            raise GridError(
                f"The mask has shape {self.mask.shape}, but the grid {self.shape}; give one value "
                "for each point."
            )
