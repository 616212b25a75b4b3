"""Smoothers behind any ensemble analysis, and what they remember in a cycle."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vardax_core.calibration.statistics import Smoothed
from vardax_core.types import ensemble_mean, ensemble_spread


class AbstractSmoother(eqx.Module):
    """Corrects earlier analyses by what every later analysis did to its background.

    Attributes:
        lag: number of later analyses that an analysis waits for, at least 1.
    """

    lag: eqx.AbstractVar[int]

    def init(self, ensemble: Float[Array, "member *state"]) -> Float[Array, "age member *state"]:
        """The history before the first cycle: `ensemble` at every age, the youngest first."""
        return jnp.broadcast_to(ensemble, (self.lag + 1, *ensemble.shape))

    @abc.abstractmethod
    def update(
        self,
        history: Float[Array, "age member *state"],
        background: Float[Array, "member *state"],
        analysis: Float[Array, "member *state"],
    ) -> Float[Array, "age member *state"]:
        """The history with one more analysis; its last entry is final.

        Arguments:
            history: as the last cycle left it.
            background: the members before the analysis.
            analysis: the same members after it.
        """


class FixedLagSmoother(AbstractSmoother):
    """The ensemble Kalman smoother, for any analysis that gives members.

    An analysis ensemble is close to a combination of the background members, a_m = b_m + sum_k
    W_mk (b_k - mean b). W is found by least squares with a small ridge, and the same combination
    is taken of the earlier states of the same members. For an ensemble transform filter this is
    the ensemble Kalman smoother. What an analysis adds outside of the members' span stays with it.

    Attributes:
        lag: number of later analyses that an analysis waits for, at least 1.
        ridge: share of the mean eigenvalue of the members' Gram matrix that is added to each.

    Source: Evensen and van Leeuwen (2000), doi:10.1175/1520-0493(2000)128<1852:AEKSFN>2.0.CO;2
    """

    lag: int = eqx.field(static=True)
    ridge: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        if self.lag < 1 or not self.ridge > 0:
            raise ValueError(
                f"FixedLagSmoother: lag must be >= 1 and ridge > 0, got {self.lag} and "
                f"{self.ridge}; without a lag, use the analysis itself."
            )

    def update(
        self,
        history: Float[Array, "age member *state"],
        background: Float[Array, "member *state"],
        analysis: Float[Array, "member *state"],
    ) -> Float[Array, "age member *state"]:
        members = background.shape[0]
        flat = background.reshape(members, -1)
        anomalies = flat - jnp.mean(flat, axis=0, keepdims=True)
        gram = anomalies @ anomalies.T
        tiny = jnp.finfo(flat.dtype).tiny
        ridge = self.ridge * jnp.trace(gram) / members + tiny
        change = analysis.reshape(members, -1) - flat
        system = gram + ridge * jnp.eye(members, dtype=flat.dtype)
        factor = jax.scipy.linalg.cho_factor(system)
        weights = jax.scipy.linalg.cho_solve(factor, anomalies @ change.T).T
        past = history[: self.lag]
        departures = past - jnp.mean(past, axis=1, keepdims=True)
        corrected = past + jnp.einsum("mk,ak...->am...", weights, departures)
        return jnp.concatenate([analysis[None], corrected])


class SmoothingState(eqx.Module):
    """What a smoother remembers; part of the state of a cycle.

    Attributes:
        history: earlier analyses, the youngest first.
        truth: true states of their times, NaN where not known.
        done: number of analyses that have come in.
    """

    history: Float[Array, "age member *state"]
    truth: Float[Array, "age *state"]
    done: Int[Array, ""]

    @classmethod
    def start(
        cls, smoother: AbstractSmoother, ensemble: Float[Array, "member *state"]
    ) -> "SmoothingState":
        """The state before the first cycle."""
        unknown = jnp.full((smoother.lag + 1, *ensemble.shape[1:]), jnp.nan, ensemble.dtype)
        return cls(smoother.init(ensemble), unknown, jnp.zeros((), jnp.int32))


def smooth(
    smoother: AbstractSmoother,
    state: SmoothingState,
    background: Float[Array, "member *state"],
    analysis: Float[Array, "member *state"],
    truth: Float[Array, "*state"],
) -> tuple[SmoothingState, Smoothed]:
    """Take one analysis in, and give the oldest its final form.

    Arguments:
        smoother: says how, and how long is waited.
        state: after the cycle before.
        background, analysis: members of this cycle.
        truth: of this cycle.

    Returns:
        What is to be remembered, and the analysis of `lag` cycles ago given all observations up to
        now; NaN in the first cycles, when there was no such analysis.
    """
    history = smoother.update(state.history, background, analysis)
    truths = jnp.concatenate([truth[None], state.truth[:-1]])
    done = state.done + 1
    there = done > smoother.lag
    mean = jnp.where(there, ensemble_mean(history[-1]), jnp.nan)
    spread = jnp.where(there, ensemble_spread(history[-1]), jnp.nan)
    return SmoothingState(history, truths, done), Smoothed(mean, spread, truths[-1])
