"""Observing networks that move: tracks and swaths in space, and when their points are seen."""

import numpy as np
from jaxtyping import Float


def track(
    start: tuple[float, float], heading: float, spacing: float, n_points: int
) -> Float[np.ndarray, "obs 2"]:
    """Points `(y, x)` of a straight ground track.

    Arguments:
        start: first point, `(y, x)`.
        heading: direction of flight in radians from the x axis towards the y axis.
        spacing: distance between points, unit of the coordinates.
        n_points: number of points.

    Raises:
        ValueError: if the spacing is not positive or there is no point.
    """
    if not spacing > 0 or n_points < 1:
        raise ValueError(
            f"track: spacing must be > 0 and n_points >= 1, got {spacing} and {n_points}."
        )
    along = spacing * np.arange(n_points)
    return np.asarray(start) + along[:, None] * np.array([np.sin(heading), np.cos(heading)])


def swath(
    centre: Float[np.ndarray, "along 2"], half_width: float, spacing: float
) -> Float[np.ndarray, "along across 2"]:
    """Points across a track on both sides of it, as a wide-swath instrument sees them.

    Arguments:
        centre: points `(y, x)` of the ground track, at least two.
        half_width: distance from the track to the edge of the swath.
        spacing: distance between points across the track.

    Raises:
        ValueError: if the track has one point, or spacing or half-width is not positive.
    """
    if len(centre) < 2 or not spacing > 0 or not half_width > 0:
        raise ValueError(
            f"swath: needs a track of 2 points and positive lengths, got {len(centre)} points, "
            f"half_width {half_width}, spacing {spacing}."
        )
    direction = np.gradient(np.asarray(centre, float), axis=0)
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    normal = np.stack([direction[:, 1], -direction[:, 0]], axis=1)
    count = int(half_width // spacing)
    across = spacing * np.arange(-count, count + 1)
    return centre[:, None, :] + across[None, :, None] * normal[:, None, :]
