"""One axis of a grid: points in order on a line or on a circle."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from vardax_core.state.sphere import Numbers, numpy_of

ROUNDING = 1e-9
"""Part of an axis by which a place may lie beyond its end and still be on it."""
HOLE = 20.0
"""Usual steps from which on a step of a circle's axis is no step but a part that is left out."""
SEAM = 1e-3
"""Part of a step by which the gap at the seam of a closed axis may exceed the widest step."""


class GridError(ValueError):
    """Coordinates that make no grid, or whose meaning is not understood."""


def wrapped(difference: Float[Numbers, "*any"], circle: float | None) -> Float[Numbers, "*any"]:
    """Take the short way around a circle; on a line the difference as it is."""
    if circle is None:
        return difference
    return difference - circle * numpy_of(difference).round(difference / circle)


def turned(places: Float[np.ndarray, "*any"], circle: float | None) -> Float[np.ndarray, "*any"]:
    """Write places on a circle within its first turn, [0, circle); on a line as they are."""
    if circle is None:
        return places
    within = np.mod(places, circle)
    return np.where(within >= circle, 0.0, within)


def box_numbers(
    places: Float[np.ndarray, "place coordinate"], side: float
) -> Int[np.ndarray, "place coordinate"]:
    """Number the boxes of a side that places are in, whatever rounding did to their edges."""
    return np.floor(places / side + ROUNDING).astype(np.int64)


class Axis(eqx.Module):
    """Points that rise or fall strictly along a line or a circle.

    Attributes:
        points: their coordinates, on a circle by any number of turns.
        circle: length after which a coordinate names the same place again, or None on a line.
        closed: whether the points go all the way around.
        name: for messages.
    """

    points: Float[np.ndarray, " n"]
    circle: float | None = eqx.field(static=True, default=None)
    closed: bool = eqx.field(static=True, default=False)
    name: str = eqx.field(static=True, default="axis")

    @classmethod
    def line(cls, points: Float[np.ndarray, " n"], name: str) -> "Axis":
        """Make an axis on a line.

        Raises:
            GridError: if the points are not finite or neither rise nor fall strictly.
        """
        points = np.asarray(points, np.float64)
        return cls(_in_order(points, np.diff(points), name), None, False, name)

    @classmethod
    def on_circle(
        cls, points: Float[np.ndarray, " n"], circle: float, name: str, *, closed: bool | None
    ) -> "Axis":
        """Make an axis on a circle, its points written with any number of turns.

        Arguments:
            points: in order around the circle.
            circle: its length.
            name: for messages.
            closed: whether the points go all the way around; None decides it by whether the gap
                between last and first is no wider than the widest step.

        Raises:
            GridError: if the points are not finite, not in order, go around more than once, or
                are two pieces with a hole between them.
        """
        points = np.asarray(points, np.float64)
        steps = np.diff(points)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            steps = np.asarray(wrapped(steps, circle))
            points = points[:1] + np.concatenate([[0.0], np.cumsum(steps)])
        points = _in_order(points, steps, name)
        _refuse_holes(points, np.abs(steps), circle, name)
        gap = circle - abs(points[-1] - points[0])
        if gap <= ROUNDING * circle:
            raise GridError(
                f"The axis '{name}' goes around its circle of {circle:g} more than once or holds "
                f"one place twice: it runs from {points[0]:g} to {points[-1]:g} in {points.size} "
                "points; drop the points that repeat others, e.g. the last one."
            )
        if closed is None:
            closed = points.size > 1 and bool(gap <= (1 + SEAM) * np.abs(steps).max())
        return cls(points, circle, closed, name)

    @property
    def size(self) -> int:
        """Number of points."""
        return self.points.size

    @property
    def sign(self) -> int:
        """1 where the points rise, -1 where they fall."""
        return -1 if self.size > 1 and self.points[1] < self.points[0] else 1

    def taken(self, index: Int[np.ndarray, " some"]) -> "Axis":
        """Keep some of the points; a closed axis stays closed."""
        return Axis(self.points[index], self.circle, self.closed, self.name)

    def edges(self) -> Float[np.ndarray, " n_plus_one"]:
        """Give the edges of the cells, halfway between points; those at the ends of an axis that
        is not closed are as far from their point as the edge on its other side."""
        points = self.points
        if self.closed and self.circle is not None:
            turn = self.sign * self.circle
            around = np.concatenate([[points[-1] - turn], points, [points[0] + turn]])
            return (around[1:] + around[:-1]) / 2
        if self.size == 1:
            return points[0] + np.array([-0.5, 0.5])
        middle = (points[1:] + points[:-1]) / 2
        first, last = 2 * points[0] - middle[0], 2 * points[-1] - middle[-1]
        return np.concatenate([[first], middle, [last]])

    def normal(self, places: Float[np.ndarray, " place"]) -> Float[np.ndarray, " place"]:
        """Write places with the turns that bring them nearest the middle of the axis."""
        if self.circle is None:
            return places
        middle = (self.points[0] + self.points[-1]) / 2
        return middle + np.asarray(wrapped(places - middle, self.circle))

    def cells(self, places: Float[np.ndarray, " place"]) -> Int[np.ndarray, " place"]:
        """Give the point whose cell each place is in, -1 for none; a cell has its lower edge."""
        edges, at = self.edges()[:: self.sign], self.normal(places)
        if self.closed and self.circle is not None:
            at = edges[0] + np.mod(at - edges[0], self.circle)
        index = np.searchsorted(edges, at, side="right") - 1
        index = np.where(at == edges[-1], self.size - 1, index)
        inside = (index >= 0) & (index < self.size) & np.isfinite(at)
        return np.where(inside, index if self.sign > 0 else self.size - 1 - index, -1)

    def between(
        self, places: Float[np.ndarray, " place"]
    ) -> tuple[
        Int[np.ndarray, " place"],
        Int[np.ndarray, " place"],
        Float[np.ndarray, " place"],
        Bool[np.ndarray, " place"],
    ]:
        """Give the points before and after each place, how far it is from the one to the other
        (0 to 1), and whether it is between points at all."""
        points, at = self.sign * self.points, self.sign * self.normal(places)
        if self.closed and self.circle is not None:
            points = np.append(points, points[0] + self.circle)
            at = points[0] + np.mod(at - points[0], self.circle)
        slack = ROUNDING * (points[-1] - points[0] or 1.0)
        inside = (at >= points[0] - slack) & (at <= points[-1] + slack)
        at = np.clip(np.where(inside, at, points[0]), points[0], points[-1])
        if points.size == 1:
            none = np.zeros(at.shape, np.int64)
            return none, none, np.zeros(at.shape), inside
        before = np.clip(np.searchsorted(points, at, side="right") - 1, 0, points.size - 2)
        share = (at - points[before]) / (points[before + 1] - points[before])
        return before, (before + 1) % self.size, share, inside


def _refuse_holes(
    points: Float[np.ndarray, " n"], steps: Float[np.ndarray, " step"], circle: float, name: str
) -> None:
    """Refuse an axis that was cut in two, of which a cell would be as wide as what is left out."""
    if steps.size < 3 or steps.max() <= HOLE * np.median(steps):
        return
    at = int(steps.argmax())
    raise GridError(
        f"The axis '{name}' steps by {np.median(steps):g} and leaves out {steps[at]:g} between "
        f"{points[at]:g} and {points[at + 1]:g}: it is one piece that was cut where its numbers "
        "begin anew, or two. Write it in order around the circle, e.g. with xarray "
        f"field.assign_coords({name}=(field.{name} + {circle / 2:g}) % {circle:g} - {circle / 2:g})"
        f".sortby('{name}'), or choose one of the pieces."
    )


def _in_order(
    points: Float[np.ndarray, " n"], steps: Float[np.ndarray, " _"], name: str
) -> Float[np.ndarray, " n"]:
    if not points.size or not np.isfinite(points).all():
        raise GridError(
            f"The axis '{name}' must have points, all finite; got {points.size}, of which "
            f"{int(np.sum(~np.isfinite(points)))} are not; correct the coordinate."
        )
    if points.size > 1 and not (math.copysign(1, steps[0]) * steps > 0).all():
        bad = int(np.argmin(math.copysign(1, steps[0]) * steps))
        raise GridError(
            f"The axis '{name}' must rise or fall strictly, but {points[bad]:g} is followed by "
            f"{points[bad + 1]:g} (index {bad}); sort the grid and drop repeated points."
        )
    return points
