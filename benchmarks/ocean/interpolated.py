"""Optimal interpolation of the altimeters in space and time, with a covariance fitted to them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ocean.altimeters import Records

from vardax_core.analysis.local.covariance import Shape
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.state.grids import Plane
from vardax_core.state.neighbours import space_time_neighbours
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance

BEHIND, NEAR, DAY = 15, 80, 24 * 60
"""Days before a map whose records count, records around each point, and minutes of a day."""
SHAPES: tuple[tuple[Shape, Shape], ...] = (
    ("matern32", "matern32"),
    ("matern52", "matern52"),
    ("matern52", "matern32"),
)
"""Of the correlations in space and in time."""


def window(grid: Plane, records: Records, days: range, about: int) -> LocalRecords:
    """The records of some days as departures from the mean of the climate, which is zero.

    Arguments:
        days: a day that there is none of has no records.
        about: day from which their minutes count.
    """
    room = records.values.shape[1]
    known = [d if 0 <= d < len(records.values) else None for d in days]

    def column(values: np.ndarray, otherwise: float) -> np.ndarray:
        gone = np.full(values.shape[1:], otherwise)
        return np.concatenate([gone if d is None else values[d] for d in known])

    platforms = column(records.platforms, -1).astype(int)
    number = np.repeat(np.arange(len(known)), room)
    places = np.where(platforms[:, None] >= 0, column(records.places, np.nan), 0.0)
    return LocalRecords.of(
        jnp.asarray(column(records.values, 0.0), jnp.float32),
        jnp.asarray(column(records.sd, 1.0), jnp.float32),
        jnp.asarray(grid.embedded(places), jnp.float32),
        minutes=jnp.asarray(DAY * (np.repeat(np.asarray(days), room) - about), jnp.float32),
        # What a pass has in common it has in common with no other.
        platform=jnp.asarray(100 * number + platforms, jnp.int32),
        mask=jnp.asarray(platforms >= 0),
    )


def fitted(
    grid: Plane, records: Records, days: range, shapes: tuple[tuple[Shape, Shape], ...], *, key
) -> CovarianceFit:
    """The covariance, and the errors beside those that are told, that predict passes best.

    Arguments:
        shapes: of the correlations in space and in time, between which withheld records decide.
    """
    seen = window(grid, records, days, days.start)
    kept = np.flatnonzero(np.asarray(seen.mask))
    seen = jax.tree.map(lambda x: x[kept], seen)
    groups = np.asarray(seen.platform)
    fits = [
        fit_covariance(
            seen, groups=groups, errors_known=False, space=space, time=time, most=NEAR, key=key
        )
        for space, time in shapes
    ]
    return min(fits, key=lambda fit: fit.score)


@eqx.filter_jit
def _estimate(targets, records, indices, near, covariance):
    found = interpolate(targets, records, indices, near, covariance)
    return found.increment, found.variance


def mapped(
    grid: Plane, fit: CovarianceFit, records: Records, day: int, ahead: int
) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """Mean and spread of the upper layer on a day.

    Arguments:
        ahead: days after it whose records count, too.
    """
    seen = fit.with_errors(window(grid, records, range(day - BEHIND, day + ahead + 1), day))
    at = grid.embedded(grid.points())
    found = space_time_neighbours(
        at,
        np.zeros(len(at)),
        np.asarray(seen.straight),
        np.asarray(seen.minutes),
        speed=fit.speed,
        most=NEAR,
        usable=np.asarray(seen.mask),
    )
    mean, variance = _estimate(
        LocalTargets.at(jnp.asarray(at, jnp.float32)),
        seen,
        jnp.asarray(found.indices, jnp.int32),
        jnp.asarray(found.near),
        fit.covariance,
    )
    return np.asarray(mean).reshape(grid.shape), np.sqrt(np.asarray(variance)).reshape(grid.shape)
