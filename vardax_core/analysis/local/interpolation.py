"""Optimal interpolation of every target from the records around it."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.view import in_batches

BLOCK = 256
"""Targets that are solved for at once."""


class LocalTargets(eqx.Module):
    """Where and when the state is wanted.

    Attributes:
        straight: coordinates in an embedding, see `AbstractGrid.embedded`.
        minutes: relative to the analysis time.
        scale: local standard deviation of the state over the covariance's own; one where the
            covariance holds everywhere.
    """

    straight: Float[Array, "target straight"]
    minutes: Float[Array, " target"]
    scale: Float[Array, " target"]

    @classmethod
    def at(
        cls,
        straight: Float[Array, "target straight"],
        minutes: Float[Array, " target"] | None = None,
        scale: Float[Array, " target"] | None = None,
    ) -> "LocalTargets":
        """Make targets, by default at the analysis time and of the covariance's variance."""
        count, dtype = straight.shape[0], straight.dtype
        return cls(
            straight,
            jnp.zeros(count, dtype) if minutes is None else minutes,
            jnp.ones(count, dtype) if scale is None else scale,
        )


class LocalRecords(eqx.Module):
    """Innovations with their places and times.

    Attributes:
        innovations: observed minus background, unit of the state; any number where not `mask`.
        error_sd: standard deviation of each record's own error, unit of the state, positive.
        mask: records that may be used.
        minutes: relative to the analysis time.
        straight: coordinates in the embedding of the targets.
        platform: number of the station, buoy or track.
        shared_sd: standard deviation of the error that all records of a platform have in common.
        scale: as of `LocalTargets`.
    """

    innovations: Float[Array, " obs"]
    error_sd: Float[Array, " obs"]
    mask: Bool[Array, " obs"]
    minutes: Float[Array, " obs"]
    straight: Float[Array, "obs straight"]
    platform: Int[Array, " obs"]
    shared_sd: Float[Array, " obs"]
    scale: Float[Array, " obs"]

    @classmethod
    def of(
        cls,
        innovations: Float[Array, " obs"],
        error_sd: Float[Array, " obs"],
        straight: Float[Array, "obs straight"],
        *,
        minutes: Float[Array, " obs"] | None = None,
        platform: Int[Array, " obs"] | None = None,
        shared_sd: Float[Array, " obs"] | None = None,
        scale: Float[Array, " obs"] | None = None,
        mask: Bool[Array, " obs"] | None = None,
    ) -> "LocalRecords":
        """Make records in which a number that is not finite, or an error or a scale that is not
        positive, means missing.

        By default they are of the analysis time, each a platform of its own, without a shared
        error and of the covariance's variance.
        """
        count, dtype = innovations.shape[0], innovations.dtype
        minutes = jnp.zeros(count, dtype) if minutes is None else minutes
        shared_sd = jnp.zeros(count, dtype) if shared_sd is None else shared_sd
        scale = jnp.ones(count, dtype) if scale is None else scale
        platform = jnp.arange(count, dtype=jnp.int32) if platform is None else platform
        fine = jnp.isfinite(innovations) & jnp.isfinite(error_sd) & (error_sd > 0)
        fine &= jnp.isfinite(minutes) & jnp.all(jnp.isfinite(straight), axis=1)
        fine &= jnp.isfinite(scale) & (scale > 0) & jnp.isfinite(shared_sd) & (shared_sd >= 0)
        return cls(
            innovations=jnp.where(fine, innovations, 0.0),
            error_sd=jnp.where(fine, error_sd, 1.0),
            mask=fine if mask is None else fine & mask,
            minutes=jnp.where(fine, minutes, 0.0),
            straight=jnp.where(fine[:, None], straight, 0.0),
            platform=platform,
            shared_sd=jnp.where(fine, shared_sd, 0.0),
            scale=jnp.where(fine, scale, 1.0),
        )


class LocalEstimate(eqx.Module):
    """The state at every target, given the records around it.

    Attributes:
        increment: mean minus background, unit of the state.
        variance: of the state's error, unit squared.
        weights: of each neighbour's innovation; zero where there is none.
    """

    increment: Float[Array, " target"]
    variance: Float[Array, " target"]
    weights: Float[Array, "target near"]


def contributions(
    weights: Float[Array, "target near"],
    indices: Int[Array, "target near"],
    innovations: Float[Array, "*any obs"],
) -> Float[Array, "*any target near"]:
    """What each neighbour adds to the increment; their sum is the increment."""
    return jnp.where(weights == 0, 0.0, weights * innovations[..., indices])


def interpolate(
    targets: LocalTargets,
    records: LocalRecords,
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
    *,
    block: int = BLOCK,
) -> LocalEstimate:
    """Interpolate the innovations around each target.

    With G the covariances of the target with its neighbours and S theirs with one another, R
    included, the increment is w'd with S w = G and the variance that of the state minus w'G. Work
    and memory grow with the targets times the neighbours; nothing has the size of all records
    squared. A target without a neighbour has no increment and the state's variance.

    Arguments:
        targets: where the state is wanted.
        records: the innovations d and their errors R.
        indices, near: of each target's neighbours, see `space_time_neighbours`.
        covariance: of the state's departures from the background.
        block: targets that are solved for at once.

    Source: Gandin (1963); Bretherton et al. (1976), doi:10.1016/0011-7471(76)90001-2
    """

    def at_target(
        target: tuple[Array, ...],
    ) -> tuple[Float[Array, ""], Float[Array, " near"]]:
        place, minutes, scale, index, there = target
        used = there & records.mask[index]
        system = local_system(place, minutes, scale, index, used, records, covariance)
        weights, whitened = system.solve()
        return jnp.sum(whitened**2), weights

    rows = (targets.straight, targets.minutes, targets.scale, indices, near)
    prior = covariance.variance().astype(targets.scale.dtype) * targets.scale**2
    if targets.straight.shape[0] == 0 or records.innovations.shape[0] == 0:
        return LocalEstimate(jnp.zeros_like(prior), prior, jnp.zeros(indices.shape, prior.dtype))
    explained, weights = in_blocks(at_target, rows, block)
    # Below this share of the variance the difference is nothing but rounding.
    least = jnp.finfo(prior.dtype).eps * prior
    increment = jnp.sum(contributions(weights, indices, records.innovations), axis=-1)
    return LocalEstimate(increment, jnp.maximum(prior - explained, least), weights)


def degrees_of_freedom_for_signal(
    targets: LocalTargets,
    records: LocalRecords,
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
    *,
    block: int = BLOCK,
) -> Float[Array, " target"]:
    """The trace of (S - R) S^-1 of the neighbours of each target; arguments as of `interpolate`."""
    exact = dataclasses.replace(
        records,
        error_sd=jnp.zeros_like(records.error_sd),
        shared_sd=jnp.zeros_like(records.shared_sd),
    )

    def at_target(target: tuple[Array, ...]) -> tuple[Float[Array, ""]]:
        place, minutes, scale, index, there = target
        used = there & records.mask[index]
        state, both = (
            local_system(place, minutes, scale, index, used, given, covariance).matrix
            for given in (exact, records)
        )
        factor = jax.scipy.linalg.cho_factor(both, lower=True)
        influence = jnp.diagonal(jax.scipy.linalg.cho_solve(factor, state))
        return (jnp.sum(jnp.where(used, influence, 0.0)),)

    rows = (targets.straight, targets.minutes, targets.scale, indices, near)
    if targets.straight.shape[0] == 0 or records.innovations.shape[0] == 0:
        return jnp.zeros_like(targets.scale)
    return in_blocks(at_target, rows, block)[0]


def in_blocks(
    function: Callable[[tuple[Array, ...]], tuple[Array, ...]], rows: tuple[Array, ...], block: int
) -> tuple[Array, ...]:
    """Apply a function to every row, a block at a time."""
    return in_batches(jax.vmap(function), rows, block)


class LocalSystem(NamedTuple):
    """The normal equations S w = G of one target.

    Attributes:
        to_target: G, covariances of the target with its neighbours; zero for an unused one.
        matrix: S of the neighbours, observation errors included; an unused one has variance one
            and is tied to nothing.
    """

    to_target: Float[Array, " near"]
    matrix: Float[Array, "near near"]

    def solve(
        self, innovations: Float[Array, " near"] | None = None
    ) -> tuple[Float[Array, " near"], Float[Array, " near"]]:
        """S^-1 G, and G whitened by the Cholesky factor L of S; with innovations d instead of
        the latter S^-1 d."""
        root = jnp.sqrt(jnp.diagonal(self.matrix))
        lower = jnp.linalg.cholesky(self.matrix / (root[:, None] * root[None, :]))

        def back(whitened: Float[Array, " near"]) -> Float[Array, " near"]:
            return jax.scipy.linalg.solve_triangular(lower, whitened, lower=True, trans=1) / root

        def whiten(vector: Float[Array, " near"]) -> Float[Array, " near"]:
            return jax.scipy.linalg.solve_triangular(lower, vector / root, lower=True)

        whitened = whiten(self.to_target)
        second = whitened if innovations is None else back(whiten(innovations))
        return back(whitened), second


def local_system(
    place: Float[Array, " straight"],
    minutes: Float[Array, ""],
    scale: Float[Array, ""],
    index: Int[Array, " near"],
    used: Bool[Array, " near"],
    records: LocalRecords,
    covariance: SpaceTimeCovariance,
) -> LocalSystem:
    """Form the normal equations of one target.

    Arguments:
        place, minutes, scale: of the target.
        index, used: its neighbours, and which of them count.
        records, covariance: as of `interpolate`.
    """
    straight, when, own_scale = (
        records.straight[index],
        records.minutes[index],
        records.scale[index],
    )
    apart = distances(straight, straight)
    to_place = distances(straight, place[None])[:, 0]
    to_target = covariance(to_place, when - minutes) * own_scale * scale
    state = covariance(apart, when[:, None] - when[None, :])
    state *= own_scale[:, None] * own_scale[None, :]
    platform, shared = records.platform[index], records.shared_sd[index]
    common = platform[:, None] == platform[None, :]
    state += jnp.where(common, shared[:, None] * shared[None, :], 0.0)
    variance = jnp.diagonal(state)
    error = resolved_error(records.error_sd[index] ** 2, variance)
    own = jnp.where(used, variance + error, 1.0)
    off = used[:, None] & used[None, :] & ~jnp.eye(index.shape[0], dtype=bool)
    return LocalSystem(
        to_target=jnp.where(used, to_target, 0.0),
        matrix=jnp.where(off, state, 0.0) + jnp.diag(own),
    )


def resolved_error(
    error_variance: Float[Array, " near"], variance: Float[Array, " near"]
) -> Float[Array, " near"]:
    """Error variances, raised to where S has a Cholesky factor in the precision at hand.

    Scaled to a unit diagonal, a positive semi-definite k x k matrix may fail by a few k eps. A
    record with an error of a smaller share of its variance is taken to have that: in single
    precision and of 60 neighbours, 0.5 % of the state's standard deviation.

    Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, theorem 10.7.
    """
    share = 4 * variance.shape[0] * jnp.finfo(variance.dtype).eps
    return jnp.maximum(error_variance, share * variance)


def distances(
    first: Float[Array, "first straight"], second: Float[Array, "second straight"]
) -> Float[Array, "first second"]:
    """Lengths of the straight lines from places to others."""
    # A sum over few columns is several times faster than one over a short last axis.
    squares = jnp.zeros((first.shape[0], second.shape[0]), first.dtype)
    for column in range(first.shape[1]):
        squares += (first[:, column, None] - second[None, :, column]) ** 2
    return jnp.sqrt(squares)
