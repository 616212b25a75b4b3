"""What every observation did to the forecast from its analysis, from the ensemble alone."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def observation_impact(
    equivalents: Float[Array, "member obs"],
    innovation: Float[Array, " obs"],
    error_sd: Float[Array, " obs"],
    forecast: Float[Array, "member *state"],
    errors: Float[Array, "*state"],
    weights: Float[Array, "*state"],
    taper: Float[Array, "obs *#state"] | None = None,
) -> Float[Array, " obs"]:
    """Ensemble forecast sensitivity to observations.

    With e the error of the mean forecast from the analysis and e' that of the one from its
    background, both valid at the later time, the change e'Ce - e''Ce' is about the sum over
    observations of d_j / R_j / (M - 1) sum_k Y_kj (C X_k) . (rho_j (e + e')). A negative impact is
    a forecast made better. Without localization and inflation the sum is exact for a linear
    forecast of the members of a Kalman filter.

    Arguments:
        equivalents: H of the analysis members, from whose mean Y is taken.
        innovation: d, 0 where an observation is not used.
        error_sd: standard deviation of the observation error, positive.
        forecast: members at the later time, from whose mean X is taken.
        errors: e + e'.
        weights: C, of every point.
        taper: rho, weight of every point for every observation; None for no localization.

    Returns:
        The impacts, in the square of the state's unit times that of the weights.

    Source: Kalnay et al. (2012), doi:10.3402/tellusa.v64i0.18462, equation 6
    """
    members = equivalents.shape[0]
    seen = equivalents - jnp.mean(equivalents, axis=0, keepdims=True)
    later = forecast - jnp.mean(forecast, axis=0, keepdims=True)
    weighted = later * (weights * errors)[None]
    if taper is None:
        along = jnp.sum(weighted.reshape(members, -1), axis=1)
        projected = along @ seen
    else:
        shape = (innovation.shape[0], *weights.shape)
        flat = jnp.broadcast_to(taper, shape).reshape(shape[0], -1)
        projected = jnp.einsum("kj,jk->j", seen, flat @ weighted.reshape(members, -1).T)
    return innovation / error_sd**2 * projected / (members - 1)
