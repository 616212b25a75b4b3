"""Members of a local interpolation by conditional simulation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.local.covariance import TWICE_SMOOTHNESS, Shape, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    LocalEstimate,
    LocalRecords,
    LocalTargets,
    contributions,
    in_blocks,
)

FEATURES = 512
"""Frequencies of each component."""
BLOCK = 2048
"""Places at which fields are evaluated at once."""


class RandomFeatures(eqx.Module):
    """Waves whose sums with normal amplitudes are fields of a covariance.

    Attributes:
        wavenumbers: in radians per unit of distance.
        frequencies: in radians per minute.
        amplitudes: of each wave; their squares sum to the variance.

    Source: Rahimi and Recht (2007), Random features for large-scale kernel machines, NIPS 20.
    """

    wavenumbers: Float[Array, "wave straight"]
    frequencies: Float[Array, " wave"]
    amplitudes: Float[Array, " wave"]

    @classmethod
    def of(
        cls,
        covariance: SpaceTimeCovariance,
        dimensions: int,
        *,
        count: int = FEATURES,
        dtype: jnp.dtype | None = None,
        key: PRNGKeyArray,
    ) -> "RandomFeatures":
        """Draw waves from the spectral density of each component, a product of t-distributions."""
        dtype = covariance.variances.dtype if dtype is None else dtype
        components = covariance.variances.shape[0]
        space_key, time_key = jax.random.split(key)
        in_space = _waves(covariance.space, (components, count), dimensions, dtype, space_key)
        in_time = _waves(covariance.time, (components, count), 1, dtype, time_key)[..., 0]
        lengths, timescales, variances = (
            column.astype(dtype)
            for column in (covariance.lengths, covariance.timescales, covariance.variances)
        )
        amplitudes = jnp.broadcast_to(jnp.sqrt(variances / count)[:, None], (components, count))
        return cls(
            (in_space / lengths[:, None, None]).reshape(-1, dimensions),
            (in_time / timescales[:, None]).reshape(-1),
            amplitudes.reshape(-1),
        )

    def fields(
        self,
        straight: Float[Array, "place straight"],
        minutes: Float[Array, " place"],
        coefficients: Float[Array, "member part wave"],
    ) -> Float[Array, "member place"]:
        """Evaluate fields at places and times.

        Arguments:
            straight, minutes: of the places.
            coefficients: standard normal numbers; the two parts are those of cosines and sines.
        """
        cosines, sines = (coefficients * self.amplitudes[None, None]).transpose(1, 2, 0)

        def at_place(row: tuple[Array, ...]) -> tuple[Float[Array, " member"]]:
            place, when = row
            phase = self.wavenumbers @ place + self.frequencies * when
            return (jnp.cos(phase) @ cosines + jnp.sin(phase) @ sines,)

        if straight.shape[0] == 0:
            return jnp.zeros((coefficients.shape[0], 0), coefficients.dtype)
        return in_blocks(at_place, (straight, minutes), BLOCK)[0].T


def _waves(
    shape: Shape, size: tuple[int, int], dimensions: int, dtype: jnp.dtype, key: PRNGKeyArray
) -> Float[Array, "component wave dimension"]:
    """Wavenumbers of a correlation of unit length."""
    normal_key, chi2_key = jax.random.split(key)
    freedom = TWICE_SMOOTHNESS[shape]
    normal = jax.random.normal(normal_key, (*size, dimensions), dtype)
    parts = jax.random.normal(chi2_key, (*size, freedom), dtype)
    return normal / jnp.sqrt(jnp.mean(parts**2, axis=-1, keepdims=True))


def conditional_members(
    estimate: LocalEstimate,
    targets: LocalTargets,
    records: LocalRecords,
    indices: Int[Array, "target near"],
    covariance: SpaceTimeCovariance,
    members: int,
    *,
    count: int = FEATURES,
    key: PRNGKeyArray,
) -> Float[Array, "member target"]:
    """Draw increments whose mean and spread are exactly those of an interpolation.

    Each is a draw of the prior minus the interpolation, with the same weights, of what the records
    would have seen of it, errors included. They are then recentred and rescaled at every target;
    a single member has the spread of its draw.

    Arguments:
        estimate: of `interpolate`.
        targets, records, indices, covariance: that it was made of.
        members: number of draws.
        count: waves of each component.
        key: everything random follows from it.

    Source: Journel and Huijbregts (1978), Mining Geostatistics, chapter VII; Chiles and Delfiner
        (2012), doi:10.1002/9781118136188, section 7.3.
    """
    wave_key, prior_key, error_key, shared_key = jax.random.split(key, 4)
    dtype = targets.straight.dtype
    dimensions = targets.straight.shape[1]
    waves = RandomFeatures.of(covariance, dimensions, count=count, dtype=dtype, key=wave_key)
    size = waves.amplitudes.shape[0]
    coefficients = jax.random.normal(prior_key, (members, 2, size), dtype)
    prior = waves.fields(targets.straight, targets.minutes, coefficients) * targets.scale[None]
    seen = waves.fields(records.straight, records.minutes, coefficients) * records.scale[None]
    own = jax.random.normal(error_key, seen.shape, dtype) * records.error_sd[None]
    shared = jax.vmap(
        lambda platform: jax.random.normal(
            jax.random.fold_in(shared_key, platform), (members,), dtype
        )
    )(records.platform).T
    seen = seen + own + shared * records.shared_sd[None]

    def expected(drawn: Float[Array, " obs"]) -> Float[Array, " target"]:
        return jnp.sum(contributions(estimate.weights, indices, drawn), axis=-1)

    draws = prior - jax.lax.map(expected, seen) if seen.shape[1] else prior
    if members > 1:
        draws = draws - jnp.mean(draws, axis=0, keepdims=True)
        found = jnp.std(draws, axis=0, ddof=1)
        least = jnp.finfo(dtype).tiny
        draws = draws * (jnp.sqrt(estimate.variance) / jnp.maximum(found, least))[None]
    return estimate.increment[None] + draws
