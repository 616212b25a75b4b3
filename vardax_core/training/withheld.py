"""Predictions of withheld records, and the spread that they show to be right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.state.neighbours import SpaceTimeNeighbours, space_time_neighbours
from vardax_core.training.root_finding import NORMAL_95


def speed_of(covariance: SpaceTimeCovariance) -> float:
    """Length over timescale of a covariance, a geometric mean weighted by the variances."""
    columns = (covariance.variances, covariance.lengths, covariance.timescales)
    variance, length, timescale = (np.asarray(x, np.float64) for x in columns)
    there = np.isfinite(length) & np.isfinite(timescale) & (variance > 0)
    if not there.any():
        return 0.0
    log = np.log(length[there] / timescale[there])
    return float(np.exp(np.average(log, weights=variance[there])))


class Predictions(NamedTuple):
    """What records were expected to be, without those of their own group.

    Attributes:
        targets: numbers of the records.
        departures: observed minus expected, unit of the state.
        sd: expected standard deviation of the departures, the record's own error included.
        groups: what was withheld together.
    """

    targets: Int[np.ndarray, " target"]
    departures: Float[np.ndarray, " target"]
    sd: Float[np.ndarray, " target"]
    groups: Int[np.ndarray, " target"]

    @property
    def rmse(self) -> float:
        """Root mean square of the departures."""
        return float(np.sqrt(np.mean(self.departures**2)))

    @property
    def log_score(self) -> float:
        """Mean negative logarithm of the Gaussian density."""
        z = self.departures / self.sd
        return float(np.mean(0.5 * np.log(2 * np.pi) + np.log(self.sd) + 0.5 * z**2))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several sets of records as one."""
    return Predictions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Calibration:
    """The factor on every standard deviation with which withheld records agree.

    Attributes:
        factor: root mean square of departures over their expected standard deviations.
        low, high: its interval of 95 %, from the differences among groups.
        count: withheld records.
    """

    factor: float
    low: float
    high: float
    count: int


def withheld_neighbours(
    records: LocalRecords,
    targets: Int[np.ndarray, " target"],
    groups: Int[np.ndarray, " obs"],
    *,
    speed: float,
    most: int,
    thinned: tuple[float, ...] = (),
) -> SpaceTimeNeighbours:
    """The usable records around some of them that are not of their own group."""
    straight, minutes = np.asarray(records.straight), np.asarray(records.minutes)
    return space_time_neighbours(
        straight[targets],
        minutes[targets],
        straight,
        minutes,
        speed=speed,
        most=most,
        usable=np.asarray(records.mask),
        apart=(groups[targets], groups),
        thinned=thinned,
    )


def predict_withheld(
    records: LocalRecords,
    targets: Int[np.ndarray, " target"],
    neighbours: SpaceTimeNeighbours,
    covariance: SpaceTimeCovariance,
    groups: Int[np.ndarray, " obs"],
) -> Predictions:
    """Predict records from neighbours that do not belong to their group.

    Arguments:
        records: with the errors of a fit, see `CovarianceFit.with_errors`.
        targets: numbers of the records to predict; they may be masked.
        neighbours: of the targets.
        covariance: of the state.
        groups: of all records.
    """
    departures, variance = _predicted(
        records,
        jnp.asarray(targets),
        jnp.asarray(neighbours.indices),
        jnp.asarray(neighbours.near),
        covariance,
    )
    return Predictions(
        targets,
        np.asarray(departures, np.float64),
        np.sqrt(np.asarray(variance, np.float64)),
        groups[targets],
    )


@eqx.filter_jit
def _predicted(
    records: LocalRecords,
    targets: Int[Array, " target"],
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
) -> tuple[Float[Array, " target"], Float[Array, " target"]]:
    places = LocalTargets(
        records.straight[targets], records.minutes[targets], records.scale[targets]
    )
    found = interpolate(places, records, indices, near, covariance)
    error = records.error_sd[targets] ** 2 + records.shared_sd[targets] ** 2
    return records.innovations[targets] - found.increment, found.variance + error


def calibration_of(predictions: Predictions) -> Calibration:
    """The factor on the spread that makes the mean of squared standardised departures one.

    Its interval is that of a mean over groups, by the delta method.
    """
    z2 = (predictions.departures / predictions.sd) ** 2
    mean = float(z2.mean())
    _, number = np.unique(predictions.groups, return_inverse=True)
    sums = np.bincount(number, z2 - mean)
    count = len(sums)
    error = np.sqrt(np.sum(sums**2) * count / max(count - 1, 1)) / len(z2)
    share = NORMAL_95 * float(error) / (2 * max(mean, np.finfo(float).tiny))
    factor = mean**0.5
    return Calibration(
        factor, factor * float(np.exp(-share)), factor * float(np.exp(share)), len(z2)
    )


def desroziers_ratio(
    records: LocalRecords,
    targets: Int[np.ndarray, " target"],
    covariance: SpaceTimeCovariance,
    *,
    speed: float,
    most: int,
    thinned: tuple[float, ...] = (),
) -> Calibration:
    """Mean product of residuals and innovations over the mean of R; one if R is consistent.

    Every target is analysed from its neighbours, itself among them. The mean of (O-A)(O-B) is then
    that of the assumed error variances, the part shared by a platform included.

    Arguments:
        records: with the errors of a fit.
        targets: numbers of usable records.
        covariance: of the state.
        speed, most, thinned: of the search for neighbours.

    Returns:
        The ratio as `factor`, with the interval of a mean over platforms.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108
    """
    straight, minutes = np.asarray(records.straight), np.asarray(records.minutes)
    found = space_time_neighbours(
        straight[targets],
        minutes[targets],
        straight,
        minutes,
        speed=speed,
        most=most,
        usable=np.asarray(records.mask),
        thinned=thinned,
    )
    residuals, _ = _predicted(
        records,
        jnp.asarray(targets),
        jnp.asarray(found.indices),
        jnp.asarray(found.near),
        covariance,
    )
    columns = (records.innovations, records.error_sd, records.shared_sd)
    innovations, error, shared = (np.asarray(x, np.float64)[targets] for x in columns)
    assumed = float(np.mean(error**2 + shared**2))
    products = np.asarray(residuals, np.float64) * innovations / assumed
    _, number = np.unique(np.asarray(records.platform)[targets], return_inverse=True)
    sums = np.bincount(number, products - products.mean())
    count = len(sums)
    width = NORMAL_95 * float(np.sqrt(np.sum(sums**2) * count / max(count - 1, 1))) / len(targets)
    ratio = float(products.mean())
    return Calibration(ratio, ratio - width, ratio + width, len(targets))
