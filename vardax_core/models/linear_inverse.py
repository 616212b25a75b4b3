"""A linear stochastic model fitted to a training period."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology

STABILITY_LIMIT = 0.999
"""Largest singular value of a fitted propagator, and largest damping."""


class LinearInverseModel(AbstractForecastModel):
    """Anomalies from climatology, advanced by a propagator of their leading EOFs plus noise.

    With z the first k normalised principal components of the anomaly and r the rest of it,
    z' = W z + (I - W W')^1/2 e and r' = a r + (1 - a^2)^1/2 e', where e' is drawn from the
    remaining EOFs. The noise balances the dissipation, so the climatological covariance is
    stationary; W has no singular value of one or more, so the model is stable.

    Attributes:
        climatology: mean for each slot of the day; its square root has orthogonal columns,
            leading first.
        propagator: W, the lagged correlation of the principal components.
        forcing: a square root of I - W W'.
        damping: a, the mean autocorrelation of the remainder.
        stability_factor: what the fitted W was multiplied by to be stable; 1 if it was.
        interval: minutes of one step.
        state_shape: shape of one state.

    Source: Penland and Sardeshmukh (1995),
    doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2
    """

    climatology: Climatology
    propagator: Float[Array, "mode mode"]
    forcing: Float[Array, "mode mode"]
    damping: Float[Array, ""]
    stability_factor: Float[Array, ""]
    interval: int = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def fit(
        cls,
        climatology: Climatology,
        anomalies: Float[np.ndarray, "time *state"],
        times: Int[np.ndarray, " time"],
        *,
        interval: int = 180,
        modes: int = 20,
        shrinkage: float = 0.0,
    ) -> "LinearInverseModel":
        """Fit the propagator over one interval by lagged covariance.

        Arguments:
            climatology: of the same period, with orthogonal columns in its square root.
            anomalies: departures of the training states from the climatology.
            times: minutes since `MINUTES_EPOCH`; gaps are allowed.
            interval: minutes of one step.
            modes: EOFs kept in the propagator.
            shrinkage: fraction of the propagator that is taken away, in [0, 1).

        Raises:
            ValueError: if `shrinkage` does not lie in [0, 1), there are fewer EOFs than `modes`,
                or no two states lie one interval apart.
        """
        if not 0 <= shrinkage < 1:
            raise ValueError(f"LinearInverseModel.fit: shrinkage {shrinkage} not in [0, 1).")
        rank, dtype = modes_of(climatology), climatology.square_root.dtype
        if not 1 <= modes <= rank:
            raise ValueError(
                f"LinearInverseModel.fit: {modes} modes asked for, but the climatology holds "
                f"{rank} EOFs; ask for 1 to {rank} or fit it on a longer period."
            )
        index = {int(t): k for k, t in enumerate(times)}
        pairs = [(k, index[t - interval]) for t, k in index.items() if t - interval in index]
        if not pairs:
            raise ValueError(
                f"LinearInverseModel.fit: no two of the {len(times)} states lie {interval} "
                "minutes apart; give states at least that often."
            )
        now, then = np.array(pairs).T
        root = np.asarray(climatology.square_root, np.float64).reshape(-1, rank)
        leading = root[:, :modes]
        flat = np.asarray(anomalies, np.float64).reshape(len(times), -1)
        components = flat @ (leading / np.sum(leading**2, axis=0))
        rest = flat - components @ leading.T
        correlation = components[now].T @ components[then] / len(times)
        propagator = (1 - shrinkage) * correlation
        largest = np.linalg.norm(propagator, 2)
        factor = min(1.0, STABILITY_LIMIT / max(largest, np.finfo(np.float64).tiny))
        propagator = factor * propagator
        balance = np.eye(len(propagator)) - propagator @ propagator.T
        damping = np.sum(rest[now] * rest[then]) / max(np.sum(rest**2), 1e-300)
        return cls(
            climatology=climatology,
            propagator=jnp.asarray(propagator, dtype),
            forcing=jnp.asarray(np.linalg.cholesky(balance), dtype),
            damping=jnp.asarray(np.clip(damping, 0.0, STABILITY_LIMIT), dtype),
            stability_factor=jnp.asarray(factor, dtype),
            interval=interval,
            state_shape=climatology.state_shape,
        )

    def mean_step(
        self, state: Float[Array, "*state"], time: Int[Array, ""]
    ) -> Float[Array, "*state"]:
        """The expectation of `step`."""
        anomaly = (state - self.climatology.mean_at(time)).reshape(-1)
        leading = self._root()[:, : self.propagator.shape[0]]
        components = (anomaly @ leading) / jnp.sum(leading**2, axis=0)
        change = self.propagator @ components - self.damping * components
        forecast = (self.damping * anomaly + leading @ change).reshape(self.state_shape)
        return self.climatology.mean_at(time + self.interval) + forecast

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        root = self._root()
        modes = self.propagator.shape[0]
        noise = jax.random.normal(key, (root.shape[1],), root.dtype)
        leading = self.forcing @ noise[:modes]
        rest = jnp.sqrt(1 - self.damping**2) * noise[modes:]
        forced = (root @ jnp.concatenate([leading, rest])).reshape(self.state_shape)
        return self.mean_step(state, time) + forced

    def _root(self) -> Float[Array, "n rank"]:
        return self.climatology.square_root.reshape(-1, modes_of(self.climatology))


def modes_of(climatology: Climatology) -> int:
    """Number of columns in the square root of a climatology."""
    return climatology.square_root.shape[-1]
