"""Pairs of a posterior that is known, and the faults that are planted in it."""

import numpy as np

from vardax_core.calibration.gates.context import Pairs

SIZE, DRAWS, PAIRS = 40, 15, 500
SHARED = 0.8
"""Share of the variance that the points of a block of four have in common."""


def correlated(rng, *shape):
    """Standard normal points, correlated in blocks of four."""
    blocks = np.repeat(rng.standard_normal((*shape[:-1], shape[-1] // 4)), 4, axis=-1)
    own = rng.standard_normal(shape)
    return np.sqrt(SHARED) * blocks + np.sqrt(1 - SHARED) * own


def log_density(z):
    """Log-density of `correlated` up to a constant."""
    blocks = z.reshape(*z.shape[:-1], -1, 4)
    own = np.sum((blocks - blocks.mean(axis=-1, keepdims=True)) ** 2, axis=(-2, -1))
    common = np.sum(blocks.mean(axis=-1) ** 2, axis=-1)
    return -0.5 * (own / (1 - SHARED) + 4 * common / (1 + 3 * SHARED))


def make(seed, fault="exact", *, n=PAIRS, size=SIZE, draws=DRAWS, oracle=False):
    """Pairs with prior variance 2 and posterior variance 1, and the regime of each."""
    rng = np.random.default_rng(seed)
    mean = correlated(rng, n, size)
    truth = mean + correlated(rng, n, size)
    noise = correlated(rng, n, draws, size)
    regime = rng.integers(0, 2, n)
    centre, spread, oracle_draws = mean, np.ones((n, 1)), None
    if oracle:
        oracle_draws = mean[:, None] + correlated(rng, n, draws, size)
    if fault.startswith("bias"):
        centre = mean + float(fault.split()[1])
    elif fault.startswith("sd"):
        spread = spread * float(fault.split()[1])
    elif fault == "regime":
        spread = np.where(regime == 0, 0.75, 1.2)[:, None]
    elif fault == "swapped":
        centre = mean.copy()
        centre[:, [0, size // 2]] = mean[:, [size // 2, 0]]
    draws_of = noise
    if fault == "uncorrelated":
        draws_of = rng.standard_normal(noise.shape)
    posterior = centre[:, None] + spread[:, None] * draws_of
    at_truth, at_draws = (truth - centre) / spread, draws_of
    if fault == "one mode":
        truth = truth + np.where(rng.random(n) < 0.5, 2.0, -2.0)[:, None] * (np.arange(size) < 4)
        posterior = posterior + 2.0 * (np.arange(size) < 4)
        at_truth = truth - centre - 2.0 * (np.arange(size) < 4)
    if fault == "flipped":
        posterior, at_truth = -posterior, -truth - mean
    density = log_density
    if fault == "uncorrelated":
        density = lambda z: -0.5 * np.sum(z**2, axis=-1)  # noqa: E731
    return Pairs(
        truth=truth,
        draws=posterior,
        log_prob_truth=density(at_truth),
        log_prob_draws=density(at_draws),
        oracle_mean=mean if oracle else None,
        oracle_sd=np.ones_like(mean) if oracle else None,
        oracle_draws=oracle_draws,
    ), {"regime": regime}
