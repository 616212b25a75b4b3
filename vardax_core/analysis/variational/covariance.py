"""Background error covariances as operators on one state."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


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
    def variance(self) -> Float[Array, "*state"]:
        """The diagonal of B."""


class DenseCovariance(AbstractBackgroundCovariance):
    """A covariance given by its matrix, for states of up to a few thousand points.

    Attributes:
        matrix: B over the flattened state.
        root: L with B = L L'.
        state_shape: shape of one state.
    """

    matrix: Float[Array, "n n"]
    root: Float[Array, "n rank"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def from_matrix(
        cls, matrix: Float[Array, "n n"], state_shape: tuple[int, ...]
    ) -> "DenseCovariance":
        """Factorise a matrix by its eigenvectors; eigenvalues below rounding are dropped."""
        values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        floor = jnp.finfo(matrix.dtype).eps * jnp.maximum(values[-1], 0.0) * matrix.shape[0]
        scale = jnp.sqrt(jnp.where(values > floor, values, 0.0))
        return cls(matrix=matrix, root=vectors * scale[None], state_shape=state_shape)

    @property
    def rank(self) -> int:
        return self.root.shape[1]

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return (self.matrix @ state.reshape(-1)).reshape(self.state_shape)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        return (self.root @ control).reshape(self.state_shape)

    def variance(self) -> Float[Array, "*state"]:
        return jnp.diagonal(self.matrix).reshape(self.state_shape)
