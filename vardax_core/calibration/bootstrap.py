"""Confidence intervals of scores of correlated cycles."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

SHORTEST_PERIOD = 8
"""Fewer cycles than this give no interval."""
AT_ONCE = 32
"""Resamples that are in memory together."""


def correlation_time(series: Float[np.ndarray, " time"]) -> float:
    """Integrated autocorrelation time in steps: 1 for independent values, larger for correlated
    ones, NaN for fewer than two values or a constant.

    1 + 2 sum_k rho_k, the sum ending before the first rho_k below zero, at lag n / 4 at most.

    Source: Geyer (1992), doi:10.1214/ss/1177011137
    """
    n = len(series)
    anomaly = series - np.mean(series) if n else series
    variance = np.sum(anomaly**2)
    if n < 2 or not variance > 0:
        return float("nan")
    power = np.abs(np.fft.rfft(anomaly, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[1 : max(2, n // 4)] / variance
    below = np.flatnonzero(correlation < 0)
    end = below[0] if below.size else correlation.size
    return float(1 + 2 * np.sum(correlation[:end]))


def block_length(series: Float[np.ndarray, " time"]) -> int:
    """Cycles in a block: twice the correlation time, n^(1/3) at least, n / 4 at most."""
    n = len(series)
    tau = correlation_time(series)
    wanted = max(n ** (1 / 3), 2 * tau if np.isfinite(tau) else 1.0)
    return int(max(1, min(np.ceil(wanted), n // 4)))


def resample_counts(
    cycles: int, block: int, *, resamples: int, key: PRNGKeyArray
) -> Iterator[Float[np.ndarray, "resample time"]]:
    """How often each cycle occurs in each resample of a circular block bootstrap, so that the
    resampled sums are a matrix product; every row adds up to `cycles`.

    The resamples come a few at a time: for ten years of cycles all of them are half a gigabyte.

    Source: Politis and Romano (1992), "A circular block-resampling procedure for stationary
    data"; Kuensch (1989), doi:10.1214/aos/1176347265
    """
    blocks = -(-cycles // block)
    # numpy draws from the key's bits: jax would compile anew for every length of a period.
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    lengths = np.full(blocks, block)
    lengths[-1] = cycles - block * (blocks - 1)
    for done in range(0, resamples, AT_ONCE):
        count = min(AT_ONCE, resamples - done)
        starts = generator.integers(0, cycles, (count, blocks))
        steps = np.zeros((count, 2 * cycles + 1))
        rows = np.arange(count)[:, None]
        np.add.at(steps, (rows, starts), 1.0)
        np.add.at(steps, (rows, starts + lengths), -1.0)
        covered = np.cumsum(steps, axis=1, out=steps)
        covered[:, :cycles] += covered[:, cycles : 2 * cycles]
        yield covered[:, :cycles]
