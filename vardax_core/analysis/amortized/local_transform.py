"""An amortized analysis that transforms the background ensemble locally."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_departures import LocalDepartures
from vardax_core.analysis.amortized.ring_network import (
    BLOCK,
    RingNetwork,
    in_blocks,
    ring_neighbours,
)
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.history import AbstractRememberingStep, DepartureHistory
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)

CORRELATION_LAGS = 4
FEATURES = 12 + CORRELATION_LAGS


class LocalTransformStep(AbstractRememberingStep):
    """Amortized analysis on a ring: a network gives the gains, the ensemble is transformed.

    At every point the network sees the background mean and spread, lag correlations, innovation,
    mask and R, and the same of the first guess. It gives two rows of local gains, one that
    moves the mean towards the departures from the first guess and one that contracts the
    anomalies, an inflation and a bias:

        mean_i     = guess_i + sum_k G_ik k_j d_j + c_i b_i s_i         (j = i + k)
        anomaly_i  = exp(c_i f_i) (a_i - sum_k A_ik k_j a_j)

    with k_j = s_j^2 / (s_j^2 + R_j), zero where nothing is observed, and c_i the largest k in
    reach. With `regression` each gain is a sum of two, of which one is a weight of the members'
    own regression of i on j: without a filter before it, the network needs their covariances. So
    without an observation in reach, or with R growing, the network adds nothing to the
    first guess, whatever its weights. The correction of the mean never exceeds the largest
    departure in reach, nor the spread e times that of the first guess, so that no input leads
    the state off for good.

    Attributes:
        operator: observation operator H; `LocalDepartures` puts departures on the grid.
        network: gives 2 (2 reach + 1) + 2 outputs a point, or 4 (2 reach + 1) + 2.
        first_guess: analysis that the network corrects, or None for the background itself.
        reach: points to each side that a gain covers.
        regression: whether the network sees and weighs the members' regressions.
        history: how past departures are kept that the network sees, or None if it does not; a
            window without them counts as one in which they were as expected.
        static: fields that never change and that the network sees too, of order one; none by
            default.
        counts: whether the network sees how many members there are, for weights that serve
            ensembles of several sizes.
        centre, scale: rough mean and standard deviation of the state, for scaling the inputs.
    """

    operator: AbstractObservationOperator
    network: RingNetwork
    first_guess: AbstractAnalysisStep | None
    history: DepartureHistory | None
    static: Float[Array, "n field"]
    reach: int = eqx.field(static=True)
    regression: bool = eqx.field(static=True)
    counts: bool = eqx.field(static=True)
    centre: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        operator: AbstractObservationOperator,
        first_guess: AbstractAnalysisStep | None,
        *,
        centre: float,
        scale: float,
        reach: int = 5,
        width: int = 64,
        depth: int = 3,
        history: DepartureHistory | None = None,
        static: Float[Array, "n field"] | None = None,
        counts: bool = False,
        sight: int = 2,
        network: RingNetwork | None = None,
        key: PRNGKeyArray,
    ) -> "LocalTransformStep":
        """An untrained step: the first guess, or the scalar Kalman update where there is none.

        A step without a first guess has `regression`. Of each of its `depth` convolutions the
        network sees `sight` points to each side. A network that was trained is taken as it is.

        Raises:
            ValueError: if the state is not a ring, or the gains reach around it.
        """
        if len(operator.state_shape) != 1 or 2 * reach + 1 > operator.state_shape[0]:
            raise ValueError(
                f"LocalTransformStep: needs a one-dimensional state of at least {2 * reach + 1} "
                f"points for reach {reach}, got {operator.state_shape}; lower the reach."
            )
        taps = 2 * reach + 1
        if static is None:
            static = jnp.zeros((*operator.state_shape, 0))
        regression = first_guess is None
        channels = FEATURES + static.shape[1] + counts
        channels += (taps if regression else 0) + (history.size if history else 0)
        outputs = (4 if regression else 2) * taps + 2
        if network is None:
            network = RingNetwork.create(
                channels, outputs, width=width, depth=depth, reach=sight, key=key
            )
            if first_guess is None:
                start = network.last.bias.at[reach].set(1.0).at[taps + reach].set(0.5)
                network = eqx.tree_at(lambda n: n.last.bias, network, start)
        return cls(
            operator=operator,
            network=network,
            first_guess=first_guess,
            history=history,
            static=static,
            reach=reach,
            regression=regression,
            counts=counts,
            centre=centre,
            scale=scale,
        )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        guess = background
        if self.first_guess is not None:
            guess = self.first_guess(background, observations, key=key).ensemble
        return self.transform(background, guess, observations)

    def transform(
        self,
        background: Float[Array, "member n"],
        guess: Float[Array, "member n"],
        observations: Observations,
    ) -> Analysis:
        """Correct the first-guess ensemble; the part with trained weights."""
        now = observations.at_analysis_time()
        mask, error_sd = now.mask[0].astype(background.dtype), now.error_sd[0]
        mean, guess_mean = ensemble_mean(background), ensemble_mean(guess)
        floor = 1e-3 * self.scale
        spread = ensemble_spread(background) + floor
        guess_spread = ensemble_spread(guess) + floor
        before = LocalDepartures.of(self.operator, background, spread, mask, error_sd)
        seen = LocalDepartures.of(self.operator, guess, guess_spread, mask, error_sd)
        innovation = before.on_grid(now.values[0] - before.centre)
        residual = seen.on_grid(now.values[0] - seen.centre)
        observed, error_sd = seen.weights, seen.error_sd

        gain = jnp.where(observed > 0, guess_spread**2 / (guess_spread**2 + error_sd**2), 0.0)
        near = ring_neighbours(jnp.stack([gain, residual, spread], axis=1), self.reach)
        gains, departures, spreads = near[..., 0], near[..., 1], near[..., 2]
        influence = jnp.max(gains, axis=1)
        anomalies = guess - guess_mean[None]

        normalised = (background - mean[None]) / spread[None]
        correlation = None
        if self.regression:
            correlation = self._correlations(normalised)
        features = self._features(
            self._lag_correlations(normalised, correlation),
            background.shape[0],
            mean,
            spread,
            guess_mean,
            guess_spread,
            innovation,
            residual,
            error_sd,
            gain,
            observed,
        )
        if self.history is not None:
            known = self._of_the_past(background, spread, observations, self.history.size)
            features = jnp.concatenate([features, known], axis=1)
        taps = 2 * self.reach + 1
        if correlation is not None:
            out = self.network(jnp.concatenate([features, correlation], axis=1))
            regressed = correlation * spread[:, None] / spreads
            mean_gain = (out[:, :taps] + out[:, 2 * taps : 3 * taps] * regressed) * gains
            anomaly_gain = (out[:, taps : 2 * taps] + out[:, 3 * taps : -2] * regressed) * gains
        else:
            out = self.network(features)
            mean_gain, anomaly_gain = out[:, :taps] * gains, out[:, taps:-2] * gains
        inflation = jnp.exp(influence * jnp.tanh(out[:, -2]))
        bias = influence * out[:, -1] * guess_spread

        correction = jnp.sum(mean_gain * departures, axis=1) + bias
        furthest = jnp.max(jnp.abs(departures), axis=1)
        new_mean = guess_mean + jnp.clip(correction, -furthest, furthest)

        contracted = anomalies - self._combined(anomalies, anomaly_gain)
        transformed = inflation[None] * contracted
        new_spread = ensemble_spread(transformed)
        beyond = jnp.maximum((new_spread + floor) / (math.e * guess_spread), 1.0)
        ensemble = new_mean[None] + transformed / beyond[None]
        return Analysis(
            ensemble=ensemble,
            mean=new_mean,
            spread=new_spread / beyond,
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"mean_inflation": jnp.mean(inflation)},
        )

    def _of_the_past(
        self,
        background: Float[Array, "member n"],
        spread: Float[Array, " n"],
        observations: Observations,
        size: int,
    ) -> Float[Array, "n statistic"]:
        """What past departures were like, on the grid."""
        if observations.past is None:
            return jnp.zeros((spread.shape[0], size), spread.dtype)
        past = observations.past.astype(spread.dtype)
        ones = jnp.ones_like(past[0])
        everywhere = LocalDepartures.of(self.operator, background, spread, ones, ones)
        return jnp.clip(everywhere.past_on_grid(past), -10.0, 10.0).T

    def _correlations(self, normalised: Float[Array, "member n"]) -> Float[Array, "n tap"]:
        """The members' correlation of every point with its neighbours."""

        def block(x: Float[Array, "block member"]) -> Float[Array, "block tap"]:
            around = ring_neighbours(x, self.reach)
            return jnp.sum(around * x[:, None], axis=2) / (normalised.shape[0] - 1)

        n = normalised.shape[1]
        if n <= BLOCK:
            around = jnp.pad(normalised, [(0, 0), (self.reach, self.reach)], mode="wrap")
            taps = range(2 * self.reach + 1)
            sums = [jnp.sum(normalised * around[:, t : t + n], axis=0) for t in taps]
            return jnp.stack(sums, axis=1) / (normalised.shape[0] - 1)
        return in_blocks(block, self.reach, normalised.T)

    def _lag_correlations(
        self, normalised: Float[Array, "member n"], correlation: Float[Array, "n tap"] | None
    ) -> Float[Array, "n lag"]:
        """The members' correlation of every point with the next `CORRELATION_LAGS` ones.

        Arguments:
            normalised: anomalies over their spread.
            correlation: with all points in reach, where it is known.
        """
        if correlation is not None and self.reach >= CORRELATION_LAGS:
            return correlation[:, self.reach + 1 :][:, :CORRELATION_LAGS]
        products = [
            jnp.sum(normalised * jnp.roll(normalised, -lag, axis=1), axis=0)
            for lag in range(1, CORRELATION_LAGS + 1)
        ]
        return jnp.stack(products, axis=1) / (normalised.shape[0] - 1)

    def _combined(
        self, anomalies: Float[Array, "member n"], gain: Float[Array, "n tap"]
    ) -> Float[Array, "member n"]:
        """The sum of the neighbours' anomalies, each times its gain."""
        n = gain.shape[0]
        if n <= BLOCK:
            around = jnp.pad(anomalies, [(0, 0), (self.reach, self.reach)], mode="wrap")
            total = gain[:, 0][None] * around[:, :n]
            for tap in range(1, 2 * self.reach + 1):
                total = total + gain[:, tap][None] * around[:, tap : tap + n]
            return total

        def block(a: Float[Array, "block member"], g: Float[Array, "block tap"]) -> Array:
            return jnp.sum(g[..., None] * ring_neighbours(a, self.reach), axis=1)

        return in_blocks(block, self.reach, anomalies.T, gain).T

    def _features(
        self,
        lags: Float[Array, "n lag"],
        members: int,
        mean: Float[Array, " n"],
        spread: Float[Array, " n"],
        guess_mean: Float[Array, " n"],
        guess_spread: Float[Array, " n"],
        innovation: Float[Array, " n"],
        residual: Float[Array, " n"],
        error_sd: Float[Array, " n"],
        gain: Float[Array, " n"],
        observed: Float[Array, " n"],
    ) -> Float[Array, "n feature"]:
        expected = jnp.sqrt(spread**2 + error_sd**2)
        increment = guess_mean - mean
        features = [
            (mean - self.centre) / self.scale,
            jnp.log(spread / self.scale),
            jnp.log(guess_spread / self.scale),
            innovation / expected,
            residual / error_sd,
            residual / guess_spread * gain,
            increment / spread,
            jnp.log(guess_spread / spread),
            gain,
            jnp.where(observed > 0, 1.0, 0.0).astype(mean.dtype),
            jnp.log(error_sd / self.scale) * jnp.sign(observed),
            (jnp.sign(observed) * (innovation / expected) ** 2 - 1.0) / 3.0,
        ]
        parts = [jnp.stack(features, axis=-1), lags]
        if self.counts:
            parts.append(jnp.full_like(mean, 2 / math.sqrt(members))[:, None])
        seen = jnp.clip(jnp.concatenate(parts, axis=1), -10.0, 10.0)
        return jnp.concatenate([seen, self.static.astype(seen.dtype)], axis=1)
