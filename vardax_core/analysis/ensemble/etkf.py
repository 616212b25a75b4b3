"""The ensemble transform Kalman filter."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


def mean_preserving_rotation(
    members: int, dtype: jnp.dtype, *, key: PRNGKeyArray
) -> Float[Array, "member member"]:
    """A random orthogonal matrix that leaves the ensemble mean and covariance unchanged.

    A Haar-distributed rotation of the space orthogonal to (1, ..., 1), as a product of
    Householder reflections. No LAPACK routine is used: see docs/decisions.md, "One LAPACK call
    at a time".

    Source: Sakov and Oke (2008), doi:10.1111/j.1600-0870.2007.00299.x; Stewart (1980),
    doi:10.1137/0717034
    """
    size = members - 1
    # Column k holds the Householder vector of the k-th Gaussian column, zero above row k.
    normals = jnp.tril(jax.random.normal(key, (size, size), dtype))
    sign = jnp.where(jnp.diag(normals) < 0, -1.0, 1.0).astype(dtype)
    vectors = normals + jnp.diag(sign * jnp.linalg.norm(normals, axis=0))
    vectors = vectors * (2.0**0.5 / jnp.linalg.norm(vectors, axis=0))

    def reflect(index, matrix):
        vector = vectors[:, size - 1 - index]
        return matrix - jnp.outer(vector, vector @ matrix)

    rotation = jax.lax.fori_loop(0, size, reflect, jnp.diag(-sign))
    # The reflection that maps (1, ..., 1) / sqrt(M) to minus the first axis.
    ones = jnp.full((members,), members**-0.5, dtype)
    axis = ones.at[0].add(1.0)
    reflection = jnp.eye(members, dtype=dtype) - jnp.outer(axis, axis) / (1.0 + ones[0])
    inner = jnp.eye(members, dtype=dtype).at[1:, 1:].set(rotation)
    return reflection @ inner @ reflection


class ETKF(AbstractAnalysisStep):
    """Symmetric square-root filter in the space of the ensemble.

    With anomalies X, Y = R^-1/2 H X / sqrt(M - 1) and d = R^-1/2 (y - H xb), the analysis is
    xb + X w with w = T Y' d / sqrt(M - 1), anomalies X T^1/2 and T = (I + Y'Y)^-1.

    Attributes:
        operator: observation operator H.
        inflation: factor on the analysis anomalies.
        rotate: whether the anomalies are turned by a random mean-preserving rotation.

    Source: Bishop et al. (2001), doi:10.1175/1520-0493(2001)129<0420:ASWTET>2.0.CO;2;
    Sakov and Oke (2008), doi:10.1111/j.1600-0870.2007.00299.x
    """

    operator: AbstractObservationOperator
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if not self.inflation > 0:
            raise ValueError(f"ETKF: inflation must be positive, got {self.inflation}.")

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        members = background.shape[0]
        if members < 2:
            raise ValueError("ETKF: at least 2 members are needed, got 1.")
        now = observations.at_analysis_time()
        mean = ensemble_mean(background)
        anomalies = (background - mean).reshape(members, -1)
        equivalents = self.operator.ensemble(background)
        observed_mean = ensemble_mean(equivalents)
        weight = jnp.where(now.mask[0], 1 / now.error_sd[0], 0.0) * (members - 1) ** -0.5
        scaled = (equivalents - observed_mean) * weight
        innovation = (now.values[0] - observed_mean) * weight
        values, vectors = jnp.linalg.eigh(scaled @ scaled.T)
        values = jnp.maximum(values, 0.0)
        mean_weights = vectors @ ((vectors.T @ (scaled @ innovation)) / (1 + values))
        transform = (vectors * (1 + values) ** -0.5) @ vectors.T
        if self.rotate and members > 2:
            transform = mean_preserving_rotation(members, background.dtype, key=key) @ transform
        increment = mean_weights @ anomalies
        new_anomalies = self.inflation * (transform @ anomalies)
        ensemble = (mean.reshape(-1) + increment + new_anomalies).reshape(background.shape)
        return Analysis(
            ensemble=ensemble,
            mean=ensemble_mean(ensemble),
            spread=ensemble_spread(ensemble),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"degrees_of_freedom_for_signal": jnp.sum(values / (1 + values))},
        )
