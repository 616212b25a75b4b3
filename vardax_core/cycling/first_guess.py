"""The first-guess check of a cycle."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vardax_core.observations.quality import QualityCode, first_guess_check
from vardax_core.types import Observations

HALF_NORMAL_MEDIAN = 0.6745


def check_first_guess(
    observations: Observations,
    quality: Int[Array, " obs"],
    mean: Float[Array, " obs"],
    variance: Float[Array, " obs"],
    *,
    limit: float,
) -> tuple[Observations, Int[Array, " obs"]]:
    """Reject what is far from the background, in units of what is usual in this cycle.

    Where most departures are larger than HBH' + R expects, the background is at fault and
    not the observations: the limit then grows with the median departure.

    Arguments:
        observations: the window; its last row is checked.
        quality: codes of the last row.
        mean, variance: of the background members' equivalents of the observations.
        limit: k of the check |O-B| > k sqrt(HBH' + R).

    Returns:
        The observations and the codes, those rejected masked and marked.
    """
    now = observations.at_analysis_time()
    innovation = now.values[0] - mean
    standardised = jnp.abs(innovation) / jnp.sqrt(variance + now.error_sd[0] ** 2)
    usual = jnp.nanmedian(jnp.where(now.mask[0], standardised, jnp.nan)) / HALF_NORMAL_MEDIAN
    scale = jnp.maximum(jnp.where(jnp.isfinite(usual), usual, 1.0), 1.0)
    kept, _ = first_guess_check(innovation / scale, variance, now.error_sd[0], now.mask[0], k=limit)
    rejected = now.mask[0] & ~kept
    code = jnp.asarray(int(QualityCode.FIRST_GUESS), quality.dtype)
    mask = observations.mask.at[-1].set(observations.mask[-1] & ~rejected)
    return eqx.tree_at(lambda o: o.mask, observations, mask), jnp.where(rejected, code, quality)
