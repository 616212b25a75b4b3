"""What the grids on the sphere share."""

import numpy as np
from jaxtyping import Float, Int

from vardax_core.state.axis import GridError, box_numbers, wrapped
from vardax_core.state.grids.base import AbstractGrid, Places
from vardax_core.state.sphere import (
    EARTH_RADIUS_KM,
    KM_PER_DEGREE,
    Numbers,
    arc_between,
    unit_vectors,
)


class AbstractSphericalGrid(AbstractGrid):
    """A grid whose places are latitude and longitude in degrees, and its distances in km along
    great circles."""

    @property
    def unit(self) -> str:
        return "km"

    @property
    def axis_unit(self) -> str:
        return "degrees"

    @property
    def axis_step(self) -> float:
        return KM_PER_DEGREE

    def distance(
        self, first: Float[Numbers, "*#any coordinate"], second: Float[Numbers, "*#any coordinate"]
    ) -> Float[Numbers, "*any"]:
        return EARTH_RADIUS_KM * arc_between(unit_vectors(first), unit_vectors(second))

    def aspect(self) -> float:
        latitudes = self.points()[:, 0]
        middle = (latitudes.min() + latitudes.max()) / 2
        return float(1 / max(np.cos(np.deg2rad(middle)), 0.1))

    def boxes(self, places: Places, side: float) -> Int[np.ndarray, "place coordinate"]:
        longitude = np.asarray(wrapped(places[:, 1], 360.0))
        return box_numbers(np.stack([places[:, 0], longitude], axis=1), side)

    def _straight(self, places: Places) -> Float[np.ndarray, "place straight"]:
        if not np.all(np.abs(places[:, 0]) <= 90):
            raise GridError("The latitudes of places must lie in [-90, 90] degrees.")
        return EARTH_RADIUS_KM * np.asarray(unit_vectors(places))

    def _periods(self) -> Float[np.ndarray, " straight"] | None:
        return None

    def _chord(self, distance: float) -> float:
        angle = distance / EARTH_RADIUS_KM
        return float(2 * EARTH_RADIUS_KM * np.sin(angle / 2)) if angle < np.pi else np.inf

    def _arc(self, chord: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        half = np.minimum(chord / (2 * EARTH_RADIUS_KM), 1.0)
        return np.where(np.isfinite(chord), 2 * EARTH_RADIUS_KM * np.arcsin(half), np.inf)
