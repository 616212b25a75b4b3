"""An amortized analysis of real observations that corrects their local interpolation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_views import in_turn, local_views
from vardax_core.analysis.amortized.record_network import RecordNetwork, correction
from vardax_core.analysis.base import AbstractAnalysisStep, AbstractPointwiseStep, Support
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.observations.placement import PlacedPoints
from vardax_core.types import Analysis, Observations


class CorrectedInterpolation(AbstractPointwiseStep):
    """A network corrects the mean and the spread of a local interpolation of records.

    At every point the network sees how the records around it agree with each other and with
    interpolations by other covariances, and what is known of the place. The members are those of
    the interpolation, recentred and rescaled. Where the network gives zero, or no record is in
    reach, they are those of the interpolation bit for bit. It serves any grid and any records.

    Attributes:
        first: the interpolation.
        network: that corrects it.
        place: what is known of each point, see `LocalViews.inputs`.
    """

    first: LocalInterpolation
    network: RecordNetwork
    place: Float[Array, "*state"]

    @property
    def operator(self) -> PlacedPoints:
        return self.first.operator

    def at(self, point: int) -> "CorrectedInterpolation":
        return eqx.tree_at(lambda s: s.first, self, self.first.at(point))

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        return self.first.support(background, observations)

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        analysis = self.first.analyse(background, observations, key=key)
        _, targets, records, indices, near = self.first.interpolated(background, observations)
        _, innovations = in_turn(analysis.ensemble, records.innovations)
        records = eqx.tree_at(lambda r: r.innovations, records, innovations)
        views = local_views(targets, records, indices, near, self.first.covariance)
        place = self.first.at_targets(self.place)
        shift, factor = correction(self.network, views, place)
        shape = background.shape[1:]
        moved = self.first.on_grid(shift, shape)
        stretched = self.first.spread_out(factor - 1, shape) + 1
        mean = analysis.mean + moved
        members = mean[None] + stretched[None] * (analysis.ensemble - analysis.mean[None])
        same = (moved == 0) & (stretched == 1)
        return Analysis(
            ensemble=jnp.where(same[None], analysis.ensemble, members),
            mean=mean,
            spread=analysis.spread * stretched,
            result=analysis.result,
            diagnostics=analysis.diagnostics,
        )


def corrected(
    first: LocalInterpolation, network: RecordNetwork, place: Float[Array, "*state"]
) -> AbstractAnalysisStep:
    """The correction of an interpolation, or the interpolation where the network changes nothing.

    Arguments:
        first: the interpolation.
        network: trained; all zero where the interpolation is kept.
        place: what is known of each point.
    """
    if not any(np.any(np.asarray(part)) for layer in network.layers for part in layer):
        return first
    return CorrectedInterpolation(  # type: ignore[call-arg]
        first=first, network=network, place=place
    )
