"""Updates in the space spanned by the ensemble members."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, finite_error_sd
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class EnsembleSizeError(ValueError):
    """An ensemble that is too small for a covariance."""


class Transform(eqx.Module):
    """What one ensemble-space analysis does to the members' anomalies X.

    The mean moves by `mean_weights @ X`, the anomalies become `matrix @ X`.

    Attributes:
        mean_weights: weight of each anomaly in the increment of the mean.
        matrix: symmetric square root of the analysis covariance in ensemble space.
        contraction: the matrix, its factors limited to what differences of states can resolve.
        inverse: of the contraction.
        signal: degrees of freedom for signal, the trace of the observations' influence.
        chi2: d' (I + Y' Y)^-1 d, the normalised square of the innovation; p on average.
        resolved: whether the precision resolves the whole update to about 1 %.
    """

    mean_weights: Float[Array, " member"]
    matrix: Float[Array, "member member"]
    contraction: Float[Array, "member member"]
    inverse: Float[Array, "member member"]
    signal: Float[Array, ""]
    chi2: Float[Array, ""]
    resolved: Bool[Array, ""]


class WhitenedEnsemble(eqx.Module):
    """An ensemble and one row of observations, in units of the observation error.

    Attributes:
        anomalies: R^-1/2 times the anomalies of the members' equivalents.
        innovation: R^-1/2 times the innovation of the mean.
    """

    anomalies: Float[Array, "member obs"]
    innovation: Float[Array, " obs"]


def whitened_ensemble(
    operator: AbstractObservationOperator,
    errors: AbstractErrorModel,
    background: Float[Array, "member *state"],
    observations: Observations,
) -> WhitenedEnsemble:
    """Observe an ensemble at the analysis time and divide by the observation error."""
    values, mask, error_sd = (
        a[-1] for a in (observations.values, observations.mask, observations.error_sd)
    )
    equivalents = operator.ensemble(background)
    mean = ensemble_mean(equivalents)
    error_sd = finite_error_sd(error_sd, values, jnp.max(jnp.abs(equivalents), axis=0))

    def whiten(difference: Float[Array, " obs"]) -> Float[Array, " obs"]:
        return errors.whiten(difference, mean, mask, error_sd)

    return WhitenedEnsemble(jax.vmap(whiten)(equivalents - mean[None]), whiten(values - mean))


def check_members(method: str, background: Float[Array, "member *state"]) -> None:
    """Refuse an ensemble without anomalies.

    Raises:
        EnsembleSizeError: if there are fewer than 2 members.
    """
    if background.shape[0] < 2:
        raise EnsembleSizeError(
            f"{method}: at least 2 members are needed for a covariance, got "
            f"{background.shape[0]}; pass an ensemble or use a static covariance."
        )


RESOLVED = 0.004
"""Error of a singular value s of the scaled anomalies over sqrt(1 + s^2), and of a weight of the
mean, beyond which a direction counts as not resolved."""


class Spectrum(eqx.Module):
    """The eigenvalue problem of an analysis, solved in the smaller of its two spaces.

    With Y the anomalies over sqrt(M - 1), the problem is that of Y Y' in the space of the members
    orthogonal to (1, ..., 1), which Y has no part in, or, with fewer observations than members, of
    Y' Y. Directions that the precision does not resolve have the eigenvalue zero: the analysis
    leaves them alone.

    Attributes:
        whitened: what was decomposed.
        values: eigenvalues, not negative; those of Y Y' that are left out are zero.
        vectors: orthonormal eigenvectors, one to a column: of observations or of members.
        rotated: Y V or Y' V, whose columns are orthogonal and have the squares `values`.
        resolved: whether no direction had to be left alone.
    """

    whitened: WhitenedEnsemble
    values: Float[Array, " small"]
    vectors: Float[Array, "space small"]
    rotated: Float[Array, "other small"]
    resolved: Bool[Array, ""]

    @property
    def members(self) -> int:
        """Number of members M."""
        return self.whitened.anomalies.shape[0]

    @property
    def in_obs_space(self) -> bool:
        """Whether the vectors are those of Y' Y."""
        members, obs = self.whitened.anomalies.shape
        return obs < members

    def projections(self) -> Float[Array, " small"]:
        """The innovation along the eigenvectors: V' d in observation space, else V' Y d."""
        return self._projected(self.whitened.innovation[None])[0]

    def gain_weights(self, departures: Float[Array, "row obs"]) -> Float[Array, "row member"]:
        """The Kalman gain in ensemble space: the weights of the anomalies in K d for each row d."""
        solved = self._projected(departures) / (1 + self.values)[None]
        basis = self.rotated if self.in_obs_space else self.vectors
        return (self.members - 1) ** -0.5 * (solved @ basis.T)

    def _projected(self, departures: Float[Array, "row obs"]) -> Float[Array, "row small"]:
        return departures @ (self.vectors if self.in_obs_space else self.rotated)


def scaled_anomalies(whitened: WhitenedEnsemble) -> Float[Array, "member obs"]:
    """Y, the whitened anomalies over sqrt(M - 1)."""
    return (whitened.anomalies.shape[0] - 1) ** -0.5 * whitened.anomalies


def without_mean(rows: Float[Array, "member any"]) -> Float[Array, "rest any"]:
    """Q' times rows whose sum is zero, with Q an orthonormal basis of the space where it is."""
    one = rows.shape[0] ** -0.5
    return rows[1:] - (one / (1 + one)) * (rows[0] + one * jnp.sum(rows, axis=0))[None]


def with_mean(rows: Float[Array, "rest any"]) -> Float[Array, "member any"]:
    """Q times rows, the adjoint of `without_mean`."""
    one = (rows.shape[0] + 1) ** -0.5
    total = one * jnp.sum(rows, axis=0)[None]
    return jnp.concatenate([-total, rows - (one / (1 + one)) * total])


def spectrum_of(whitened: WhitenedEnsemble) -> Spectrum:
    """Solve the eigenvalue problem of an analysis.

    Eigenvalues of a product Y Y' carry an error of eps times the largest, singular values of Y one
    of eps times the largest. So where observations are so accurate, and the ensemble so unevenly
    spread, that the first would be felt, the singular values are found instead: in a loop of no or
    one turn, which side by side with others takes none where none needs it.

    Source: Golub and Van Loan (2013), Matrix Computations, sections 8.6 and 5.3, on both errors.
    """
    members, obs = whitened.anomalies.shape
    in_obs_space = obs < members
    scaled = scaled_anomalies(whitened)
    columns = scaled if in_obs_space else without_mean(scaled).T
    if obs == 0:
        none, nothing = jnp.zeros((0,), columns.dtype), jnp.zeros((0, 0), columns.dtype)
        return Spectrum(whitened, none, nothing, columns, jnp.asarray(True))
    eps = float(jnp.finfo(columns.dtype).eps)
    values, vectors = jnp.linalg.eigh(columns.T @ columns)
    rotated, length = columns @ vectors, jnp.linalg.norm(whitened.innovation)
    # Of the direction of the least value, whose error is the largest.
    least, largest = 1 + jnp.maximum(values[0], 0.0), values[-1]
    error = jnp.sqrt(eps * largest * least) + eps * jnp.sqrt(largest) * length
    vectors, rotated, known = _refined(columns, length, vectors, rotated, error > RESOLVED * least)
    return Spectrum(
        whitened=whitened,
        values=jnp.sum(rotated**2, axis=0),
        vectors=vectors if in_obs_space else with_mean(vectors),
        rotated=rotated,
        resolved=jnp.all(known),
    )


@jax.custom_jvp
def _refined(
    columns: Float[Array, "other small"],
    length: Float[Array, ""],
    vectors: Float[Array, "small small"],
    rotated: Float[Array, "other small"],
    rough: Bool[Array, ""],
) -> tuple[Float[Array, "small small"], Float[Array, "other small"], Bool[Array, " small"]]:
    """Vectors and rotated columns by singular values if `rough`, and which are resolved."""
    eps = float(jnp.finfo(columns.dtype).eps)

    def refine(found):
        columns = found[0]
        left, singular, right = jnp.linalg.svd(columns, full_matrices=False)
        square = singular**2
        error = 2 * eps * (singular[0] * jnp.sqrt(1 + square) + length * singular)
        # Missing observations, and those without weight, leave values that are zero for certain.
        rank = jnp.minimum(*(jnp.sum(jnp.any(columns != 0, axis=axis)) for axis in (0, 1)))
        known = (jnp.arange(square.shape[0]) >= rank) | (error <= RESOLVED * (1 + square))
        turned = jnp.where(known[None], left * singular[None], 0.0)
        # XLA takes what does not change out of a loop; the columns do, and are not needed again.
        return jnp.zeros_like(columns), right.T, turned, known, jnp.asarray(False)

    start = (columns, vectors, rotated, jnp.ones(columns.shape[1], bool), rough)
    return jax.lax.while_loop(lambda found: found[-1], refine, start)[1:-1]


@_refined.defjvp
def _refined_derivative(primals, tangents):
    """That of the rotated columns, with refined vectors held fixed."""
    rough, (d_columns, _, d_vectors, d_rotated, _) = primals[-1], tangents
    vectors, rotated, known = _refined(*primals)
    held = jnp.where(known[None], d_columns @ vectors, 0.0)
    change = (
        jnp.where(rough, 0.0, d_vectors),
        jnp.where(rough, held, d_rotated),
        np.zeros(known.shape, jax.dtypes.float0),
    )
    return (vectors, rotated, known), change


def transform_of(spectrum: Spectrum, factor: float | Float[Array, ""] = 1.0) -> Transform:
    """The symmetric square-root update of an ensemble whose anomalies are first inflated.

    With Y the inflated anomalies over sqrt(M - 1) and d the innovation, the matrix is
    (I + Y Y')^-1/2 and the weights are (I + Y Y')^-1 Y d / sqrt(M - 1); both act on the inflated
    anomalies. Inflation scales the eigenvalues and leaves the eigenvectors.

    Arguments:
        spectrum: of the ensemble before it is inflated.
        factor: on the anomalies.

    Source: Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008
    """
    members, vectors, whitened = spectrum.members, spectrum.vectors, spectrum.whitened
    values, projections = factor**2 * spectrum.values, spectrum.projections()
    root = jnp.sqrt(1 + values)
    limited = jnp.minimum(root, float(jnp.finfo(root.dtype).eps) ** -0.5)
    if spectrum.in_obs_space:
        basis = factor * spectrum.rotated
        ensemble_weights = basis @ (projections / (1 + values))
        identity = jnp.eye(members, dtype=values.dtype)
        square = jnp.where(values > 0, values, 1.0)

        def scaled(change: Float[Array, " small"]) -> Float[Array, "member member"]:
            """The symmetric matrix that adds `change` times itself to every direction."""
            return identity + (basis * (change / square)[None]) @ basis.T

        matrix, contraction = scaled(1 / root - 1), scaled(1 / limited - 1)
        inverse = scaled(limited - 1)
        chi2 = jnp.sum(projections**2 / (1 + values))
    else:
        ensemble_weights = factor * vectors @ (projections / (1 + values))
        mean = jnp.full((members, members), 1 / members, values.dtype)
        matrix = mean + (vectors / root[None]) @ vectors.T
        contraction = mean + (vectors / limited[None]) @ vectors.T
        inverse = mean + (vectors * limited[None]) @ vectors.T
        weights = (members - 1) ** -0.5 * ensemble_weights
        left = whitened.innovation - factor * (whitened.anomalies.T @ weights)
        chi2 = jnp.sum(left**2) + jnp.sum(ensemble_weights**2)
    return Transform(
        mean_weights=(members - 1) ** -0.5 * ensemble_weights,
        matrix=matrix,
        contraction=contraction,
        inverse=inverse,
        signal=jnp.sum(values / (1 + values)),
        chi2=chi2,
        resolved=spectrum.resolved,
    )


def symmetric_transform(whitened: WhitenedEnsemble) -> Transform:
    """The symmetric square-root update of one ensemble; see `transform_of`."""
    return transform_of(spectrum_of(whitened))


def innovation_chi2(whitened: WhitenedEnsemble) -> Float[Array, ""]:
    """d' (I + Y' Y)^-1 d with Y the anomalies over sqrt(M - 1), from a system of the members.

    It is the least value of |d - Y' w|^2 + |w|^2, a sum of squares that no rounding turns
    negative; w by Gauss and Jordan's elimination of I + Y Y', whose pivots are 1 or more, and
    noise below the least of them. No
    LAPACK routine is used: see docs/decisions.md, "One LAPACK call at a time".
    """
    rows, innovation = without_mean(scaled_anomalies(whitened)), whitened.innovation
    size = rows.shape[0]
    system = rows @ rows.T + jnp.eye(size, dtype=rows.dtype)
    least = 1 + jnp.finfo(rows.dtype).eps * jnp.trace(system)
    bordered = jnp.concatenate([system, (rows @ innovation)[:, None]], axis=1)

    def eliminate(index, matrix):
        pivot_row = matrix[index] / jnp.maximum(matrix[index, index], least)
        matrix = matrix - jnp.outer(matrix[:, index], pivot_row)
        return matrix.at[index].set(pivot_row)

    weights = jax.lax.fori_loop(0, size, eliminate, bordered)[:, -1]
    return jnp.sum((innovation - rows.T @ weights) ** 2) + jnp.sum(weights**2)


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


def ensemble_analysis(
    ensemble: Float[Array, "member *state"],
    diagnostics: dict[str, Array],
    resolved: Bool[Array, ""],
) -> Analysis:
    """The analysis whose mean and spread are those of its members.

    Its result is NOT_CONVERGED where the precision did not resolve it.
    """
    code = jnp.where(resolved, int(ResultCode.OK), int(ResultCode.NOT_CONVERGED))
    return Analysis(
        ensemble=ensemble,
        mean=ensemble_mean(ensemble),
        spread=ensemble_spread(ensemble),
        result=code.astype(jnp.int32),
        diagnostics=diagnostics,
    )


def combine(
    background: Float[Array, "member *state"], weights: Float[Array, "member member"]
) -> Float[Array, "member *state"]:
    """The background mean plus, for each member, a weighted sum of the anomalies."""
    mean = ensemble_mean(background)
    anomalies = (background - mean[None]).reshape(background.shape[0], -1)
    return mean[None] + (weights @ anomalies).reshape(background.shape)
