"""What the departures of every observation were like of late, for analyses that look at it."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.departures import Departures, Residuals
from vardax_core.types import PAST_STATISTICS

LARGEST = 5.0
"""Standardised departure beyond which an observation counts no more."""


class DepartureHistory(eqx.Module):
    """Exponentially forgotten means of each observation's departures.

    One cycle does not tell a forecast model that is wrong from one that is right; some fifty do.
    An analysis that sees these means can inflate its ensemble, or shift it, where the model errs,
    and leave it alone where it does not. In the order of `PAST_STATISTICS` the means are of

        z,   z^2 - 1,   H(A - B) / sqrt(HBH'),   1       with z = (O-B) / sqrt(HBH' + R)

    over the cycles in which the observation was used; the third is over all cycles with any
    observation. All are zero at first. The first three tend to zero in cycles without a fault, and
    the last to one: it tells a model that is right from one of which nothing is known yet.

    Attributes:
        memories: cycles after which a cycle's weight has fallen to 1/e; each has its own means.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108; Dee (2005), doi:10.1256/qj.05.137, on
    increments that average to a bias of the model.
    """

    memories: tuple[float, ...] = eqx.field(static=True, default=(25.0, 200.0))

    def __check_init__(self):
        if not self.memories or not all(memory > 0 for memory in self.memories):
            raise ValueError(
                f"DepartureHistory: expected memories of more than 0 cycles, got {self.memories}."
            )

    @property
    def size(self) -> int:
        """Number of means of each observation."""
        return len(self.memories) * len(PAST_STATISTICS)

    def init(
        self, n_observations: int, dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "statistic obs"]:
        """The means before the first cycle."""
        return jnp.zeros((self.size, n_observations), dtype)

    def standardised(self, past: Float[Array, "statistic obs"]) -> Float[Array, "statistic obs"]:
        """The means in units of what chance makes of them, roughly, and the evidence as it is."""
        scales = [[math.sqrt(2 * memory)] * 3 + [1.0] for memory in self.memories]
        return past * jnp.asarray(scales, past.dtype).reshape(-1, 1)

    def update(
        self,
        past: Float[Array, "statistic obs"],
        departures: Departures,
        residuals: Residuals,
    ) -> Float[Array, "statistic obs"]:
        """Take one cycle in; what is not finite is left out.

        Arguments:
            past: the means before.
            departures, residuals: of the cycle.
        """
        used = departures.used
        z = jnp.clip(departures.normalised, -LARGEST, LARGEST)
        spread = jnp.sqrt(departures.variance)
        shift = residuals.increment / jnp.where(spread > 0, spread, 1.0)
        shift = jnp.clip(shift, -LARGEST, LARGEST)
        new = jnp.stack([z, z**2 - 1, shift, jnp.ones_like(z)])
        known = jnp.stack([used, used, jnp.broadcast_to(jnp.any(used), used.shape), used])
        known = known & jnp.isfinite(new)
        updated = []
        for memory, old in zip(self.memories, jnp.split(past, len(self.memories)), strict=True):
            keep = math.exp(-1 / memory)
            updated.append(jnp.where(known, keep * old + (1 - keep) * new, old))
        return jnp.concatenate(updated)


class AbstractRememberingStep(AbstractAnalysisStep):
    """An analysis that may look at past departures; whoever cycles it keeps them for it.

    Attributes:
        history: how they are kept, or None where the analysis does not look at them.
    """

    history: eqx.AbstractVar[DepartureHistory | None]


def history_of(step: AbstractAnalysisStep) -> DepartureHistory | None:
    """How the past departures are kept that an analysis looks at, or None if it does not."""
    return step.history if isinstance(step, AbstractRememberingStep) else None
