"""What of a state is ranked: its coordinates, projections of it, and quantities of interest."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Quantity = Callable[[Float[Array, "*state"]], Float[Array, ""]]
"""A number that somebody wants to know of a state; it may not depend on the pair."""

RANDOM_DIRECTIONS = 16
"""Random projections; they find what is spread over the whole state."""


def multiscale(x: Float[Array, "*state"]) -> Float[Array, " m"]:
    """Means and differences of neighbouring blocks at all scales, from pairs of neighbours to the
    halves of the state; about 2 n numbers for n points.

    These are the Haar wavelets and their averages. A correlation that is wrong at some distance
    shows in the variance of the means and differences of blocks of that size. Axes are halved in
    turn, the longest first; the first of three axes holds variables, which are not mixed.

    Source: Mallat (1989), doi:10.1109/34.192463
    """
    fixed = 1 if x.ndim == 3 else 0
    found = []
    while any(size > 1 for size in x.shape[fixed:]):
        axis = max(range(fixed, x.ndim), key=lambda a: (x.shape[a], a))
        ahead = jnp.roll(x, -1, axis)
        even = (slice(None),) * axis + (slice(None, None, 2),)
        mean, difference = (x[even] + ahead[even]) / 2, x[even] - ahead[even]
        found += [mean.reshape(-1), difference.reshape(-1)]
        x = mean
    return jnp.concatenate(found) if found else jnp.zeros((0,), x.dtype)


def multiscale_names(shape: tuple[int, ...]) -> list[str]:
    """What each number of `multiscale` is."""
    fixed = 1 if len(shape) == 3 else 0
    sizes, block, names = list(shape), [1] * len(shape), []
    while any(size > 1 for size in sizes[fixed:]):
        axis = max(range(fixed, len(sizes)), key=lambda a: (sizes[a], a))
        sizes[axis] = -(-sizes[axis] // 2)
        block[axis] *= 2
        of = "x".join(str(b) for b in block[fixed:])
        for what in ("mean", "difference"):
            names += [f"{what} of {of} points, block {k}" for k in range(math.prod(sizes))]
    return names


def _largest(x: Float[Array, "*state"]) -> Float[Array, ""]:
    return jnp.max(x)


def _smallest(x: Float[Array, "*state"]) -> Float[Array, ""]:
    return jnp.min(x)


def _root_mean_square(x: Float[Array, "*state"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(x**2))


def _roughness(x: Float[Array, "*state"]) -> Float[Array, ""]:
    steps = [jnp.mean((x - jnp.roll(x, 1, axis)) ** 2) for axis in range(x.ndim)]
    return jnp.sqrt(jnp.sum(jnp.stack(steps)))


QUANTITIES: Mapping[str, Quantity] = {
    "mean": jnp.mean,
    "largest": _largest,
    "smallest": _smallest,
    "root mean square": _root_mean_square,
    "roughness": _roughness,
}
"""Quantities of interest that every state has."""


def pool_distance(pool: Float[Array, "element *state"]) -> Float[Array, " element"]:
    """Root mean square distance of every element of a pool from the mean of the pool; a spread
    that is wrong anywhere puts the truth too far out or too far in."""
    anomalies = pool - jnp.mean(pool, axis=0, keepdims=True)
    return jnp.sqrt(jnp.mean(anomalies**2, axis=tuple(range(1, pool.ndim))))


def reference_distance(
    pool: Float[Array, "element *state"], noise: Float[Array, "*state"]
) -> Float[Array, " element"]:
    """Root mean square distance of every element from a random point around the pool.

    The point is drawn anew for every pair, from the pool's mean and spread, in which truth and
    draws play the same part.
    """
    mean = jnp.mean(pool, axis=0)
    sd = jnp.std(pool, axis=0)
    anomalies = pool - (mean + sd * noise)[None]
    return jnp.sqrt(jnp.mean(anomalies**2, axis=tuple(range(1, pool.ndim))))
