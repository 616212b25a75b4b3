"""Background error covariances as operators on one state."""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.remembered import remembered
from vardax_core.types import visible

LARGE = 500
"""Points of a state from which on the axes of its covariance take a second or more."""


class CovarianceError(ValueError):
    """A matrix that is no covariance, or none of this state."""


class AbstractBackgroundCovariance(eqx.Module):
    """A symmetric positive semi-definite B = L L' that acts on one state.

    Attributes:
        state_shape: shape of one state.
    """

    state_shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abstractmethod
    def rank(self) -> int:
        """Length of the control vector, the number of columns of L."""

    @abstractmethod
    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        """B times a state."""

    @abstractmethod
    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        """L times a control vector; a standard normal control gives a draw from N(0, B)."""

    @abstractmethod
    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        """B^-1 times a state; of a singular B the pseudo-inverse."""

    def square_root_adjoint(self, state: Float[Array, "*state"]) -> Float[Array, " rank"]:
        """L' times a state."""
        control = jax.ShapeDtypeStruct((self.rank,), state.dtype)
        return jax.linear_transpose(self.square_root, control)(state)[0]

    @abstractmethod
    def variance(self) -> Float[Array, "*state"]:
        """The diagonal of B."""


class DenseCovariance(AbstractBackgroundCovariance):
    """A covariance given by its matrix, for states of up to a few thousand points.

    Attributes:
        matrix: B over the flattened state.
        root: L with B = L L' and orthogonal columns.
        state_shape: shape of one state.
    """

    matrix: Float[Array, "n n"]
    root: Float[Array, "n rank"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def from_matrix(
        cls, matrix: Float[Array, "n n"], state_shape: tuple[int, ...]
    ) -> "DenseCovariance":
        """Factorise a matrix by its eigenvectors; eigenvalues below rounding are dropped.

        Raises:
            CovarianceError: if the matrix does not fit the state, or (outside of jit, where it
                can be looked at) is not symmetric or has a negative eigenvalue.
        """
        size = math.prod(state_shape)
        if matrix.shape != (size, size):
            raise CovarianceError(
                f"DenseCovariance: a matrix {matrix.shape} is no covariance of a state "
                f"{state_shape} of {size} points."
            )
        values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        seen, spectrum = visible(matrix), visible(values)
        if seen is not None and spectrum is not None:
            allowed = float(jnp.finfo(matrix.dtype).eps) ** 0.5 * np.max(np.abs(spectrum))
            asymmetry = np.max(np.abs(seen - seen.T))
            if not (asymmetry <= allowed and spectrum[0] >= -allowed):
                raise CovarianceError(
                    "DenseCovariance: a covariance is symmetric and has no negative eigenvalue; "
                    f"this matrix differs from its transpose by {asymmetry:.3g} and has the "
                    f"eigenvalue {spectrum[0]:.3g}. Estimate it from samples or as L L'."
                )
        floor = jnp.finfo(matrix.dtype).eps * jnp.maximum(values[-1], 0.0) * matrix.shape[0]
        scale = jnp.sqrt(jnp.where(values > floor, values, 0.0))
        return cls(matrix=matrix, root=vectors * scale[None], state_shape=state_shape)

    @classmethod
    def from_table(
        cls, matrix: Float[Array, "n n"], state_shape: tuple[int, ...]
    ) -> "DenseCovariance":
        """Factorise a covariance that was fitted in double precision, see `principal_axes`."""
        vectors, deviation = principal_axes(matrix)
        root = jnp.asarray(vectors * deviation, matrix.dtype)
        return cls(matrix=matrix, root=root, state_shape=state_shape)

    @property
    def rank(self) -> int:
        return self.root.shape[1]

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return (self.matrix @ state.reshape(-1)).reshape(self.state_shape)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        return (self.root @ control).reshape(self.state_shape)

    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return orthogonal_pseudo_inverse(self.root, state)

    def variance(self) -> Float[Array, "*state"]:
        return jnp.diagonal(self.matrix).reshape(self.state_shape)


class LowRankCovariance(AbstractBackgroundCovariance):
    """A covariance of a few modes, B = L L', whose matrix is never formed.

    Attributes:
        root: L, orthogonal columns over the flattened state.
        state_shape: shape of one state.
    """

    root: Float[Array, "n rank"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def from_samples(cls, samples: Float[Array, "sample *state"], rank: int) -> "LowRankCovariance":
        """The leading empirical orthogonal functions of samples about their mean.

        Arguments:
            samples: states, or differences of forecasts, in the unit of the state.
            rank: number of modes kept.

        Raises:
            ValueError: if there are no more samples, or points, than modes asked for.

        Source: Lorenz (1956), Empirical orthogonal functions, MIT report 1.
        """
        count, state_shape = samples.shape[0], samples.shape[1:]
        limit = min(count - 1, math.prod(state_shape))
        if not 1 <= rank <= limit:
            raise ValueError(
                f"LowRankCovariance: rank must lie in 1..{limit} for {count} samples of a state "
                f"{state_shape}, got {rank}."
            )
        anomalies = (samples - jnp.mean(samples, axis=0)[None]).reshape(count, -1)
        _, values, modes = jnp.linalg.svd(anomalies * (count - 1) ** -0.5, full_matrices=False)
        return cls(root=modes[:rank].T * values[None, :rank], state_shape=state_shape)

    @property
    def rank(self) -> int:
        return self.root.shape[1]

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return (self.root @ (self.root.T @ state.reshape(-1))).reshape(self.state_shape)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        return (self.root @ control).reshape(self.state_shape)

    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return orthogonal_pseudo_inverse(self.root, state)

    def variance(self) -> Float[Array, "*state"]:
        return jnp.sum(self.root**2, axis=1).reshape(self.state_shape)


def principal_axes(
    table: Float[Array, "n n"],
) -> tuple[Float[np.ndarray, "n rank"], Float[np.ndarray, " rank"]]:
    """Eigenvectors of a covariance, in float64, and the standard deviations along them.

    Eigenvalues below the table's own rounding are dropped. In the precision of the table the axes,
    and with them draws of members, would hang on its last digits. Those of a large table are
    remembered from one process to the next.
    """
    matrix = np.asarray(table, np.float64)

    def axes() -> tuple[np.ndarray, ...]:
        return tuple(np.linalg.eigh((matrix + matrix.T) / 2))

    large = matrix.shape[0] >= LARGE
    values, vectors = remembered("eigh-1", [matrix], axes) if large else axes()
    keep = values > 10 * float(jnp.finfo(table.dtype).eps) * values[-1]
    return vectors[:, keep], np.sqrt(values[keep])


def orthogonal_pseudo_inverse(
    root: Float[Array, "n rank"], state: Float[Array, "*state"]
) -> Float[Array, "*state"]:
    """(L L')^+ times a state for an L with orthogonal columns, some of which may be zero."""
    squares = jnp.sum(root**2, axis=0)
    floor = jnp.finfo(root.dtype).eps * jnp.max(squares) * root.shape[0]
    kept = squares > floor
    weights = jnp.where(kept, 1 / jnp.where(kept, squares, 1.0), 0.0) ** 2
    return (root @ (weights * (root.T @ state.reshape(-1)))).reshape(state.shape)


def resolved_variance(
    error_variance: Float[Array, " obs"], covariance: Float[Array, "obs obs"]
) -> Float[Array, " obs"]:
    """R, raised to where H B H' + R has a Cholesky factor in the precision at hand.

    The factorisation of a positive semi-definite matrix may fail by eps times its trace; an
    observation with an error of less than that is taken to have it, a share of sqrt(eps p) of the
    background's standard deviation.

    Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, theorem 10.7.
    """
    floor = jnp.finfo(covariance.dtype).eps * jnp.trace(covariance)
    return jnp.maximum(error_variance, floor)
