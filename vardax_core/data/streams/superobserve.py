"""Superobservations: the pixels of an image averaged in cells of the state's grid."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from vardax_core.data.errors import RecipeError
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.rows import Reader
from vardax_core.data.streams.source import Superobservation
from vardax_core.observations.quality import QualityCode
from vardax_core.state.axis import wrapped
from vardax_core.state.coordinates import LONGITUDE
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import counted

_EXTREMES = ("arrival", "row")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The mesh on which pixels are averaged.

    Attributes:
        mesh: its points are in the middle of the cells.
        rule: how pixels are averaged.
        circle: length of a turn for each coordinate, None on a line.
        representativeness: standard deviation that pixels of a cell share.
    """

    mesh: AbstractGrid
    rule: Superobservation
    circle: tuple[float | None, ...]
    representativeness: float

    @classmethod
    def on(
        cls,
        grid: AbstractGrid,
        rule: Superobservation,
        circle: tuple[float | None, ...],
        representativeness: float,
    ) -> "Cells":
        """Make cells of `rule.points` points of a grid along each side.

        Raises:
            RecipeError: there are less than two cells along an axis.
        """
        middles = [np.arange(rule.points // 2, size, rule.points) for size in grid.shape]
        if min(map(len, middles)) < 2:
            raise RecipeError(
                f"superobserve.points: cells of {rule.points} points leave less than two along an "
                f"axis of the grid, which has {grid.shape} points; lower it."
            )
        mesh = dataclasses.replace(grid, mask=None).taken(*middles)
        return cls(mesh, rule, circle, representativeness)

    def sums(self, pixels: Records) -> dict[str, np.ndarray]:
        """Add up the pixels that are used, for each time and cell."""
        cell = self.mesh.cells(pixels.place)
        use = (pixels.code == QualityCode.KEPT) & (cell >= 0)
        part, cell = pixels.taken(use), cell[use]
        own = np.maximum(part.error_sd**2 - self.representativeness**2, 0.0)
        middle = self.mesh.points()[cell]
        offset = np.stack(
            [
                np.asarray(wrapped(part.place[:, n] - middle[:, n], circle))
                for n, circle in enumerate(self.circle)
            ],
            axis=1,
        )
        return added(
            {
                "time": part.time,
                "cell": cell,
                "count": np.ones(len(part)),
                "value": part.value,
                "variance": own,
                "offset": offset,
                "arrival": part.arrival,
                "row": part.row,
            }
        )

    def records(self, sums: dict[str, np.ndarray], like: Records) -> Records:
        """Turn sums into records: means at the mean place of their pixels.

        With errors of standard deviation s that correlate by r between two of n pixels, that of
        the mean is s sqrt(r + (1 - r) / n); the representativeness error does not shrink.
        """
        enough = sums["count"] >= self.rule.fewest
        sums = {name: column[enough] for name, column in sums.items()}
        count, shared = sums["count"], self.rule.correlation
        place = self.mesh.points()[sums["cell"]] + sums["offset"] / count[:, None]
        for n, circle in enumerate(self.circle):
            if circle is not None:
                place[:, n] = np.round(np.mod(place[:, n] + circle / 2, circle) - circle / 2, 9)
        variance = sums["variance"] / count * (shared + (1 - shared) / count)
        size = count.size
        return dataclasses.replace(
            like,
            time=sums["time"],
            place=place,
            level=np.full(size, np.nan),
            value=sums["value"] / count,
            error_sd=np.sqrt(variance + self.representativeness**2),
            platform=np.zeros(size, np.int32),
            platforms=(like.stream,),
            code=np.zeros(size, np.int8),
            arrival=sums["arrival"],
            file=np.zeros(size, np.int32),
            row=sums["row"],
        )


def added(*parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add sums of the same time and cell; arrivals are the latest, rows the first."""
    (first, *others) = parts
    columns = {
        name: np.concatenate([first[name], *(part[name] for part in others)]) for name in first
    }
    order = np.lexsort((columns["cell"], columns["time"]))
    columns = {name: column[order] for name, column in columns.items()}
    time, cell = columns["time"], columns["cell"]
    if not time.size:
        return columns
    begins = np.r_[0, np.flatnonzero((time[1:] != time[:-1]) | (cell[1:] != cell[:-1])) + 1]
    totals = {
        name: np.add.reduceat(column, begins)
        for name, column in columns.items()
        if name not in ("time", "cell", *_EXTREMES)
    }
    arrival = np.maximum.reduceat(columns["arrival"].astype(np.int64), begins)
    return totals | {
        "time": time[begins],
        "cell": cell[begins],
        "arrival": arrival.astype("datetime64[ns]"),
        "row": np.minimum.reduceat(columns["row"], begins),
    }


def superobserved(
    reader: Reader, rule: Superobservation, pixels: Iterable[Records], file: str
) -> Iterator[Records]:
    """Average all pixels of a file in cells of the grid of the states.

    Raises:
        RecipeError: there is no grid, or it is too small.
    """
    if reader.grid is None:
        raise RecipeError(
            f"stream '{reader.stream.name}': superobserve needs the grid of the states; give one."
        )
    circle = tuple(
        360.0 if n == reader.spherical.get(LONGITUDE) else None for n in range(len(reader.dims))
    )
    cells = Cells.on(reader.grid, rule, circle, reader.stream.representativeness)
    sums = [cells.sums(part) for part in pixels if len(part)]
    if sums:
        none = Records.none(reader.stream.name, reader.dims)
        yield cells.records(added(*sums), dataclasses.replace(none, files=(file,)))
        reader.tally.note(
            f"pixels are averaged in cells of {counted(rule.points, 'grid point')} a side"
        )
