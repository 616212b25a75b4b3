"""The local ensemble transform Kalman filter."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.localization import LocalizationError, LocalNetwork
from vardax_core.analysis.ensemble.transform import (
    WhitenedEnsemble,
    check_members,
    ensemble_analysis,
    innovation_chi2,
    mean_preserving_rotation,
    symmetric_transform,
    whitened_ensemble,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean


class LETKF(AbstractAnalysisStep):
    """An ETKF at every grid point with the observations around it, R^-1 tapered by distance.

    All variables of a point (the leading axes of the state) share its transform. Points are
    treated in batches, so memory grows with the batch and not with the grid. Observations whose
    errors are correlated are whitened before they are tapered.

    The diagnostic `innovation_chi2` is that of all observations under the ensemble's own
    covariance, which no taper enters: its mean is p if that covariance is the background's, as of
    a large ensemble, and more than p for a small ensemble that localization alone makes do.

    Attributes:
        operator: observation operator H.
        network: the observations within reach of every point of the grid.
        inflation: factor on the analysis anomalies.
        rotate: whether the anomalies are turned by a random mean-preserving rotation, the same
            at every point.
        batch_size: grid points that are analysed at once.
        errors: observation error model R.

    Source: Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008
    """

    operator: AbstractObservationOperator
    network: LocalNetwork
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=False)
    batch_size: int = eqx.field(static=True, default=1024)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        points, shape = self.network.indices.shape[0], self.operator.state_shape
        if points not in [math.prod(shape[axis:]) for axis in range(len(shape))]:
            raise LocalizationError(
                f"LETKF: the network was built for {points} grid points, which are no last axes "
                f"of a state {shape}; build it for the horizontal grid."
            )
        if self.network.n_stations != self.operator.obs_size:
            raise LocalizationError(
                f"LETKF: the network was built for {self.network.n_stations} stations, H gives "
                f"{self.operator.obs_size} observations; build both for the same stations."
            )
        if not self.inflation > 0 or self.batch_size < 1:
            raise ValueError(
                f"LETKF: inflation must be positive and batch_size >= 1, got {self.inflation} and "
                f"{self.batch_size}."
            )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("LETKF", background)
        members, points = background.shape[0], self.network.indices.shape[0]
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        equivalents = whitened.anomalies.T
        mean = ensemble_mean(background)
        anomalies = (background - mean[None]).reshape(members, -1, points)

        def at_point(
            local: tuple[
                Int[Array, " local"], Float[Array, " local"], Float[Array, "member variable"]
            ],
        ) -> tuple[Float[Array, "member variable"], Float[Array, ""], Bool[Array, ""]]:
            index, taper, own = local
            root = jnp.sqrt(taper.astype(own.dtype))
            transform = symmetric_transform(
                WhitenedEnsemble(
                    (equivalents[index] * root[:, None]).T, whitened.innovation[index] * root
                )
            )
            change = transform.mean_weights @ own
            turned = change[None] + self.inflation * (transform.matrix @ own)
            return turned, transform.signal, transform.resolved

        per_point = (self.network.indices, self.network.weights, jnp.moveaxis(anomalies, -1, 0))
        local, signal, resolved = jax.lax.map(
            at_point, per_point, batch_size=min(self.batch_size, points)
        )
        turned = jnp.moveaxis(local, 0, -1).reshape(members, -1)
        if self.rotate and members > 2:
            rotation = mean_preserving_rotation(members, background.dtype, key=key)
            centre = ensemble_mean(turned)[None]
            turned = centre + rotation @ (turned - centre)
        ensemble = mean[None] + turned.reshape(background.shape)
        return ensemble_analysis(
            ensemble,
            {
                "mean_local_degrees_of_freedom_for_signal": jnp.mean(signal),
                "innovation_chi2": innovation_chi2(whitened),
            },
            jnp.all(resolved),
        )
