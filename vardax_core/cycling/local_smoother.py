"""An amortized fixed-lag smoother: a network carries each analysis over to the states before it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.ring_network import RingNetwork, ring_neighbours
from vardax_core.cycling.smoother import AbstractSmoother
from vardax_core.types import ensemble_mean, ensemble_spread

FEATURES = 6


class LocalSmoother(AbstractSmoother):
    """Earlier analyses on a ring, corrected by what later ones did to their backgrounds.

    An earlier state is regressed on the background of now, point by point, with the members as the
    sample: b_ik is the covariance of the state at i, then, with the background at i + k, now, over
    the variance of the latter. A network gives the weight of each regression, and what regressions
    cannot know, from the same numbers of the surroundings:

        mean_i    += sum_k G_ik b_ik (increment)_{i+k} + c_i t_i s_i
        anomaly_i <- exp(c_i f_i) (anomaly_i + sum_k A_ik b_ik (change of anomaly)_{i+k})

    c_i is zero where the analysis changed nothing in reach, so that there mean and covariance of
    the past stay as they were, whatever the weights. Members that the analysis turned among each
    other are turned back first: the rotation closest to the change of the anomalies says nothing
    about the past.

    Attributes:
        network: gives 2 (2 reach + 1) + 2 outputs a point.
        lag: number of later analyses that an analysis waits for, at least 1.
        reach: points to each side that a regression looks at.
        centre, scale: rough mean and standard deviation of the state, for scaling the inputs.

    Source: the smoother that is learned here is that of Evensen and van Leeuwen (2000),
    doi:10.1175/1520-0493(2000)128<1852:AEKSFN>2.0.CO;2
    """

    network: RingNetwork
    lag: int = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    centre: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        lag: int,
        *,
        centre: float,
        scale: float,
        reach: int = 6,
        width: int = 64,
        depth: int = 3,
        key: PRNGKeyArray,
    ) -> "LocalSmoother":
        """A smoother that is not trained yet: half of each point's own regression.

        Raises:
            ValueError: if the lag is less than 1.
        """
        if lag < 1:
            raise ValueError(
                f"LocalSmoother: lag must be >= 1, got {lag}; without a lag, use the analysis "
                "itself."
            )
        taps = 2 * reach + 1
        channels = FEATURES + 2 * taps + lag
        network = RingNetwork.create(channels, 2 * taps + 2, width=width, depth=depth, key=key)
        start = network.last.bias.at[reach].set(0.5).at[taps + reach].set(0.5)
        network = eqx.tree_at(lambda n: n.last.bias, network, start)
        return cls(network=network, lag=lag, reach=reach, centre=centre, scale=scale)

    def update(
        self,
        history: Float[Array, "age member n"],
        background: Float[Array, "member n"],
        analysis: Float[Array, "member n"],
    ) -> Float[Array, "age member n"]:
        rotation = closest_rotation(background, analysis)
        straight = ensemble_mean(analysis)[None] + rotation.T @ _anomalies(analysis)
        ages = jnp.eye(self.lag, dtype=analysis.dtype)
        past = jax.vmap(lambda x, age: self._carried_over(x, background, straight, age))(
            history[: self.lag], ages
        )
        turned = jax.vmap(lambda x: ensemble_mean(x)[None] + rotation @ _anomalies(x))(past)
        # A decomposition that did not converge must not spoil the cycles that follow.
        usable = jnp.any(analysis != background) & jnp.all(jnp.isfinite(turned))
        past = jnp.where(usable, turned, history[: self.lag])
        return jnp.concatenate([analysis[None], past])

    def _carried_over(
        self,
        past: Float[Array, "member n"],
        background: Float[Array, "member n"],
        analysis: Float[Array, "member n"],
        age: Float[Array, " lag"],
    ) -> Float[Array, "member n"]:
        floor = 1e-3 * self.scale
        spread = ensemble_spread(background) + floor
        contraction = jnp.log((ensemble_spread(analysis) + floor) / spread)
        increment = (ensemble_mean(analysis) - ensemble_mean(background)) / spread
        change = (_anomalies(analysis) - _anomalies(background)) / spread[None]
        mean, past_spread = ensemble_mean(past), ensemble_spread(past) + floor
        anomalies = _anomalies(past)

        def around(x: Float[Array, "n *rest"]) -> Float[Array, "n tap *rest"]:
            return ring_neighbours(x, self.reach)

        now = around((_anomalies(background) / spread[None]).T)
        then = (anomalies / past_spread[None]).T
        correlation = jnp.einsum("itm,im->it", now, then) / (past.shape[0] - 1)
        expected = correlation * around(increment)
        features = [
            (mean - self.centre) / self.scale,
            jnp.log(past_spread / self.scale),
            (ensemble_mean(analysis) - self.centre) / self.scale,
            jnp.log(spread / self.scale),
            increment,
            contraction,
        ]
        seen = jnp.concatenate(
            [
                jnp.clip(jnp.stack(features, axis=-1), -10.0, 10.0),
                correlation,
                jnp.clip(expected, -10.0, 10.0),
                jnp.broadcast_to(age, (past.shape[1], self.lag)),
            ],
            axis=1,
        )
        out = self.network(seen)
        taps = 2 * self.reach + 1
        influence = jnp.minimum(
            jnp.max(around(jnp.abs(increment) + jnp.abs(contraction)), axis=1), 1.0
        )
        shift = jnp.sum(out[:, :taps] * expected, axis=1) + influence * jnp.tanh(out[:, -1])
        weights = out[:, taps : 2 * taps] * correlation
        moved = jnp.einsum("it,itm->im", weights, around(change.T))
        grown = jnp.exp(influence * jnp.tanh(out[:, -2]))[:, None] * (then + moved)
        return (mean + past_spread * shift)[None] + (past_spread[:, None] * grown).T


def closest_rotation(
    before: Float[Array, "member n"], after: Float[Array, "member n"]
) -> Float[Array, "member member"]:
    """The rotation of the members that takes the anomalies before closest to those after.

    It leaves the mean alone, and what neither of them spans.

    Source: Schönemann (1966), doi:10.1007/BF02289451.
    """
    members = before.shape[0]
    product = _anomalies(after) @ _anomalies(before).T
    size = jnp.linalg.norm(product) + jnp.finfo(product.dtype).tiny
    still = 1e-5 * jnp.eye(members, dtype=product.dtype) + 1 / members
    left, _, right = jnp.linalg.svd(product / size + still)
    return left @ right


def _anomalies(ensemble: Float[Array, "member n"]) -> Float[Array, "member n"]:
    return ensemble - ensemble_mean(ensemble)[None]
