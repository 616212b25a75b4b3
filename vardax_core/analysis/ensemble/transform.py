"""Updates in the space spanned by the ensemble members."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel
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
        inverse: of the matrix.
        signal: degrees of freedom for signal, the trace of the observations' influence.
        chi2: d' (I + Y' Y)^-1 d, the normalised square of the innovation; p on average.
    """

    mean_weights: Float[Array, " member"]
    matrix: Float[Array, "member member"]
    inverse: Float[Array, "member member"]
    signal: Float[Array, ""]
    chi2: Float[Array, ""]


class Departures(eqx.Module):
    """An ensemble and one row of observations, in units of the observation error.

    Attributes:
        anomalies: R^-1/2 times the anomalies of the members' equivalents.
        innovation: R^-1/2 times the innovation of the mean.
    """

    anomalies: Float[Array, "member obs"]
    innovation: Float[Array, " obs"]


def whitened_departures(
    operator: AbstractObservationOperator,
    errors: AbstractErrorModel,
    background: Float[Array, "member *state"],
    observations: Observations,
) -> Departures:
    """Observe an ensemble at the analysis time and divide by the observation error."""
    values, mask, error_sd = (
        a[-1] for a in (observations.values, observations.mask, observations.error_sd)
    )
    equivalents = operator.ensemble(background)
    mean = ensemble_mean(equivalents)

    def whiten(departure: Float[Array, " obs"]) -> Float[Array, " obs"]:
        return errors.whiten(departure, mean, mask, error_sd)

    return Departures(jax.vmap(whiten)(equivalents - mean[None]), whiten(values - mean))


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


class Spectrum(eqx.Module):
    """The eigenvalue problem of an analysis, solved in the smaller of its two spaces.

    With Y the anomalies over sqrt(M - 1), the problem is that of Y Y' (member, member) or, with
    fewer observations than members, of Y' Y (obs, obs).

    Attributes:
        departures: what was decomposed.
        values: eigenvalues, not negative; those of Y Y' that are left out are zero.
        vectors: eigenvectors, one to a column.
    """

    departures: Departures
    values: Float[Array, " small"]
    vectors: Float[Array, "small small"]

    @property
    def members(self) -> int:
        """Number of members M."""
        return self.departures.anomalies.shape[0]

    @property
    def in_obs_space(self) -> bool:
        """Whether the vectors are those of Y' Y."""
        members, obs = self.departures.anomalies.shape
        return obs < members

    @property
    def scaled(self) -> Float[Array, "member obs"]:
        """Y."""
        return scaled_anomalies(self.departures)

    def projections(self) -> Float[Array, " small"]:
        """The innovation along the eigenvectors: V' d in observation space, else V' Y d."""
        return self._projected(self.departures.innovation[None])[0]

    def gain_weights(self, departures: Float[Array, "row obs"]) -> Float[Array, "row member"]:
        """The Kalman gain in ensemble space: the weights of the anomalies in K d for each row d."""
        solved = self._projected(departures) / (1 + self.values)[None]
        basis = self.scaled @ self.vectors if self.in_obs_space else self.vectors
        return (self.members - 1) ** -0.5 * (solved @ basis.T)

    def _projected(self, departures: Float[Array, "row obs"]) -> Float[Array, "row small"]:
        inner = departures if self.in_obs_space else departures @ self.scaled.T
        return inner @ self.vectors


def scaled_anomalies(departures: Departures) -> Float[Array, "member obs"]:
    """Y, the whitened anomalies over sqrt(M - 1)."""
    return (departures.anomalies.shape[0] - 1) ** -0.5 * departures.anomalies


def spectrum_of(departures: Departures) -> Spectrum:
    """Solve the eigenvalue problem of an analysis."""
    members, obs = departures.anomalies.shape
    scaled = scaled_anomalies(departures)
    values, vectors = jnp.linalg.eigh(scaled.T @ scaled if obs < members else scaled @ scaled.T)
    return Spectrum(departures, jnp.maximum(values, 0.0), vectors)


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
    members, vectors = spectrum.members, spectrum.vectors
    values, projections = factor**2 * spectrum.values, spectrum.projections()
    norm = (members - 1) ** -0.5
    if spectrum.in_obs_space:
        root = jnp.sqrt(1 + values)
        basis = factor * spectrum.scaled @ vectors
        weights = norm * basis @ (projections / (1 + values))
        identity = jnp.eye(members, dtype=values.dtype)
        matrix = identity - (basis / (root * (1 + root))[None]) @ basis.T
        inverse = identity + (basis / (1 + root)[None]) @ basis.T
    else:
        weights = norm * factor * vectors @ (projections / (1 + values))
        matrix = (vectors / jnp.sqrt(1 + values)[None]) @ vectors.T
        inverse = (vectors * jnp.sqrt(1 + values)[None]) @ vectors.T
    departures = spectrum.departures
    fitted = factor * (departures.anomalies.T @ weights)
    chi2 = departures.innovation @ (departures.innovation - fitted)
    return Transform(weights, matrix, inverse, jnp.sum(values / (1 + values)), chi2)


def symmetric_transform(departures: Departures) -> Transform:
    """The symmetric square-root update of one ensemble; see `transform_of`."""
    return transform_of(spectrum_of(departures))


def innovation_chi2(departures: Departures) -> Float[Array, ""]:
    """d' (I + Y' Y)^-1 d with Y the anomalies over sqrt(M - 1), from an M by M system.

    As the last pivot of a Gaussian elimination of [[I + Y Y', Y d], [(Y d)', d' d]]; the matrix
    is positive definite and needs no exchange of rows. No LAPACK routine is used: see
    docs/decisions.md, "One LAPACK call at a time".
    """
    members = departures.anomalies.shape[0]
    rows = jnp.concatenate([scaled_anomalies(departures), departures.innovation[None]])
    bordered = rows @ rows.T + jnp.diag(jnp.ones(members + 1, rows.dtype).at[-1].set(0.0))

    def eliminate(index, matrix):
        column = matrix[:, index]
        return matrix - jnp.outer(column, column) / column[index]

    return jax.lax.fori_loop(0, members, eliminate, bordered)[-1, -1]


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
    ensemble: Float[Array, "member *state"], diagnostics: dict[str, Array]
) -> Analysis:
    """The analysis whose mean and spread are those of its members."""
    return Analysis(
        ensemble=ensemble,
        mean=ensemble_mean(ensemble),
        spread=ensemble_spread(ensemble),
        result=jnp.asarray(int(ResultCode.OK), jnp.int32),
        diagnostics=diagnostics,
    )


def combine(
    background: Float[Array, "member *state"], weights: Float[Array, "member member"]
) -> Float[Array, "member *state"]:
    """The background mean plus, for each member, a weighted sum of the anomalies."""
    mean = ensemble_mean(background)
    anomalies = (background - mean[None]).reshape(background.shape[0], -1)
    return mean[None] + (weights @ anomalies).reshape(background.shape)
