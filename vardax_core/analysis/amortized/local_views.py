"""What a network is shown of the records around a target: statistics of a local interpolation."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    LocalRecords,
    LocalSystem,
    LocalTargets,
    in_blocks,
    local_system,
)

FACTORS = ((1.7, 1.0, 1.0), (1.0, 0.6, 1.0), (1.0, 1.6, 1.0), (1.0, 1.0, 0.5))
"""On the standard deviation, the lengths and the timescales of the covariance of each rival."""
ROBUST = 2.0
"""A record that departs by more of its standard deviations from what the others say of it counts
as if it departed by so many, for the last rival."""
RIVALS = len(FACTORS) + 1
KNOWN = 9
"""Statistics of the records around a target."""
INPUTS = KNOWN + RIVALS + 1
LIMIT = 4.0
"""Of an input of the network."""
BLOCK = 256

Draw = Callable[[LocalSystem, Float[Array, ""]], tuple[Array, Array]]


class LocalViews(eqx.Module):
    """Local interpolations of the records around targets, and how the records agree with them.

    Attributes:
        increment, variance: of the interpolation, see `LocalEstimate`.
        prior: variance of the state without any record.
        known: statistics of the neighbours that do not change with the sign of the innovations.
        rivals: increments of interpolations by other covariances, and of one in which records
            that disagree with all others count less, each minus `increment`.
    """

    increment: Float[Array, " target"]
    variance: Float[Array, " target"]
    prior: Float[Array, " target"]
    known: Float[Array, "target known"]
    rivals: Float[Array, "target rival"]

    @property
    def explained(self) -> Float[Array, " target"]:
        """Share of the variance that the records explain; exactly 0 where none is in reach."""
        return jnp.clip(1 - self.variance / self.prior, 0.0, 1.0)

    def inputs(self, place: Float[Array, " target"]) -> Float[Array, "target input"]:
        """Numbers of order one that have no unit and no place.

        Arguments:
            place: what is known of each target's place, of order one.
        """
        sd = jnp.sqrt(self.variance)[:, None]
        columns = [self.known, jnp.abs(self.rivals) / sd, place[:, None]]
        return jnp.clip(jnp.concatenate(columns, axis=1), -LIMIT, LIMIT)


def local_views(
    targets: LocalTargets,
    records: LocalRecords,
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
    innovations: Float[Array, "target near"] | None = None,
    *,
    block: int = BLOCK,
) -> LocalViews:
    """Look at the records around each target.

    Arguments:
        targets, records, indices, near, covariance: as of `interpolate`.
        innovations: of each target's own neighbours, instead of those of the records.
        block: targets that are looked at at once.
    """
    dtype = targets.scale.dtype
    if targets.straight.shape[0] == 0 or records.innovations.shape[0] == 0:
        prior = covariance.variance().astype(dtype) * targets.scale**2
        nothing = jnp.zeros_like(prior)[:, None]
        known, rivals = (jnp.broadcast_to(nothing, (prior.size, n)) for n in (KNOWN, RIVALS))
        return LocalViews(jnp.zeros_like(prior), prior, prior, known, rivals)
    if innovations is None:
        innovations = records.innovations[indices]

    def at_target(row: tuple[Array, ...]) -> tuple[Array, ...]:
        place, minutes, scale, index, there, departures = row
        used = there & records.mask[index]
        d = jnp.where(used, departures, 0.0)

        def system(by: SpaceTimeCovariance) -> LocalSystem:
            return local_system(place, minutes, scale, index, used, records, by)

        prior = covariance.variance().astype(dtype) * scale**2
        increment, variance, known, robust = _view(system(covariance), d, used, prior)
        increment, d = in_turn(increment, d)

        def rival(factors: Float[Array, "3"]) -> Float[Array, ""]:
            other = system(reshaped(covariance, factors))
            return other.to_target @ other.solve(d)[1]

        rivals = jnp.append(jax.lax.map(rival, jnp.asarray(FACTORS, dtype)), robust)
        return increment, variance, prior, known, rivals - increment

    rows = (targets.straight, targets.minutes, targets.scale, indices, near, innovations)
    increment, variance, prior, known, rivals = in_blocks(at_target, rows, block)
    return LocalViews(increment, variance, prior, known, rivals)


def in_turn(first: Array, second: Array) -> tuple[Array, Array]:
    """The same two, of which no computation on the second begins before the first is there.

    On CPUs, two factorisations at once may wait for the threads of each other for ever.
    """
    return jax.lax.optimization_barrier((first, second))


def reshaped(
    covariance: SpaceTimeCovariance,
    factors: tuple[float, float, float] | Float[Array, "3"],
) -> SpaceTimeCovariance:
    """A covariance with its standard deviation, lengths and timescales times factors."""
    spread, length, time = (jnp.asarray(f, covariance.variances.dtype) for f in factors)
    return SpaceTimeCovariance(
        covariance.variances * spread**2,
        covariance.lengths * length,
        covariance.timescales * time,
        covariance.space,
        covariance.time,
    )


def _view(
    system: LocalSystem,
    d: Float[Array, " near"],
    used: Bool[Array, " near"],
    prior: Float[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Increment, variance, statistics of the neighbours, and the robust increment of a target.

    With P = S^-1, the departure of a neighbour from what all others say of it is (P d)_i / P_ii,
    of variance 1 / P_ii.

    Source: Dubrule (1983), doi:10.1007/BF01033232
    """
    root = jnp.sqrt(jnp.diagonal(system.matrix))
    lower = jnp.linalg.cholesky(system.matrix / (root[:, None] * root[None, :]))
    whole = jnp.eye(d.shape[0], dtype=d.dtype)
    precision = jax.scipy.linalg.cho_solve((lower, True), whole) / (root[:, None] * root[None, :])
    weights, own = precision @ system.to_target, jnp.sqrt(jnp.diagonal(precision))
    increment = weights @ d
    least = jnp.finfo(prior.dtype).eps * prior
    variance = jnp.maximum(prior - weights @ system.to_target, least)
    alone = jnp.where(used, (precision @ d) / own, 0.0)
    over = jnp.sign(alone) * jnp.maximum(jnp.abs(alone) - ROBUST, 0.0)
    nearness = jnp.where(used, system.to_target**2 / prior, 0.0) / root**2
    total = jnp.sum(nearness)

    def mean(of: Float[Array, " near"], weight: Float[Array, " near"]) -> Float[Array, ""]:
        return jnp.sum(weight * of) / jnp.maximum(jnp.sum(weight), 1e-6)

    known = jnp.stack(
        [
            jnp.log(variance / prior),
            jnp.log(mean(alone**2, nearness) + 0.05),
            jnp.log(mean(alone**2, used.astype(d.dtype)) + 0.05),
            jnp.log(mean(alone**2, nearness**2) + 0.05),
            jnp.log(mean(d**2, nearness) / prior + 0.05),
            mean(alone, nearness) ** 2,
            jnp.log(total + 0.1),
            jnp.max(nearness),
            jnp.sum(weights),
        ]
    )
    return increment, variance, known, increment - weights @ (over / own)
