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
        if x.shape[axis] % 2:
            first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
            x = jnp.concatenate([x, first], axis=axis)
        halves = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        paired = x.reshape(halves)
        even, odd = (jax.lax.index_in_dim(paired, k, axis + 1, keepdims=False) for k in (0, 1))
        # Without the barrier XLA computes every level anew from the first.
        x, difference = jax.lax.optimization_barrier(((even + odd) / 2, even - odd))
        found += [x.reshape(-1), difference.reshape(-1)]
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
    even = x.shape[-1] // 2 * 2
    pairs = x[..., :even].reshape(-1, 2)
    return jnp.sqrt(jnp.mean((pairs[:, 0] - pairs[:, 1]) ** 2)) if even else jnp.zeros((), x.dtype)


QUANTITIES: Mapping[str, Quantity] = {
    "mean": jnp.mean,
    "largest": _largest,
    "smallest": _smallest,
    "root mean square": _root_mean_square,
    "roughness": _roughness,
}
"""Quantities of interest that every state has."""


def distance(
    pool: Float[Array, "element *state"], point: Float[Array, "*state"]
) -> Float[Array, " element"]:
    """Root mean square distance of every element of a pool from a point."""
    anomalies = pool - point[None]
    return jnp.sqrt(jnp.mean(anomalies**2, axis=tuple(range(1, pool.ndim))))


def pool_distance(pool: Float[Array, "element *state"]) -> Float[Array, " element"]:
    """Root mean square distance of every element of a pool from the mean of the pool; a spread
    that is wrong anywhere puts the truth too far out or too far in."""
    return distance(pool, jnp.mean(pool, axis=0))
