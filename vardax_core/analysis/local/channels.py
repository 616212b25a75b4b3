"""Local interpolation of a state of several channels, each from records of its own variable."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractPointwiseStep, Support
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.observations.placement import AbstractPlaced, PlacedPoints, Placement, Search
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class ChannelInterpolation(AbstractPointwiseStep, AbstractPlaced):
    """A local interpolation for every channel of a state, with a block-diagonal covariance.

    What is observed of one channel changes no other: covariances between variables are left out.

    Attributes:
        operator: of the records of the window, on the whole state.
        channels: the interpolation of each channel, in their order; None for one that is not
            observed, which stays as its background.
    """

    operator: PlacedPoints
    channels: tuple[LocalInterpolation | None, ...]

    @property
    def search(self) -> Search:
        """One among the records of each channel."""
        some = next(one.search for one in self.channels if one is not None)
        own = tuple(some if one is None else one.search for one in self.channels)
        return Search(max(one.radius for one in own), some.most, channels=own)

    @property
    def _size(self) -> int:
        """Points of a channel."""
        return self.operator.state_size // len(self.channels)

    def placed(self, placement: Placement) -> "ChannelInterpolation":
        size, of = self._size, placement.points[:, 0] // self._size
        # All channels have the same points, or nodes.
        rows = placement.nearest.shape[0] // len(self.channels)

        def own(number: int) -> Placement:
            mine = (of == number)[:, None]
            points = slice(number * rows, (number + 1) * rows)
            return dataclasses.replace(
                placement,
                points=jnp.where(mine, placement.points - number * size, 0),
                weights=jnp.where(mine, placement.weights, 0.0),
                nearest=placement.nearest[points],
                distances=placement.distances[points],
            )

        channels = tuple(
            None if one is None else one.placed(own(number))
            for number, one in enumerate(self.channels)
        )
        return ChannelInterpolation(self.operator.placed(placement), channels)

    def at(self, point: int) -> "ChannelInterpolation":
        own = tuple(None if one is None else one.at(point) for one in self.channels)
        return ChannelInterpolation(self.operator, own)

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        found = [
            one.support(background[:, number], self._own(observations, number))
            for number, one in enumerate(self.channels)
            if one is not None
        ]
        count, weight, signal = (
            sum(getattr(one, name) for one in found)
            for name in ("observations", "weight", "signal")
        )
        return Support(count, weight, found[0].inflation, signal)

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        found, count = [], jnp.zeros((), background.dtype)
        for number, channel in enumerate(self.channels):
            if channel is None:
                members = background[:, number]
                found.append((members, ensemble_mean(members), ensemble_spread(members)))
                continue
            mine = self._own(observations, number)
            own_key = jax.random.fold_in(key, number)
            own = channel.analyse(background[:, number], mine, key=own_key)
            found.append((own.ensemble, own.mean, own.spread))
            count += own.diagnostics["interpolated_records"]
        ensembles, means, spreads = zip(*found, strict=True)
        return Analysis(
            ensemble=jnp.stack(ensembles, axis=1),
            mean=jnp.stack(means),
            spread=jnp.stack(spreads),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"interpolated_records": count},
        )

    def _own(self, observations: Observations, number: int) -> Observations:
        """The observations of a channel."""
        of = self.operator.points[:, 0] // self._size
        return dataclasses.replace(observations, mask=observations.mask & (of == number)[None])
