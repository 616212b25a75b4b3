"""The local ensemble transform Kalman filter."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractPointwiseStep, Support
from vardax_core.analysis.ensemble.localization import LocalizationError, LocalNetwork
from vardax_core.analysis.ensemble.points import (
    Inflation,
    LocalRows,
    moved,
    moved_between,
    transforms_at,
)
from vardax_core.analysis.ensemble.transform import (
    WhitenedEnsemble,
    check_members,
    ensemble_analysis,
    innovation_chi2,
    mean_preserving_rotation,
    whitened_ensemble,
)
from vardax_core.analysis.local.view import in_batches
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean

BATCH = {"cpu": 64}
"""Points at once that are fastest on a kind of device."""
WIDE = 4096
"""And on all others."""


def usual_batch() -> int:
    """Points at once that are fastest where arrays are."""
    return BATCH.get(jax.default_backend(), WIDE)


class LETKF(AbstractPointwiseStep):
    """An ETKF at every grid point with the observations around it, R^-1 tapered by distance.

    All variables of a point (the leading axes of the state) share its transform, unless an
    observation counts less for other channels than for its own. Points are
    treated in batches, so memory grows with the batch and not with the grid. Observations whose
    errors are correlated are whitened before they are tapered. If the observing network was found
    for the nodes of a lattice, transforms are made there and interpolated bilinearly between them.

    The diagnostic `innovation_chi2` is that of all observations under the ensemble's own
    covariance, which no taper enters: its mean is p if that covariance is the background's, as of
    a large ensemble, and more than p for a small ensemble that localization alone makes do.

    Attributes:
        operator: observation operator H.
        network: the observations within reach of every point of the grid, or node of its lattice.
        inflation: factor on the analysis anomalies.
        rotate: whether the anomalies are turned by a random mean-preserving rotation, the same
            at every point.
        batch_size: grid points that are analysed at once; None for what suits the device.
        errors: observation error model R.
        uncertainty: standard deviation of the factor on the variance of the background that each
            point finds from the innovations around it, see `InnovationInflation`; 0 for none.
            Nothing is kept from cycle to cycle, so that any observing network may follow another.
        channels: channel of each observation, the first axis of the state; None for all alike.
        across: factor on R^-1 of an observation for channels that are not its own.
        only: flat indices of the points that are analysed, the others stay as they are; None for
            all points.

    Source: Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008; Yang et al. (2009),
    doi:10.1002/qj.353, on interpolated weights; Miyoshi (2011), doi:10.1175/2010MWR3570.1, on
    inflation by the innovations around a point.
    """

    operator: AbstractObservationOperator
    network: LocalNetwork
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=False)
    batch_size: int | None = eqx.field(static=True, default=None)
    errors: AbstractErrorModel = DiagonalErrorModel()
    uncertainty: float = eqx.field(static=True, default=0.0)
    channels: Int[Array, " obs"] | None = None
    across: float = eqx.field(static=True, default=1.0)
    only: Int[Array, " some"] | None = None

    def __check_init__(self):
        points, shape = self.network.size, self.operator.state_shape
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
        if not self.inflation > 0 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError(
                f"LETKF: inflation must be positive and batch_size >= 1, got {self.inflation} and "
                f"{self.batch_size}."
            )
        if self.uncertainty < 0 or not 0 <= self.across <= 1:
            raise ValueError(
                "LETKF: expected an uncertainty that is not negative and a factor across channels "
                f"within [0, 1], got {self.uncertainty} and {self.across}."
            )

    def at(self, point: int) -> "LETKF":
        return self if self.network.cells else dataclasses.replace(self, only=jnp.asarray([point]))

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("LETKF", background)
        members, points = background.shape[0], self.network.size
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        rows = self._rows(whitened)
        every = background.reshape(members, -1, points).transpose(2, 1, 0)
        chosen = slice(None) if self.only is None else self.only
        own = every[chosen]
        size = self._batch
        local = (self.network.indices, self.network.weights)
        if self.only is not None:
            local = (local[0][chosen], local[1][chosen])
        inflation = Inflation(self.inflation, self.uncertainty)

        def at_nodes(local):
            indices, weights = local
            matrix, found = transforms_at(rows, indices, weights, own.shape[1], inflation)
            known = (found.signal, found.factor, found.resolved)
            return matrix, *(x.reshape(matrix.shape[:2]) for x in known)

        def at_points(local):
            matrix, *known = at_nodes(local[:2])
            return moved(local[2], matrix), *known

        if self.network.cells is None:
            turned, *known = in_batches(at_points, (*local, own), size)
        else:
            matrices, *known = in_batches(at_nodes, local, size)
            turned = self._between(own, matrices, size)
        signal, factor, resolved = known
        if self.only is not None:
            turned = every.at[chosen].set(turned)
        ensemble = turned.transpose(2, 1, 0).reshape(background.shape)
        if self.rotate and members > 2:
            rotation = mean_preserving_rotation(members, background.dtype, key=key)
            centre = ensemble_mean(background)[None]
            flat = (ensemble - centre).reshape(members, -1)
            mean = ensemble_mean(flat)[None]
            ensemble = centre + (mean + rotation @ (flat - mean)).reshape(background.shape)
        diagnostics = {
            "mean_local_degrees_of_freedom_for_signal": jnp.mean(signal),
            "innovation_chi2": innovation_chi2(whitened),
        }
        if self.uncertainty > 0:
            diagnostics["mean_background_inflation"] = jnp.mean(factor)
        return ensemble_analysis(ensemble, diagnostics, jnp.all(resolved))

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        check_members("LETKF", background)
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        rows, inflation = self._rows(whitened), Inflation(self.inflation, self.uncertainty)
        channels = background[0].size // self.network.size
        there = observations.mask[-1].astype(background.dtype)

        def at_nodes(local):
            indices, weights = local
            _, found = transforms_at(rows, indices, weights, channels, inflation)
            tapers = weights.astype(there.dtype) * there[indices]
            known = (found.factor * self.inflation, found.signal)
            means = (jnp.mean(x.reshape(indices.shape[0], -1), axis=1) for x in known)
            return jnp.sum(tapers > 0, axis=1).astype(there.dtype), jnp.sum(tapers, axis=1), *means

        found = in_batches(at_nodes, (self.network.indices, self.network.weights), self._batch)
        cells = self.network.cells
        return Support(*(x if cells is None else cells.between(x) for x in found))

    @property
    def _batch(self) -> int:
        return usual_batch() if self.batch_size is None else self.batch_size

    def _rows(self, whitened: WhitenedEnsemble) -> LocalRows:
        apart = self.channels if self.across < 1 else None
        return LocalRows(whitened.anomalies.T, whitened.innovation, apart, self.across)

    def _between(
        self,
        own: Float[Array, "point channel member"],
        matrices: Float[Array, "node group member member"],
        size: int,
    ) -> Float[Array, "point channel member"]:
        """The members of every point, by the transforms of the nodes around it."""
        between = self.network.cells
        assert between is not None

        def in_cells(cells):
            corners, points, weights = cells
            inside = own.at[points].get(mode="fill", fill_value=0.0)
            return (moved_between(inside, matrices[corners], weights),)

        rows = (between.corners, between.points, between.weights)
        (turned,) = in_batches(in_cells, rows, size)
        return own.at[between.points].set(turned, mode="drop")
