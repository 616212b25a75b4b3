"""Departures of any observation operator, put on the grid in units of the state."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vardax_core.observations.base import AbstractObservationOperator, rows_of
from vardax_core.types import PAST_STATISTICS, ensemble_mean


class LocalDepartures(eqx.Module):
    """Where the observations are, and what one of their departures says of the state there.

    An observation y with the slope h at point i is taken for one of x_i, with the departure
    (y - H x) / h and the error variance (R + e + sum_j h_j^2 s_j^2) / h^2 over its other points j;
    so that the scalar Kalman update of x_i by it is that by y with a diagonal background
    covariance. The slope is that of the linearised H at the ensemble mean, times the regression of
    the members' equivalents on their linearised ones, and e what this leaves of their variance:
    members for which H bends, or turns back, widen the error. Several observations of a point are
    averaged with the weight h^2.

    Attributes:
        centre: equivalent of the ensemble mean.
        points: flat indices of the grid points of each observation.
        slopes: h, zero where an observation is missing.
        weights: sum of h^2 at each grid point, zero where nothing is observed.
        error_sd: of what is observed at each grid point, in the unit of the state; one elsewhere.

    Source: Evensen (2003), doi:10.1007/s10236-003-0036-9, on ensembles and nonlinear operators;
    Gelb (1974), Applied Optimal Estimation, section 6.2, on statistical linearisation.
    """

    centre: Float[Array, " obs"]
    points: Int[Array, "obs point"]
    slopes: Float[Array, "obs point"]
    weights: Float[Array, " n"]
    error_sd: Float[Array, " n"]

    @classmethod
    def of(
        cls,
        operator: AbstractObservationOperator,
        ensemble: Float[Array, "member n"],
        spread: Float[Array, " n"],
        mask: Float[Array, " obs"],
        error_sd: Float[Array, " obs"],
    ) -> "LocalDepartures":
        """Linearise H about an ensemble.

        Arguments:
            operator: observation operator H.
            ensemble: members about whose mean H is linearised.
            spread: s, standard deviation of each point.
            mask: 1 where an observation is present, 0 elsewhere.
            error_sd: square root of the diagonal of R.
        """
        mean = ensemble_mean(ensemble)
        rows, centre = rows_of(operator, mean), operator(mean)
        freedom = max(1, ensemble.shape[0] - 1)
        linear = jnp.sum(rows.slopes[None] * (ensemble - mean[None])[:, rows.points], axis=2)
        beyond = operator.ensemble(ensemble) - centre[None] - linear
        square, product = jnp.sum(linear**2, axis=0), jnp.sum(beyond * linear, axis=0)
        regression = product / jnp.where(square > 0, square, 1.0)
        bent = jnp.sum((beyond - regression[None] * linear) ** 2, axis=0) / freedom
        slopes = (1 + regression)[:, None] * rows.slopes
        usable = jnp.isfinite(slopes) & (jnp.isfinite(bent) & (mask > 0))[:, None]
        slopes = jnp.where(usable, slopes, 0.0)
        variance = (error_sd**2 + jnp.where(jnp.isfinite(bent), bent, 0.0))[:, None]
        if slopes.shape[1] > 1:
            own = slopes**2 * spread[rows.points] ** 2
            variance = variance + jnp.maximum(jnp.sum(own, axis=1, keepdims=True) - own, 0.0)
        nothing = jnp.zeros_like(mean)
        weights = nothing.at[rows.points].add(slopes**2)
        total = nothing.at[rows.points].add(jnp.abs(slopes) * jnp.sqrt(variance))
        return cls(
            centre=centre,
            points=rows.points,
            slopes=slopes,
            weights=weights,
            error_sd=jnp.where(weights > 0, total / _divisor(weights), 1.0),
        )

    def on_grid(self, departures: Float[Array, " obs"]) -> Float[Array, " n"]:
        """Departures in the unit of the state, zero where nothing is observed."""
        known = jnp.where(self.slopes != 0, departures[:, None], 0.0)
        total = jnp.zeros_like(self.weights).at[self.points].add(self.slopes * known)
        return total / _divisor(self.weights)

    def past_on_grid(self, past: Float[Array, "statistic obs"]) -> Float[Array, "statistic n"]:
        """Means of standardised departures of `PAST_STATISTICS`, with the signs of the state."""
        signed = jnp.asarray([name in ("departure", "increment") for name in PAST_STATISTICS])
        signed = jnp.tile(signed, past.shape[0] // len(PAST_STATISTICS))[:, None, None]
        each = jnp.where(signed, jnp.sign(self.slopes)[None], 1.0) * past[:, :, None]
        total = jnp.zeros((past.shape[0], self.weights.shape[0]), past.dtype)
        total = total.at[:, self.points].add(self.slopes[None] ** 2 * each)
        return total / _divisor(self.weights)[None]


def _divisor(weights: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.where(weights > 0, weights, 1.0)
