"""Pairs of what stations see around a point and of the field there, from fields of the past."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.amortized.local_views import local_views
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets
from vardax_core.models.climatology import Climatology, slot_of
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.neighbours import space_time_neighbours
from vardax_core.training.record_pairs import RecordPairs, joined

DENSITIES = (0.5, 1.0, 1.0, 2.0)
"""Stations of each network that is drawn, relative to those of the recipe."""
TARGETS = 1500
"""Of each network."""
MOST_MISSING = 0.5
"""Largest share of the stations around a target that say nothing."""
UNUSUAL = 0.4
"""Standard deviation of the logarithm of a factor on the anomalies around a target, where weather
is drawn that the fields do not have."""


class PastFields(NamedTuple):
    """Fields of a training period, and what was learned from them.

    Attributes:
        fields: states, NaN where missing.
        times: of the states, minutes since `MINUTES_EPOCH`.
        grid: of the states.
        climatology: of the states.
        covariance: of anomalies over their local standard deviation.
        scale: that standard deviation; 0 where nothing is known.
    """

    fields: Float[np.ndarray, "time *state"]
    times: Int[np.ndarray, " time"]
    grid: AbstractGrid
    climatology: Climatology
    covariance: SpaceTimeCovariance
    scale: Float[np.ndarray, "*state"]

    @property
    def inside(self) -> Int[np.ndarray, " point"]:
        """Flat index of the points of which something is known."""
        return np.flatnonzero(self.scale > 0)

    @property
    def place(self) -> Float[np.ndarray, "*state"]:
        """Logarithm of the local standard deviation over its typical value; 0 where none is."""
        known = self.scale > 0
        typical = np.median(self.scale[known])
        return np.where(known, np.log(np.maximum(self.scale, 0.1 * typical) / typical), 0.0)

    def anomalies(
        self, rows: Int[np.ndarray, "*any"], points: Int[np.ndarray, "*any"]
    ) -> Float[np.ndarray, "*any"]:
        """Departures from the climatology; NaN where a row is -1, or the field missing."""
        count, mean = len(self.times), np.asarray(self.climatology.mean)
        known = np.maximum(rows, 0)
        slots = slot_of(self.times[known], len(mean))
        found = self.fields.reshape(count, -1)[known, points]
        return np.where(rows >= 0, found - mean.reshape(len(mean), -1)[slots, points], np.nan)

    def rows_at(self, minutes: Int[np.ndarray, "*any"]) -> Int[np.ndarray, "*any"]:
        """Number of the state at a time; -1 where there is none."""
        near = np.minimum(np.searchsorted(self.times, minutes), len(self.times) - 1)
        return np.where(self.times[near] == minutes, near, -1)


class Windows(NamedTuple):
    """How an analysis looks at stations.

    Attributes:
        offsets: minutes of the times of a window from the analysis, the last being 0.
        radius, most, pace: of the search around a point, see `Search`.
        stations: number of them.
        error_sd: smallest and largest standard deviation of their errors, unit of the state.
        error_factor: on those that an analysis is told.
    """

    offsets: Int[np.ndarray, " row"]
    radius: float
    most: int
    pace: float
    stations: int
    error_sd: tuple[float, float]
    error_factor: float


class StationPairs(NamedTuple):
    """Pairs, and where and when their targets are.

    Attributes:
        pairs: views of stations, and the departure of the field from its climatology.
        rows: number of each target's state.
        points: flat index of each target's point.
    """

    pairs: RecordPairs
    rows: Int[np.ndarray, " target"]
    points: Int[np.ndarray, " target"]


def station_pairs(
    known: PastFields, windows: Windows, *, seed: int, unusual: float = 0.0
) -> StationPairs:
    """Draw networks of stations, and points and states at which they are looked at.

    Networks have half, as many and twice as many stations as the recipe; around a target up to
    half of them are missing. Work and memory do not grow with the grid.

    Arguments:
        known: the fields.
        windows: how an analysis looks at stations.
        seed: of all that is drawn.
        unusual: standard deviation of the logarithm of a factor on the anomalies of each target
            and of the stations around it, see `UNUSUAL`; 0 for the fields as they are.

    Raises:
        ValueError: if no state and point has a value.
    """
    parts = [
        _of_network(known, windows, density, unusual, np.random.default_rng([seed, number]))
        for number, density in enumerate(DENSITIES)
    ]
    pairs, rows, points = zip(*parts, strict=True)
    return StationPairs(joined(list(pairs)), np.concatenate(rows), np.concatenate(points))


def _of_network(
    known: PastFields,
    windows: Windows,
    density: float,
    unusual: float,
    rng: np.random.Generator,
) -> StationPairs:
    inside = known.inside
    count = int(np.clip(round(density * windows.stations), 1, inside.size))
    stations = np.sort(rng.choice(inside, count, replace=False))
    rows, points = _targets(known, rng)
    straight = known.grid.embedded(known.grid.points())
    places = np.tile(straight[stations], (windows.offsets.size, 1))
    found = space_time_neighbours(
        straight[points],
        np.zeros(points.size),
        places,
        np.repeat(windows.offsets, count).astype(float),
        speed=windows.pace,
        most=windows.most,
        radius=windows.radius,
    )
    near_points, offsets = stations[found.indices % count], windows.offsets[found.indices // count]
    seen_rows = known.rows_at(known.times[rows][:, None] + offsets)
    factor = np.exp(unusual * rng.normal(size=points.size))
    seen = factor[:, None] * known.anomalies(seen_rows, near_points)
    missing = MOST_MISSING * rng.random((points.size, 1))
    near = found.near & np.isfinite(seen) & (rng.random(seen.shape) >= missing)
    error_sd = rng.uniform(*windows.error_sd)
    seen = np.where(near, seen + error_sd * rng.normal(size=seen.shape), 0.0)
    scale = known.scale.reshape(-1)
    records = LocalRecords.of(
        jnp.zeros(len(places), jnp.float32),
        jnp.full(len(places), windows.error_factor * error_sd, jnp.float32),
        jnp.asarray(places, jnp.float32),
        minutes=jnp.asarray(np.repeat(windows.offsets, count), jnp.float32),
        platform=jnp.asarray(np.tile(np.arange(count), windows.offsets.size), jnp.int32),
        scale=jnp.asarray(np.tile(scale[stations], windows.offsets.size), jnp.float32),
    )
    targets = LocalTargets.at(
        jnp.asarray(straight[points], jnp.float32), scale=jnp.asarray(scale[points], jnp.float32)
    )
    pairs = _pairs(
        targets,
        records,
        jnp.asarray(found.indices, jnp.int32),
        jnp.asarray(near),
        known.covariance,
        jnp.asarray(seen, jnp.float32),
        jnp.asarray(known.place.reshape(-1)[points], jnp.float32),
        jnp.asarray(factor * known.anomalies(rows, points), jnp.float32),
    )
    return StationPairs(pairs, rows, points)


def _targets(
    known: PastFields, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " target"], Int[np.ndarray, " target"]]:
    """States and points at random where the field has a value."""
    rows = rng.integers(0, len(known.times), 4 * TARGETS)
    points = rng.choice(known.inside, 4 * TARGETS)
    there = np.flatnonzero(np.isfinite(known.anomalies(rows, points)))
    if not there.size:
        raise ValueError(
            f"station_pairs: none of {rows.size} values drawn from {len(known.times)} states is "
            "finite; look at what is missing in the training period."
        )
    chosen = np.resize(there, TARGETS)
    return rows[chosen], points[chosen]


@eqx.filter_jit
def _pairs(
    targets: LocalTargets,
    records: LocalRecords,
    indices: Int[Array, "target near"],
    near: Array,
    covariance: SpaceTimeCovariance,
    seen: Float[Array, "target near"],
    place: Float[Array, " target"],
    value: Float[Array, " target"],
) -> RecordPairs:
    views = local_views(targets, records, indices, near, covariance, seen)
    return RecordPairs(views, place, value, jnp.zeros_like(value))
