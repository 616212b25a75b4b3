"""A static covariance mixed with that of an ensemble."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vardax_core.analysis.variational.covariance import (
    AbstractBackgroundCovariance,
    LowRankCovariance,
    orthogonal_pseudo_inverse,
)
from vardax_core.types import ensemble_mean


class SampleCovariance(AbstractBackgroundCovariance):
    """The sample covariance of an ensemble, B = X' X / (M - 1), of which nothing is factorised.

    Attributes:
        root: L with B = L L', one column for each member: its anomaly over sqrt(M - 1).
        state_shape: shape of one state.
    """

    root: Float[Array, "n rank"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, ensemble: Float[Array, "member *state"]) -> "SampleCovariance":
        """The covariance of two members or more."""
        members, state_shape = ensemble.shape[0], ensemble.shape[1:]
        anomalies = (ensemble - ensemble_mean(ensemble)[None]).reshape(members, -1)
        return cls(root=(members - 1) ** -0.5 * anomalies.T, state_shape=state_shape)

    @property
    def rank(self) -> int:
        return self.root.shape[1]

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return (self.root @ (self.root.T @ state.reshape(-1))).reshape(self.state_shape)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        return (self.root @ control).reshape(self.state_shape)

    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        left, singular, _ = jnp.linalg.svd(self.root, full_matrices=False)
        return orthogonal_pseudo_inverse(left * singular[None], state)

    def variance(self) -> Float[Array, "*state"]:
        return jnp.sum(self.root**2, axis=1).reshape(self.state_shape)


class HybridCovariance(AbstractBackgroundCovariance):
    """B = (1 - weight) B_static + weight B_ensemble.

    Attributes:
        static: covariance of full rank.
        ensemble: covariance of a few modes.
        weight: share of the ensemble, from 0 up to but not including 1.

    Raises:
        ValueError: if the two act on different states or the weight is no share.

    Source: Hamill and Snyder (2000), doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2
    """

    static: AbstractBackgroundCovariance
    ensemble: LowRankCovariance | SampleCovariance
    weight: float = eqx.field(static=True)

    def __check_init__(self):
        if self.static.state_shape != self.ensemble.state_shape:
            raise ValueError(
                f"HybridCovariance: the static part acts on {self.static.state_shape}, the "
                f"ensemble on {self.ensemble.state_shape}; build both for one grid."
            )
        if not 0 <= self.weight < 1:
            raise ValueError(f"HybridCovariance: weight must lie in [0, 1), got {self.weight}.")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.static.state_shape

    @property
    def rank(self) -> int:
        return self.static.rank + self.ensemble.rank

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        static = (1 - self.weight) * self.static.apply(state)
        return static + self.weight * self.ensemble.apply(state)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        first, second = control[: self.static.rank], control[self.static.rank :]
        static = (1 - self.weight) ** 0.5 * self.static.square_root(first)
        return static + self.weight**0.5 * self.ensemble.square_root(second)

    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        """By the Woodbury identity: one small system of the ensemble's rank."""

        def static_inverse(x: Float[Array, "*state"]) -> Float[Array, "*state"]:
            return self.static.inverse(x) / (1 - self.weight)

        modes = self.weight**0.5 * self.ensemble.root
        columns = modes.T.reshape(-1, *self.state_shape)
        solved = jax.vmap(static_inverse)(columns).reshape(modes.shape[1], -1)
        first = static_inverse(state).reshape(-1)
        small = jnp.eye(modes.shape[1], dtype=modes.dtype) + solved @ modes
        correction = solved.T @ jnp.linalg.solve(small, modes.T @ first)
        return (first - correction).reshape(self.state_shape)

    def variance(self) -> Float[Array, "*state"]:
        static = (1 - self.weight) * self.static.variance()
        return static + self.weight * self.ensemble.variance()
