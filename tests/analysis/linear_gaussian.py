"""A linear-Gaussian problem with a known answer, shared by the laws of every analysis."""

import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations

STATE_SHAPE = (2, 3)
SIZE = 6
STATIONS = jnp.array([0, 2, 3, 5])
ERROR_SD = jnp.array([0.5, 1.0, 0.7, 0.3])
H = np.eye(SIZE)[np.asarray(STATIONS)]


def background_covariance() -> DenseCovariance:
    distance = np.abs(np.subtract.outer(np.arange(SIZE), np.arange(SIZE)))
    sd = np.linspace(0.8, 1.4, SIZE)
    return DenseCovariance.from_matrix(
        jnp.asarray(np.outer(sd, sd) * np.exp(-distance / 2.0)), STATE_SHAPE
    )


def operator() -> PointSampling:
    return PointSampling(STATIONS, state_shape=STATE_SHAPE)


def window(values, mask=None, error_sd=ERROR_SD) -> Observations:
    """One row of observations at the analysis time."""
    values = jnp.asarray(values)
    mask = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask)
    return Observations(
        values=values[None],
        mask=mask[None],
        error_sd=jnp.broadcast_to(error_sd, values.shape)[None],
        times=jnp.zeros(1, jnp.int32),
    )


def exact_ensemble(mean, matrix, members, seed=0):
    """An ensemble whose sample mean and covariance are the given ones up to rounding."""
    rng = np.random.default_rng(seed)
    anomalies = rng.normal(size=(members, SIZE))
    anomalies -= anomalies.mean(axis=0)
    sample = anomalies.T @ anomalies / (members - 1)
    whitened = np.linalg.solve(np.linalg.cholesky(sample), anomalies.T)
    return (
        jnp.asarray(
            (np.linalg.cholesky(np.asarray(matrix)) @ whitened).T.reshape(members, *STATE_SHAPE)
        )
        + jnp.asarray(mean)[None]
    )


def kalman(mean, matrix, values, error_sd=ERROR_SD, stations=H):
    """Analysis mean and covariance of the Kalman filter, over the flattened state."""
    matrix = np.asarray(matrix)
    total = stations @ matrix @ stations.T + np.diag(np.asarray(error_sd) ** 2)
    gain = np.linalg.solve(total, stations @ matrix).T
    flat = np.asarray(mean).ravel()
    covariance = matrix - gain @ stations @ matrix
    return flat + gain @ (np.asarray(values) - stations @ flat), covariance
