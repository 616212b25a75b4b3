"""Small problems of local interpolation, and their dense answers."""

import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets
from vardax_core.state.neighbours import space_time_neighbours

COVARIANCE = SpaceTimeCovariance.of((1.5, 80.0, 600.0), (0.5, 400.0, 3000.0))
SPEED = 0.1


def problem(seed=0, count=40, targets=25, dtype=jnp.float64):
    """Targets and records in a box of 500 x 500 x 100, with platforms and local variances."""
    rng = np.random.default_rng(seed)
    places, at = rng.uniform(0, 500, (count, 3)), rng.uniform(0, 500, (targets, 3))
    records = LocalRecords.of(
        jnp.asarray(rng.normal(size=count), dtype),
        jnp.asarray(rng.uniform(0.1, 0.6, count), dtype),
        jnp.asarray(places, dtype),
        minutes=jnp.asarray(rng.uniform(-900, 300, count), dtype),
        platform=jnp.asarray(rng.integers(0, count // 4, count), jnp.int32),
        shared_sd=jnp.full(count, 0.4, dtype),
        scale=jnp.asarray(rng.uniform(0.5, 2, count), dtype),
    )
    there = LocalTargets.at(
        jnp.asarray(at, dtype), scale=jnp.asarray(rng.uniform(0.5, 2, targets), dtype)
    )
    return there, records


def neighbours(targets, records, most=40, **kwargs):
    found = space_time_neighbours(
        np.asarray(targets.straight, np.float64),
        np.asarray(targets.minutes, np.float64),
        np.asarray(records.straight, np.float64),
        np.asarray(records.minutes, np.float64),
        speed=SPEED,
        most=most,
        usable=np.asarray(records.mask),
        **kwargs,
    )
    return jnp.asarray(found.indices), jnp.asarray(found.near)


def matrix(covariance, first, second):
    """Covariances of all pairs, by their definition."""
    columns = (covariance.variances, covariance.lengths, covariance.timescales)
    apart = cdist(np.asarray(first.straight), np.asarray(second.straight))
    lag = np.abs(np.subtract.outer(np.asarray(first.minutes), np.asarray(second.minutes)))
    total = np.zeros_like(apart)
    for variance, length, timescale in zip(*map(np.asarray, columns), strict=True):
        r = np.sqrt(3) * apart / length
        total += variance * (1 + r) * np.exp(-r) * np.exp(-lag / timescale)
    return total * np.outer(first.scale, second.scale)


def dense(covariance, targets, records):
    """Mean and variance of the targets given all usable records, in double precision."""
    used = np.asarray(records.mask)
    platform = np.asarray(records.platform)
    shared = np.asarray(records.shared_sd)
    s = matrix(covariance, records, records) + np.diag(np.asarray(records.error_sd) ** 2)
    s += np.where(platform[:, None] == platform[None], np.outer(shared, shared), 0.0)
    g = matrix(covariance, targets, records)[:, used]
    weights = np.linalg.solve(s[np.ix_(used, used)], g.T).T
    prior = np.diagonal(matrix(covariance, targets, targets))
    mean = weights @ np.asarray(records.innovations)[used]
    return mean, prior - np.sum(weights * g, axis=1)
