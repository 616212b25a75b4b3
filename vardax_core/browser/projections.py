"""The round earth on a flat page: maps that keep areas, a globe, and the poles."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, "*any"]
Pair = tuple[Numbers, Numbers]

FLAT = "flat"
PROJECTIONS: Mapping[str, str] = {
    FLAT: "longitude and latitude",
    "equal-area": "equal areas",
    "globe": "globe",
    "north": "north pole",
    "south": "south pole",
}
"""Ways to draw a map, and what they are called."""
WIDE = 170.0
"""Degrees of longitude; a wider map with equal areas is an ellipse."""
EVERYWHERE = 340.0
"""Degrees of longitude of a map of the whole earth, at least."""
POLAR = 60.0
"""Degrees from a pole that its map reaches."""
HORIZON = 89.5
"""Degrees from its middle that a globe shows."""
TURNS = 12
"""Newton steps of Mollweide's angle, beyond what double precision needs."""


class AbstractProjection(ABC):
    """A way to draw the earth; lengths on the page are in radii of the earth."""

    @abstractmethod
    def forward(self, longitude: Numbers, latitude: Numbers) -> Pair:
        """Where places lie on the page, NaN where they are not on it.

        Arguments:
            longitude, latitude: degrees.
        """

    @abstractmethod
    def inverse(self, x: Numbers, y: Numbers) -> Pair:
        """Longitude and latitude of points of the page, NaN where there is no place."""


@dataclass(frozen=True)
class Azimuthal(AbstractProjection):
    """The earth around a place: as it is seen from far away, or with equal areas.

    Attributes:
        longitude, latitude: of the middle, degrees.
        reach: degrees from the middle that are shown; less than 180.
        equal_area: Lambert's projection, else the orthographic one.

    Source: Snyder (1987), Map projections: a working manual, doi:10.3133/pp1395, chapters 20, 24.
    """

    longitude: float
    latitude: float
    reach: float
    equal_area: bool

    def forward(self, longitude: Numbers, latitude: Numbers) -> Pair:
        east, north = np.deg2rad(longitude - self.longitude), np.deg2rad(latitude)
        middle = np.deg2rad(self.latitude)
        x = np.cos(north) * np.sin(east)
        y = np.cos(middle) * np.sin(north) - np.sin(middle) * np.cos(north) * np.cos(east)
        apart = np.sin(middle) * np.sin(north) + np.cos(middle) * np.cos(north) * np.cos(east)
        shown = apart >= np.cos(np.deg2rad(self.reach))
        stretch = np.sqrt(2 / (1 + np.where(shown, apart, 1.0))) if self.equal_area else 1.0
        return np.where(shown, x * stretch, np.nan), np.where(shown, y * stretch, np.nan)

    def inverse(self, x: Numbers, y: Numbers) -> Pair:
        middle, far = np.deg2rad(self.latitude), np.hypot(x, y)
        most = 2 * np.sin(np.deg2rad(self.reach) / 2) if self.equal_area else 1.0
        inside = far <= min(most, np.inf if self.equal_area else np.sin(np.deg2rad(self.reach)))
        kept = np.where(inside, far, 0.0)
        apart = 2 * np.arcsin(kept / 2) if self.equal_area else np.arcsin(kept)
        share = np.divide(np.sin(apart), kept, out=np.ones_like(kept), where=kept > 0)
        sine = np.cos(apart) * np.sin(middle) + y * share * np.cos(middle)
        north = np.arcsin(np.clip(np.where(inside, sine, 0.0), -1.0, 1.0))
        east = np.arctan2(x * share, np.cos(middle) * np.cos(apart) - y * share * np.sin(middle))
        longitude = np.rad2deg(east) + self.longitude
        return np.where(inside, longitude, np.nan), np.where(inside, np.rad2deg(north), np.nan)


@dataclass(frozen=True)
class Mollweide(AbstractProjection):
    """The whole earth in an ellipse, with equal areas.

    Attributes:
        longitude: of the middle, degrees.

    Source: Snyder (1987), doi:10.3133/pp1395, chapter 31.
    """

    longitude: float

    def forward(self, longitude: Numbers, latitude: Numbers) -> Pair:
        east = np.mod(longitude - self.longitude + 180, 360) - 180
        target = np.pi * np.sin(np.deg2rad(latitude))
        angle = np.deg2rad(latitude) * 0.9
        for _ in range(TURNS):
            slope = np.maximum(2 + 2 * np.cos(2 * angle), 1e-9)
            angle = angle - (2 * angle + np.sin(2 * angle) - target) / slope
        angle = np.clip(angle, -np.pi / 2, np.pi / 2)
        x = 2 * np.sqrt(2) / 180 * east * np.cos(angle)
        return x, np.sqrt(2) * np.sin(angle)

    def inverse(self, x: Numbers, y: Numbers) -> Pair:
        sine = y / np.sqrt(2)
        inside = np.abs(sine) < 1
        angle = np.arcsin(np.where(inside, sine, 0.0))
        east = 180 * x / (2 * np.sqrt(2) * np.cos(angle))
        latitude = np.rad2deg(np.arcsin((2 * angle + np.sin(2 * angle)) / np.pi))
        inside &= np.abs(east) <= 180
        return np.where(inside, east + self.longitude, np.nan), np.where(inside, latitude, np.nan)


def usual_middle(bounds: tuple[float, float, float, float]) -> float:
    """The longitude in the middle of a map, from -180 to 180; of the whole earth, Greenwich's."""
    left, _, right, _ = bounds
    if right - left > EVERYWHERE:
        return 0.0
    return float(np.mod((left + right) / 2 + 180, 360) - 180)


def projection_of(
    name: str, bounds: tuple[float, float, float, float], middle: float | None = None
) -> AbstractProjection | None:
    """The projection of a name, about the middle of a map; None for the flat one.

    Arguments:
        name: a key of `PROJECTIONS`.
        bounds: left, bottom, right and top edge of the flat map, degrees.
        middle: longitude that stands in the middle, or points down from the north pole; None for
            the usual one.
    """
    left, bottom, right, top = bounds
    longitude = usual_middle(bounds) if middle is None else middle
    match name:
        case "globe":
            return Azimuthal(longitude, (bottom + top) / 2, HORIZON, False)
        case "north":
            return Azimuthal(longitude, 90.0, POLAR, True)
        case "south":
            return Azimuthal(longitude, -90.0, POLAR, True)
        case "equal-area" if right - left > WIDE:
            return Mollweide(longitude)
        case "equal-area":
            return Azimuthal(longitude, (bottom + top) / 2, 179.0, True)
        case _:
            return None
