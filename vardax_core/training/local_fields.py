"""A covariance in space and time of fields of a training period, without any of all points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray
from scipy.spatial import cKDTree

from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.models.climatology import Climatology, slot_of
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance
from vardax_core.training.record_set import blocks_of
from vardax_core.training.slots import slot_means
from vardax_core.training.withheld import (
    Predictions,
    calibration_of,
    joined,
    predict_withheld,
    withheld_neighbours,
)

PATCHES, PLACES, FEWEST = 8, 400, 64
"""Parts of the grid that stations are taken from, stations of all of them, and those that are taken
to be there at least."""
RECORDS = 12_000
"""Of which a covariance is fitted, about."""
RUN = 8
"""States that follow each other."""
CALIBRATED, NEAR = 2000, 40
"""Records that are withheld, in turn, to calibrate the spread, and those that predict each."""
BLOCKS = 2
"""Of the states, whose means are not known where they are predicted to calibrate the spread."""


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
    mean = np.asarray(climatology.mean)
    sites = _Sites(
        fields.reshape(len(times), -1)[:, places],
        times,
        grid.embedded(grid.points()[places]),
        sd.reshape(-1)[places],
        error_sd,
    )
    normal = mean.reshape(len(mean), -1)[:, places]
    everywhen = np.arange(len(times))
    records = sites.records(everywhen, normal, RECORDS, key=error_key)
    fit = fit_covariance(records, errors_known=True, most=NEAR, key=fit_key)
    parts = []
    for number, block in enumerate(blocks_of(len(times), BLOCKS)):
        k_error, k_chosen = jax.random.split(jax.random.fold_in(calibration_key, number))
        # The mean of the days that are predicted is not known in a cycle.
        without = normal if block.all() else sites.means(~block, normal)
        seen = sites.records(everywhen[block], without, RECORDS // BLOCKS, key=k_error)
        parts.append(_withheld(seen, fit, CALIBRATED // BLOCKS, key=k_chosen))
    return fit.calibrated(calibration_of(joined(parts))), sd


def _withheld(
    records: LocalRecords, fit: CovarianceFit, most: int, *, key: PRNGKeyArray
) -> Predictions:
    """Predict some records, each from those of other stations."""
    usable = jnp.asarray(np.flatnonzero(np.asarray(records.mask)))
    chosen = np.sort(np.asarray(jax.random.permutation(key, usable))[:most])
    groups = np.asarray(records.platform)
    neighbours = withheld_neighbours(records, chosen, groups, speed=fit.speed, most=NEAR)
    return predict_withheld(records, chosen, neighbours, fit.covariance, groups)


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


class _Sites(NamedTuple):
    """The fields at some places.

    Attributes:
        values: NaN where missing.
        times: of the states, minutes since `MINUTES_EPOCH`.
        straight: where they are, in the embedding of the grid.
        sd: local standard deviation.
        error_sd: of observations, unit of the states.
    """

    values: Float[np.ndarray, "time place"]
    times: Int[np.ndarray, " time"]
    straight: Float[np.ndarray, "place straight"]
    sd: Float[np.ndarray, " place"]
    error_sd: float

    def means(
        self, rows: Bool[np.ndarray, " time"], otherwise: Float[np.ndarray, "slot place"]
    ) -> Float[np.ndarray, "slot place"]:
        """The mean of some states for each slot of the day; others where they have no value."""
        found = slot_means(self.values[rows], self.times[rows], slots=len(otherwise))
        return np.where(np.isfinite(found), found, otherwise)

    def records(
        self,
        rows: Int[np.ndarray, " row"],
        normal: Float[np.ndarray, "slot place"],
        most: int,
        *,
        key: PRNGKeyArray,
    ) -> LocalRecords:
        """What stations would have seen, over the local standard deviation, in runs of states.

        Arguments:
            rows: numbers of the states, ascending.
            normal: what the anomalies are from.
            most: records, about.
            key: of their errors.
        """
        count = len(self.sd)
        runs = np.array_split(rows, max(1, len(rows) // RUN))
        wanted = max(1, min(len(runs), most // (RUN * count)))
        kept = np.concatenate([runs[n * len(runs) // wanted] for n in range(wanted)])
        slots = slot_of(self.times[kept], len(normal))
        seen = (self.values[kept] - normal[slots]) / self.sd
        error = np.broadcast_to(self.error_sd / self.sd, seen.shape)
        noise = error * np.asarray(jax.random.normal(key, seen.shape))
        minutes = np.broadcast_to((self.times[kept] - self.times[kept[0]])[:, None], seen.shape)
        number = np.broadcast_to(np.arange(count), seen.shape)
        return LocalRecords.of(
            jnp.asarray((seen + noise).reshape(-1), jnp.float32),
            jnp.asarray(error.reshape(-1), jnp.float32),
            jnp.asarray(np.tile(self.straight, (len(kept), 1)), jnp.float32),
            minutes=jnp.asarray(minutes.reshape(-1), jnp.float32),
            platform=jnp.asarray(number.reshape(-1), jnp.int32),
        )
