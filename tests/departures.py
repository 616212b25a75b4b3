"""Innovations and residuals whose numbers a test chooses."""

import jax.numpy as jnp

from vardax_core.observations.departures import Departures, Residuals


def departures_of(
    innovation, variance, error_sd, used, *, rejected=None, withheld=None, mean_variance=0.0
) -> Departures:
    """Departures from a background whose equivalents have the mean zero."""
    nothing = jnp.zeros_like(used)
    return Departures(
        values=innovation,
        error_sd=error_sd,
        used=used,
        rejected=nothing if rejected is None else rejected,
        withheld=nothing if withheld is None else withheld,
        quality=nothing.astype(jnp.int8),
        mean=jnp.zeros_like(innovation),
        variance=variance,
        innovation=innovation,
        mean_variance=jnp.asarray(mean_variance, innovation.dtype),
    )


def residuals_of(residual, *, increment=None, variance=None) -> Residuals:
    """Residuals of an analysis, whose increment and variance are zero unless they matter."""
    nothing = jnp.zeros_like(residual)
    return Residuals(
        residual=residual,
        increment=nothing if increment is None else increment,
        variance=nothing if variance is None else variance,
    )
