"""Synthetic cycles whose calibration is known."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.departures import departures_of, residuals_of
from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.statistics import CycleView, cycle_statistics

CHUNK = 100
"""Cycles computed at once: one shape, so that it is compiled once."""


def view_of(*, mean, spread, ensemble, background_mean, background_spread, **given):
    """A cycle whose background is two members with that mean and spread."""
    half = background_spread / math.sqrt(2)
    return CycleView.of(
        background=jnp.stack([background_mean - half, background_mean + half]),
        members=ensemble,
        mean=mean,
        spread=spread,
        **given,
    )


def cycle_sums(**given):
    return cycle_statistics(view_of(**given))


def linear_cycles(key, *, cycles=200, size=40, members=24, sd=0.2, claimed=1.0):
    """Statistics of cycles whose analysis error is N(0, s^2) with s uniform in (0.5 sd, 1.5 sd) and
    whose claimed spread is `claimed` times s; the background error is twice as large."""
    chunks = [
        _linear_cycles(jax.random.split(part, CHUNK), sd, claimed, size, members)
        for part in jax.random.split(key, -(-cycles // CHUNK))
    ]
    names = chunks[0]
    return {n: np.concatenate([np.asarray(c[n]) for c in chunks])[:cycles] for n in names}


@partial(jax.jit, static_argnames=("size", "members"))
def _linear_cycles(keys, sd, claimed, size, members):
    def one(key):
        keys = jax.random.split(key, 8)
        true_sd = sd * jax.random.uniform(keys[0], (size,), minval=0.5, maxval=1.5)
        spread = claimed * true_sd
        truth = 3 * jax.random.normal(keys[1], (size,))
        mean = truth + true_sd * jax.random.normal(keys[2], (size,))
        draws = jax.random.normal(keys[3], (members, size))
        background_error = 2 * sd * jax.random.normal(keys[4], (size,))
        noise = jax.random.normal(keys[5], (size,))
        gain = 4 * sd**2 / (4 * sd**2 + 1)
        innovation = noise - background_error
        used = jax.random.bernoulli(keys[6], 0.9, (size,))
        return cycle_sums(
            truth=truth,
            weights=jnp.ones_like(truth),
            mean=mean,
            spread=spread,
            ensemble=mean[None] + spread[None] * draws,
            background_mean=truth + background_error,
            background_spread=jnp.broadcast_to(2 * sd, truth.shape),
            departures=departures_of(
                innovation,
                variance=jnp.broadcast_to(4 * sd**2, truth.shape),
                error_sd=jnp.ones_like(truth),
                used=used,
                withheld=~used,
                mean_variance=4 * sd**2 / jnp.sum(used.astype(truth.dtype)),
            ),
            residuals=residuals_of(
                jnp.where(used, (1 - gain) * innovation, truth + noise - mean), variance=spread**2
            ),
            key=keys[7],
        )

    return jax.vmap(one)(keys)


def dates(cycles):
    return np.datetime64("2019-03-01T00", "ns") + np.arange(cycles) * np.timedelta64(3, "h")


def sample(key, **settings):
    statistics = linear_cycles(key, **settings)
    return statistics_dataset(statistics, dates(len(statistics["weight"])), units="K")
