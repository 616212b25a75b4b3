"""Updates in the space spanned by the ensemble members."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Transform(eqx.Module):
    """What one ensemble-space analysis does to the members' anomalies X.

    The mean moves by `mean_weights @ X`, the anomalies become `matrix @ X`.

    Attributes:
        mean_weights: weight of each anomaly in the increment of the mean.
        matrix: symmetric square root of the analysis covariance in ensemble space.
        signal: degrees of freedom for signal, the trace of the observations' influence.
    """

    mean_weights: Float[Array, " member"]
    matrix: Float[Array, "member member"]
    signal: Float[Array, ""]


def symmetric_transform(
    scaled: Float[Array, "member obs"], innovation: Float[Array, " obs"]
) -> Transform:
    """The symmetric square-root update of Y = `scaled` and d = `innovation`.

    Both are divided by the observation error, Y also by sqrt(M - 1), and d too. The matrix is
    (I + Y Y')^-1/2 and the weights are (I + Y Y')^-1 Y d. The eigenvalue problem is solved in
    the smaller of ensemble and observation space.

    Arguments:
        scaled: R^-1/2 times the anomalies of the members' equivalents over sqrt(M - 1).
        innovation: R^-1/2 times the innovation of the mean over sqrt(M - 1).

    Source: Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008
    """
    members, obs = scaled.shape
    identity = jnp.eye(members, dtype=scaled.dtype)
    if obs < members:
        values, vectors = jnp.linalg.eigh(scaled.T @ scaled)
        values = jnp.maximum(values, 0.0)
        root = jnp.sqrt(1 + values)
        basis = scaled @ vectors
        weights = basis @ ((vectors.T @ innovation) / (1 + values))
        matrix = identity - (basis / (root * (1 + root))[None]) @ basis.T
    else:
        values, vectors = jnp.linalg.eigh(scaled @ scaled.T)
        values = jnp.maximum(values, 0.0)
        weights = vectors @ ((vectors.T @ (scaled @ innovation)) / (1 + values))
        matrix = (vectors / jnp.sqrt(1 + values)[None]) @ vectors.T
    return Transform(weights, matrix, jnp.sum(values / (1 + values)))


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
    vectors = vectors * (2.0**0.5 / jnp.linalg.norm(vectors, axis=0))[None]

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
