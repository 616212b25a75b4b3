"""Proper scores at every point, and where a truth lies in what was forecast of it."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int, PRNGKeyArray

LARGEST_PAIRED_ENSEMBLE = 128
"""Up to this size XLA adds all pairs of members faster than it sorts them (5 times at 64)."""
LARGEST_PAIRED_STATES = 1 << 20
"""Differences of all pairs of members that are held at once, in numbers."""


def gaussian_crps(
    truth: Float[Array, "*state"], mean: Float[Array, "*state"], spread: Float[Array, "*state"]
) -> Float[Array, "*state"]:
    """Continuous ranked probability score of N(mean, spread^2) at every point, in the unit of the
    state; the absolute error where the spread is zero.

    Source: Gneiting et al. (2005), doi:10.1175/MWR2904.1, equation 5
    """
    error = truth - mean
    z = standardised(error, spread)
    density = jnp.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return error * (2 * ndtr(z) - 1) + spread * (2 * density - 1 / math.sqrt(math.pi))


def fair_crps(
    truth: Float[Array, "*state"], ensemble: Float[Array, "member *state"]
) -> Float[Array, "*state"]:
    """Fair continuous ranked probability score of an ensemble at every point, in the unit of the
    state: the score whose expectation does not depend on the number of members M >= 2.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)); the double sum by sorting, in O(M log M),
    above `LARGEST_PAIRED_ENSEMBLE` members, and pair by pair up to it.

    Source: Ferro (2014), doi:10.1002/qj.2270
    """
    members = ensemble.shape[0]
    errors = ensemble - truth[None]
    if members > LARGEST_PAIRED_ENSEMBLE:
        order = 2 * jnp.arange(members, dtype=errors.dtype) + 1 - members
        pairs = 2 * jnp.tensordot(order, jnp.sort(errors, axis=0), axes=1)
    else:
        pairs = jnp.sum(jnp.abs(errors[None] - errors[:, None]), axis=(0, 1))
    return jnp.mean(jnp.abs(errors), axis=0) - pairs / (2 * members * (members - 1))


def fair_energy_score(
    truth: Float[Array, "*state"],
    ensemble: Float[Array, "member *state"],
    weights: Float[Array, "*state"] | None = None,
) -> Float[Array, ""]:
    """Fair energy score of an ensemble, the CRPS of whole states, in the unit of the state:
    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)) with the (weighted) Euclidean norm.

    Unlike a sum of the points' CRPS it also feels correlations. For M >= 2.

    Source: Gneiting and Raftery (2007), doi:10.1198/016214506000001437, equation 22; fair as in
        Ferro (2014), doi:10.1002/qj.2270
    """
    members = ensemble.shape[0]
    root = jnp.ones_like(truth) if weights is None else jnp.sqrt(weights)
    errors = ((ensemble - truth[None]) * root[None]).reshape(members, -1)
    norms = jnp.linalg.norm(errors, axis=1)

    def distances(one: Array) -> Array:
        return jnp.sum(jnp.linalg.norm(errors - one[None], axis=1))

    if members * errors.size > LARGEST_PAIRED_STATES:
        pairs = jnp.sum(jax.lax.map(distances, errors))
    else:
        pairs = jnp.sum(jax.vmap(distances)(errors))
    return jnp.mean(norms) - pairs / (2 * members * (members - 1))


def truth_rank(
    truth: Float[Array, "*state"], ensemble: Float[Array, "member *state"], *, key: PRNGKeyArray
) -> Int[Array, "*state"]:
    """Rank of the truth among the members, 0 to M; ties are broken at random.

    Source: Hamill (2001), doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2
    """
    below = jnp.sum(ensemble < truth[None], axis=0, dtype=jnp.int32)
    ties = jnp.sum(ensemble == truth[None], axis=0, dtype=jnp.int32)
    return below + jax.random.randint(key, truth.shape, 0, ties + 1, jnp.int32)


def standardised(
    error: Float[Array, "*state"], spread: Float[Array, "*state"]
) -> Float[Array, "*state"]:
    """Error over spread; where the spread is zero, infinite with the sign of the error, or zero."""
    positive = spread > 0
    degenerate = jnp.where(error == 0, 0.0, jnp.copysign(jnp.inf, error))
    return jnp.where(positive, error / jnp.where(positive, spread, 1.0), degenerate)
