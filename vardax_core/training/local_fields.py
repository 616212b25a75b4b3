"""A covariance in space and time of fields of a training period, without any of all points."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.spatial import cKDTree

from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.models.climatology import Climatology, slot_of
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance
from vardax_core.training.withheld import calibration_of, predict_withheld, withheld_neighbours

PATCHES, PLACES, FEWEST = 8, 400, 64
"""Parts of the grid that stations are taken from, stations of all of them, and those that are taken
to be there at least."""
RECORDS = 12_000
"""Of which a covariance is fitted, about."""
RUN = 8
"""States that follow each other."""
CALIBRATED, NEAR = 2000, 40
"""Records that are withheld, in turn, to calibrate the spread, and those that predict each."""


def fit_local_covariance(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    climatology: Climatology,
    grid: AbstractGrid,
    *,
    stations: int,
    error_sd: float,
    key: PRNGKeyArray,
) -> tuple[CovarianceFit, Float[np.ndarray, "*state"]]:
    """Fit a covariance of standardised anomalies to predictions of withheld stations.

    Some parts of the grid are observed as densely as the recipe observes all of it, so that what
    is fitted holds over the distances that an interpolation reaches; work and memory do not grow
    with the grid.

    Arguments:
        fields: states, NaN where missing.
        times: of the states, minutes since `MINUTES_EPOCH`.
        climatology: of the states; nothing is known of a point without variance.
        grid: of the states.
        stations: of the observing network on the whole grid.
        error_sd: of the observations, unit of the states.
        key: which places are observed, and their errors.

    Returns:
        The covariance, of variance about one, and the factor on the errors, calibrated; the local
        standard deviation of the anomalies.

    Raises:
        ValueError: if there are too few states or places to fit anything.
    """
    place_key, error_key, fit_key, calibration_key = jax.random.split(key, 4)
    sd = np.linalg.norm(np.asarray(climatology.square_root), axis=-1)
    places = _places(grid, np.flatnonzero(sd > 0), stations, place_key)
    records = _records(fields, times, climatology, sd, grid, places, error_sd, error_key)
    fit = fit_covariance(records, errors_known=True, most=NEAR, key=fit_key)
    usable = jnp.asarray(np.flatnonzero(np.asarray(records.mask)))
    order = np.asarray(jax.random.permutation(calibration_key, usable))
    chosen, groups = np.sort(order[:CALIBRATED]), np.asarray(records.platform)
    neighbours = withheld_neighbours(records, chosen, groups, speed=fit.speed, most=NEAR)
    found = predict_withheld(records, chosen, neighbours, fit.covariance, groups)
    return fit.calibrated(calibration_of(found)), sd


def _places(
    grid: AbstractGrid, inside: Int[np.ndarray, " point"], stations: int, key: PRNGKeyArray
) -> Int[np.ndarray, " place"]:
    """Points of some patches of a random observing network, ascending."""
    drawn = np.asarray(jax.random.permutation(key, jnp.asarray(inside)))[: max(stations, FEWEST)]
    if drawn.size <= PLACES:
        return np.sort(drawn)
    straight = grid.embedded(grid.points()[drawn])
    _, near = cKDTree(straight).query(straight[:PATCHES], k=PLACES // PATCHES)
    return np.sort(drawn[np.unique(near)])


def _records(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    climatology: Climatology,
    sd: Float[np.ndarray, "*state"],
    grid: AbstractGrid,
    places: Int[np.ndarray, " place"],
    error_sd: float,
    key: PRNGKeyArray,
) -> LocalRecords:
    """What stations would have seen, over the local standard deviation, in runs of states."""
    runs = np.array_split(np.arange(len(times)), max(1, len(times) // RUN))
    wanted = max(1, min(len(runs), RECORDS // (RUN * len(places))))
    kept = np.concatenate([runs[n * len(runs) // wanted] for n in range(wanted)])
    local, mean = sd.reshape(-1)[places], np.asarray(climatology.mean)
    slots = slot_of(times[kept], len(mean))
    normal = mean.reshape(len(mean), -1)[np.ix_(slots, places)]
    seen = (fields.reshape(len(times), -1)[np.ix_(kept, places)] - normal) / local
    error = np.broadcast_to(error_sd / local, seen.shape)
    noise = error * np.asarray(jax.random.normal(key, seen.shape))
    straight = grid.embedded(grid.points()[places])
    minutes = np.broadcast_to((times[kept] - times[kept[0]])[:, None], seen.shape)
    number = np.broadcast_to(np.arange(len(places)), seen.shape)
    return LocalRecords.of(
        jnp.asarray((seen + noise).reshape(-1), jnp.float32),
        jnp.asarray(error.reshape(-1), jnp.float32),
        jnp.asarray(np.tile(straight, (len(kept), 1)), jnp.float32),
        minutes=jnp.asarray(minutes.reshape(-1), jnp.float32),
        platform=jnp.asarray(number.reshape(-1), jnp.int32),
    )
