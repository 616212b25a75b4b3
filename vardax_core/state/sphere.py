"""Places on the sphere: unit vectors, arcs and chords."""

import types

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EARTH_RADIUS_KM = 6371.0
KM_PER_DEGREE = EARTH_RADIUS_KM * np.pi / 180
"""Length of one degree of a great circle."""

Numbers = Array | np.ndarray


def numpy_of(*arrays: Numbers) -> types.ModuleType:
    """Give `jax.numpy` if any of the arrays is JAX's, else `numpy` (and so double precision)."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def unit_vectors(degrees: Float[Numbers, "*any 2"]) -> Float[Numbers, "*any 3"]:
    """Turn latitude and longitude in degrees into vectors of length one."""
    xp = numpy_of(degrees)
    latitude, longitude = xp.deg2rad(degrees[..., 0]), xp.deg2rad(degrees[..., 1])
    flat = xp.cos(latitude)
    return xp.stack([flat * xp.cos(longitude), flat * xp.sin(longitude), xp.sin(latitude)], axis=-1)


def arc_between(
    first: Float[Numbers, "*#any 3"], second: Float[Numbers, "*#any 3"]
) -> Float[Numbers, "*any"]:
    """Measure the angle in radians between unit vectors, exact near 0 and near a half circle.

    Source: Kahan (2006), How futile are mindless assessments of roundoff, section 12.
    """
    xp = numpy_of(first, second)
    apart = sum((first[..., k] - second[..., k]) ** 2 for k in range(3))
    along = sum((first[..., k] + second[..., k]) ** 2 for k in range(3))
    return 2 * xp.arctan2(xp.sqrt(apart), xp.sqrt(along))
