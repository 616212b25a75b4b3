"""Departures of any observation operator, put on the grid in units of the state."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from vardax_core.observations.base import AbstractObservationOperator, LocalRows, rows_of
from vardax_core.types import PAST_STATISTICS, ensemble_mean


class LocalDepartures(eqx.Module):
    """Where the observations are, and what one of their departures says of the state there.

    An observation y with the slope h at point i is taken for one of x_i, with the departure
    (y - H x) / h and the error variance (R + e + sum_j h_j^2 s_j^2) / h^2 over its other points j;
    so that the scalar Kalman update of x_i by it is that by y with a diagonal background
    covariance. The slope is that of the linearised H at the ensemble mean, times the regression of
    the members' equivalents on their linearised ones, and e what this leaves of their variance:
    members for which H bends, or turns back, widen the error. For a linear H the slope is its own
    and e is zero. Several observations of a point are averaged with the weight h^2.

    Attributes:
        centre: equivalent of the ensemble mean.
        rows: the points of each observation and h, zero where it is missing.
        weights: sum of h^2 at each grid point, zero where nothing is observed.
        error_sd: of what is observed at each grid point, in the unit of the state; one elsewhere.

    Source: Evensen (2003), doi:10.1007/s10236-003-0036-9, on ensembles and nonlinear operators;
    Gelb (1974), Applied Optimal Estimation, section 6.2, on statistical linearisation.
    """

    centre: Float[Array, " obs"]
    rows: LocalRows
    weights: Float[Array, " n"]
    error_sd: Float[Array, " n"]

    @classmethod
    def of(
        cls,
        operator: AbstractObservationOperator,
        ensemble: Float[Array, "member *state"],
        spread: Float[Array, "*state"],
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
        slopes, usable = rows.slopes, mask > 0
        if not operator.linear:
            anomalies = (ensemble - mean[None]).reshape(ensemble.shape[0], -1)
            linear = jnp.sum(slopes[None] * rows.at_points(anomalies), axis=2)
            beyond = operator.ensemble(ensemble) - centre[None] - linear
            square, product = jnp.sum(linear**2, axis=0), jnp.sum(beyond * linear, axis=0)
            regression = product / jnp.where(square > 0, square, 1.0)
            left = jnp.sum((beyond - regression[None] * linear) ** 2, axis=0)
            bent = left / max(1, ensemble.shape[0] - 1)
            slopes = (1 + regression)[:, None] * slopes
            usable = usable & jnp.isfinite(bent) & jnp.all(jnp.isfinite(slopes), axis=1)
            error_sd = _enlarged(error_sd, jnp.where(usable, bent, 0.0))
        rows = LocalRows(rows.points, jnp.where(usable[:, None], slopes, 0.0))
        return cls._weighted(centre, rows, error_sd[:, None], spread.reshape(-1))

    @classmethod
    def _weighted(
        cls,
        centre: Float[Array, " obs"],
        rows: LocalRows,
        error_sd: Float[Array, "obs 1"],
        spread: Float[Array, " n"],
    ) -> "LocalDepartures":
        slopes, size = rows.slopes, spread.shape[0]
        if slopes.shape[1] > 1:
            own = slopes**2 * rows.at_points(spread) ** 2
            others = jnp.maximum(jnp.sum(own, axis=1, keepdims=True) - own, 0.0)
            error_sd = _enlarged(error_sd, others)
        weights = rows.summed(slopes**2, size)
        total = rows.summed(jnp.abs(slopes) * error_sd, size)
        return cls(
            centre=centre,
            rows=rows,
            weights=weights,
            error_sd=jnp.where(weights > 0, total / _divisor(weights), 1.0),
        )

    def on_grid(self, departures: Float[Array, " obs"]) -> Float[Array, " n"]:
        """Departures in the unit of the state, zero where nothing is observed."""
        slopes = self.rows.slopes
        known = jnp.where(slopes != 0, slopes * departures[:, None], 0.0)
        return self.rows.summed(known, self.weights.shape[0]) / _divisor(self.weights)

    def past_on_grid(self, past: Float[Array, "statistic obs"]) -> Float[Array, "statistic n"]:
        """Means of standardised departures of `PAST_STATISTICS`, with the signs of the state."""
        signed = jnp.asarray([name in ("departure", "increment") for name in PAST_STATISTICS])
        signed = jnp.tile(signed, past.shape[0] // len(PAST_STATISTICS))[:, None, None]
        slopes = self.rows.slopes[None]
        each = jnp.where(signed, jnp.sign(slopes), 1.0) * slopes**2 * past[:, :, None]
        return self.rows.summed(each, self.weights.shape[0]) / _divisor(self.weights)[None]


def _enlarged(
    error_sd: Float[Array, "obs *#any"], variance: Float[Array, "obs *any"]
) -> Float[Array, "obs *any"]:
    # The square of a very small error may be zero.
    return jnp.maximum(jnp.sqrt(error_sd**2 + variance), error_sd)


def _divisor(weights: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.where(weights > 0, weights, 1.0)
